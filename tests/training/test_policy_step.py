"""The policy step does not see how its batch is cut, padded or ordered; its loss and metrics against NumPy.

With b1 = 0 and no clipping the first moment after a step is its gradient, so gradients are compared, not updates.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.models.rows import tree_logps
from grpo_jax.training.accumulate import Cut
from grpo_jax.training.optimizer import OptimizerSpec
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import new_state
from grpo_jax.types import Experience, Prompts

OPTIMIZER = OptimizerSpec(learning_rate=1e-3, b1=0.0, clip_norm=1e9)
TEMPERATURE, WHOLE = 0.9, Cut()
step = jax.jit(policy_step, static_argnames=("cfg", "cut"))


@pytest.fixture(scope="module")
def cfg():
  return tiny.config(num_layers=1)  # depth is not what is tested here


@pytest.fixture(scope="module")
def params(cfg):
  return tiny.params(cfg)


@pytest.fixture(scope="module")
def batch(prompts) -> Experience:
  return tiny.experience(prompts)


def result(cfg, params, batch, cut=WHOLE, **changes):
  """The gradient of a step, and its metrics as numbers."""
  spec = make_spec("grpo", **({"reduction_divisor": 9.0} | changes))
  state = new_state(jax.tree.map(jnp.asarray, params), 0, reference=False)
  state, metrics = jax.device_get(step(state, batch, spec, OPTIMIZER, TEMPERATURE, cfg=cfg, cut=cut))
  return state.opt_state.mu, {name: total / count for name, (total, count) in metrics.items()}


@pytest.fixture(scope="module")
def whole(cfg, params, batch):
  return result(cfg, params, batch)


def test_gradient_and_metrics_are_those_of_the_loss(cfg, params, batch, whole):
  def loss(params):
    logps, entropy = tree_logps(params, cfg, batch.prompts, batch.tokens_BGT, batch.mask_BGT, TEMPERATURE)
    rest = (batch.mask_BGT, batch.advantages_BGT, batch.old_logps_BGT, batch.ref_logps_BGT, make_spec("grpo"))
    (numerator, denominator), _ = policy_loss(logps, *rest)
    return numerator / denominator, entropy

  (value, entropy), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
  assert tiny.gap(whole[0], gradient) <= 1e-5
  gap = np.abs(batch.old_logps_BGT - batch.behavior_logps_BGT)[batch.mask_BGT]
  want = {"loss/policy": value, "policy/entropy": np.asarray(entropy)[batch.mask_BGT].mean(),
          "policy/sampler_gap": gap.mean(), "policy/sampler_gap_max": gap.max(), "update/learning_rate": 1e-3}
  for name, number in want.items():
    np.testing.assert_allclose(whole[1][name], number, rtol=1e-5, err_msg=name)


CUTS = [Cut(members=1), Cut(prompts=1, members=2), Cut(logit_chunk=2)]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_cuts_change_nothing(cfg, params, batch, whole, cut):
  assert tiny.gap(result(cfg, params, batch, cut), whole) <= 1e-5


@pytest.mark.parametrize("reduction", ["token_mean", "constant"])
def test_cuts_change_nothing_for_other_reductions(cfg, params, batch, reduction):
  cut = result(cfg, params, batch, Cut(prompts=2, members=2), reduction=reduction)
  assert tiny.gap(cut, result(cfg, params, batch, reduction=reduction)) <= 1e-5


def test_padding_changes_nothing(cfg, params, batch, whole):
  right = lambda a, fill: np.pad(a, ((0, 0), (0, 0), (0, 3)), constant_values=fill)  # noqa: E731
  left = lambda a: np.pad(a, ((0, 0), (2, 0)), constant_values=tiny.PAD)  # noqa: E731
  prompts = Prompts(left(batch.prompts.tokens_BP), left(batch.prompts.mask_BP), batch.prompts.uids_B)
  logps = (right(a, np.nan) for a in (batch.behavior_logps_BGT, batch.old_logps_BGT, batch.ref_logps_BGT))
  behavior, old, ref = logps
  padded = Experience(prompts, right(batch.tokens_BGT, tiny.PAD), right(batch.mask_BGT, False), behavior,
                      batch.advantages_BGT, old, ref)
  assert tiny.gap(result(cfg, params, padded), whole) <= 1e-5


def test_the_order_of_groups_and_members_changes_nothing(cfg, params, batch, whole):
  prompt_order, member_order = np.array([2, 0, 3, 1]), np.array([3, 1, 0, 2])
  grouped = jax.tree.map(lambda a: a[prompt_order][:, member_order], batch.replace(prompts=None))
  moved = grouped.replace(prompts=jax.tree.map(lambda a: a[prompt_order], batch.prompts))
  assert tiny.gap(result(cfg, params, moved), whole) <= 1e-5


def test_on_policy_needs_no_old_log_probabilities(cfg, params, batch):
  """old = None is old = the current log-probabilities; the sampler's gap is then against the current ones."""
  logps, _ = jax.jit(functools.partial(tree_logps, cfg=cfg))(
    params, prompts=batch.prompts, tokens_BGT=batch.tokens_BGT, mask_BGT=batch.mask_BGT, temperature=TEMPERATURE)
  given = result(cfg, params, batch.replace(old_logps_BGT=np.asarray(logps)))
  assert tiny.gap(result(cfg, params, batch.replace(old_logps_BGT=None)), given) <= 1e-5
  assert abs(given[1]["policy/ratio"] - 1) <= 1e-6


def test_no_signal_is_no_gradient(cfg, params, batch):
  flat = batch.replace(advantages_BGT=np.zeros_like(batch.advantages_BGT))
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(result(cfg, params, flat, kl="off")[0]))


def test_a_bad_batch_is_skipped_through_the_step(cfg, params, batch):
  bad = batch.replace(advantages_BGT=np.full_like(batch.advantages_BGT, np.nan))
  state = new_state(jax.tree.map(jnp.asarray, params), 0, reference=False)
  after, metrics = step(state, bad, make_spec("grpo"), OPTIMIZER, TEMPERATURE, cfg=cfg, cut=WHOLE)
  jax.tree.map(np.testing.assert_array_equal, (after.params, after.opt_state), (state.params, state.opt_state))
  assert (int(after.step), int(after.skipped), int(metrics["update/skipped"][0])) == (1, 1, 1)


def test_a_divisor_below_one_divides(cfg, params, batch):
  """A denominator that is no count is not clamped to 1: twelve completions by 1/100 give .12."""
  plain = {"advantage": "centered", "kl": "off", "reduction": "constant"}
  small, one = (result(cfg, params, batch, reduction_divisor=d, **plain)[0] for d in (0.01, 1.0))
  assert tiny.gap(jax.tree.map(lambda a: a / 100, small), one) <= 1e-5


def test_stale_rollouts_do_not_cost_the_update(cfg, params, batch):
  """Records 100 nats off, or impossible, in every place at once: the update is made, and says how many."""
  old, ref, behavior = (np.array(a) for a in (batch.old_logps_BGT, batch.ref_logps_BGT, batch.behavior_logps_BGT))
  old[0, 0, 0] -= 100
  ref[0, 1, 0] += 100
  old[1, 0, 0] = ref[1, 1, 0] = behavior[0, 1, 1] = -np.inf
  stale = batch.replace(old_logps_BGT=old, ref_logps_BGT=ref, behavior_logps_BGT=behavior)
  _, metrics = result(cfg, params, stale)
  assert metrics["update/skipped"] == 0 and all(np.isfinite(n) for n in metrics.values())
  names = ("policy/ratio_bounded", "policy/kl_bounded", "policy/old_infinite", "policy/reference_infinite",
           "policy/behavior_infinite")
  assert all(metrics[name] > 0 for name in names)

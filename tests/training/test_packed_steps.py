"""Packed rows are dealt out evenly and change nothing: not the updates of any row, not the scores, on no mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.spec import PRESETS, make_spec, needs
from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.models.rows import branches, tree_logps
from grpo_jax.models.value_head import tree_values, with_value_head
from grpo_jax.tools.flops import matmul_flops
from grpo_jax.training.accumulate import Cut, map_microbatches
from grpo_jax.training.dealing import dealt, fullest_row
from grpo_jax.training.optimizer import OptimizerSpec
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.preference_step import PreferenceSpec, dpo_step, reward_model_step
from grpo_jax.training.sft_step import sft_step
from grpo_jax.training.state import new_learner, new_state
from grpo_jax.training.value_step import value_step

OPTIMIZER = OptimizerSpec(learning_rate=1e-3, b1=0.0, clip_norm=1e9)  # the first moment is the gradient
CUTS = [Cut(row=72), Cut(prompts=2, row=40), Cut(prompts=2, members=2, row=20)]
OTHERS = {"exact": {"kl": "exact", "kl_place": "loss"}, "covariance": {"surrogate": "clip_cov"}, "masked": {}}
ROWS = ["exact", "masked", *(pytest.param(row, marks=pytest.mark.slow) for row in ("covariance", *PRESETS))]


@pytest.fixture(scope="module")
def cfg():
  return tiny.config(num_layers=1)


@functools.cache
def lengths() -> np.ndarray:
  return tiny.completions()[1].sum(-1)


def batch_of(cfg, params, spec):
  """A batch with all that the row asks for, NaN in its padding."""
  batch, rng = tiny.experience(tiny.prompts()), np.random.default_rng(8)
  nan = lambda a: np.where(batch.mask_BGT, a, np.nan).astype(np.float32)  # noqa: E731
  batch = batch.replace(behavior_logps_BGT=nan(batch.behavior_logps_BGT), old_logps_BGT=nan(batch.old_logps_BGT),
                        ref_logps_BGT=nan(batch.ref_logps_BGT), roles_BG=rng.integers(-1, 2, (4, 4)).astype(np.int32))
  batch = jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, batch)
  if spec.kl == "exact":
    hidden, packing = branches(params, cfg, batch.prompts, batch.tokens_BGT, batch.mask_BGT)
    batch = batch.replace(ref_hidden_BGTD=packing.back(hidden[:, 0]) + 1, ref_logps_BGT=None)
  return batch


@pytest.mark.parametrize("row", ROWS)
def test_the_update_of_every_row_is_that_of_padded_groups(x64, cfg, row):
  spec = make_spec(row if row in PRESETS else "grpo", **OTHERS.get(row, {}))
  cfg64 = tiny.config(num_layers=1, compute_dtype="float64")
  params = tiny.params(cfg, dtype=np.float64)
  batch = batch_of(cfg64, params, spec)
  if row == "masked":
    batch = batch.replace(mask_BGT=batch.mask_BGT & (np.arange(4) != 2)[None, :, None])
  state = new_state(params, 0, reference="reference" in needs(spec))
  step = jax.jit(policy_step, static_argnames=("cfg", "cut"))
  run = lambda cut: step(state, batch, spec, OPTIMIZER, 0.9, cfg=cfg64, cut=cut)  # noqa: E731
  whole, packed = (jax.device_get(run(cut)) for cut in (Cut(), CUTS[0]))
  numbers = [jax.tree.map(np.float64, (a[0].opt_state.mu, a[1])) for a in (packed, whole)]
  assert tiny.gap(*numbers) <= 1e-9


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_scores_come_back_to_their_places(cfg, cut):
  batch, params = tiny.experience(tiny.prompts()), jax.tree.map(jnp.asarray, tiny.params(cfg))
  assert fullest_row(lengths(), 6, cut, make_mesh(1, devices=jax.devices()[:1])) <= cut.row

  def logps(micro):
    return tree_logps(params, cfg, micro.prompts, micro.tokens_BGT, micro.mask_BGT, 0.9, N=cut.row)[0]

  arrays = (batch.prompts, batch.tokens_BGT, batch.mask_BGT)
  want = tree_logps(params, cfg, *arrays, 0.9)[0]
  np.testing.assert_allclose(jax.jit(lambda b: map_microbatches(logps, b, cut))(batch), want, atol=1e-5)


def test_the_critic_of_packed_rows(cfg):
  trunk = with_value_head(jax.tree.map(jnp.asarray, tiny.params(cfg)))
  trunk["value_head"] = jnp.linspace(-1, 1, cfg.width)
  batch = tiny.experience(tiny.prompts())
  values = jax.jit(tree_values, static_argnums=1)(trunk, cfg, batch.prompts, batch.tokens_BGT, batch.mask_BGT)
  batch = batch.replace(values_BGT=values, returns_BGT=values + 1)
  step = jax.jit(value_step, static_argnames=("cfg", "cut"))
  run = lambda cut: step(new_learner(trunk), batch, OPTIMIZER, 0.2, cfg=cfg, cut=cut)  # noqa: E731
  (packed, some), (whole, all_of) = run(CUTS[1]), run(Cut())
  assert tiny.gap((packed.opt_state.mu, some["loss/value"]), (whole.opt_state.mu, all_of["loss/value"])) <= 1e-5


def supervised(kind: str, cfg, batch, cut):
  """The gradient of a step of a stage that learns from given completions, and its metrics."""
  params = jax.tree.map(jnp.asarray, tiny.params(cfg))
  if kind == "reward_model":
    params = with_value_head(params) | {"value_head": jnp.linspace(-1, 1, cfg.width)}
  state = new_state(params, 0, reference=kind == "dpo")
  step = {"sft": sft_step, "dpo": dpo_step, "reward_model": reward_model_step}[kind]
  numbers = (OPTIMIZER,) if kind == "sft" else (PreferenceSpec(), OPTIMIZER)
  state, metrics = jax.device_get(jax.jit(functools.partial(step, cfg=cfg, cut=cut))(state, batch, *numbers))
  return state.opt_state.mu, metrics


@pytest.mark.parametrize("kind, G", [("sft", 1), ("dpo", 2), ("reward_model", 2)])
def test_given_completions_share_rows_too(cfg, kind, G):
  """Four examples or pairs in a row, two microbatches of two rows, against a row for each."""
  batch = tiny.experience(tiny.prompts(), G, 24)
  want = supervised(kind, cfg, batch, Cut())
  one, several = Cut(row=64 * G), Cut(prompts=2, row=40 * G)
  for cut in (one, several):
    lengths = batch.mask_BGT.sum(-1) + 1
    assert fullest_row(lengths, 25, cut, make_mesh(1, devices=jax.devices()[:1])) <= cut.row
    assert tiny.gap(supervised(kind, cfg, batch, cut), want) <= 1e-5


@pytest.mark.parametrize("bins", [1, 3, 8])
def test_rows_have_about_equally_many_tokens(bins):
  tokens = np.random.default_rng(0).geometric(1 / 200, 24)
  order = dealt(tokens, bins)
  assert sorted(order.ravel()) == list(range(24)) and order.shape == (bins, 24 // bins)
  totals = tokens[order].sum(1)
  assert totals.max() - totals.min() <= tokens.max()
  np.testing.assert_array_equal(dealt(jnp.asarray(tokens), bins), order)


def test_an_update_costs_what_real_tokens_cost():
  """Matrix products at lognormal lengths with a mean of T / 4, prompts as long: at most .45 of the padded update's."""
  B, G, T = 8, 8, 64
  cfg = tiny.config(vocab_size=512, num_layers=4, width=256, ffn_width=1024, num_heads=8, num_kv_heads=2, head_width=32)
  draws = np.random.default_rng(0).standard_normal((B, G))
  few = np.clip(np.exp(np.log(T / 4) - 0.32 + 0.8 * draws).astype(int), 1, T)
  batch = tiny.experience(tiny.prompts([T] * B, T, vocab_size=512), G, T, vocab_size=512)
  batch = batch.replace(mask_BGT=np.arange(T)[None, None] < few[..., None])
  state = new_state(jax.tree.map(jnp.asarray, tiny.params(cfg)), 0, reference=False)

  def flops(cut):
    step = functools.partial(policy_step, cfg=cfg, cut=cut)
    return matmul_flops(step, state, batch, make_spec("dr_grpo"), OPTIMIZER, 1.0)

  cut = Cut(row=1280)  # .31 of the padded tokens
  assert fullest_row(few, T, cut, make_mesh(1, devices=jax.devices()[:1])) <= cut.row
  assert flops(cut) <= 0.45 * flops(Cut())

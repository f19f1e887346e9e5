"""Log-probabilities far apart or impossible: every gradient stays finite, and what was bounded is counted by name."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.algorithms.kl import k3
from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.ratios import CORRECTIONS
from grpo_jax.algorithms.selection import pick
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.table import KL, RATIOS, SURROGATES
from grpo_jax.models.layers import Head
from grpo_jax.models.whole_vocabulary import hidden_kl

FIELDS = ("old", "ref", "behavior")
CASES = list(itertools.product(FIELDS, (200.0, -200.0, -np.inf)))  # one group of two completions each
SHAPE = (len(CASES), 2, 3)
FAR = 4  # tokens of ±200 nats in one field


def batch():
  """logps, mask, advantages ±1, and the three records; the middle token of both members of group i has case i."""
  rng = np.random.default_rng(0)
  logps = rng.normal(-2, 0.5, SHAPE).astype(np.float32)
  records = {name: logps + rng.normal(0, 0.1, SHAPE).astype(np.float32) for name in FIELDS}
  for i, (name, gap) in enumerate(CASES):
    records[name][i, :, 1] = logps[i, :, 1] + gap
  return logps, np.ones(SHAPE, bool), np.tile(np.array([1.0, -1.0], np.float32), (SHAPE[0], 1)), records


def gradient(spec, logps, mask, advantages, records, **more):
  reference = records["ref"] if spec.kl not in ("off", "exact") else None

  def loss(x):
    (numerator, denominator), metrics = policy_loss(
      x, mask, advantages, records["old"], reference, spec, behavior_logps_BGT=records["behavior"],
      picked_BGT=np.zeros(mask.shape, bool), **more)
    return numerator / denominator, metrics

  return jax.grad(loss, has_aux=True)(jnp.asarray(logps))


SLOWER = [pytest.param(kl, marks=pytest.mark.slow) for kl in ("off", "k1", "k2", "abs")]


@pytest.mark.parametrize("kl", ["k3", "ratio_k3", *SLOWER])
def test_every_surrogate_ratio_and_kl_stays_finite_and_counts(kl):
  place = "reward" if kl == "k1" else "loss"
  for surrogate, ratio in itertools.product(SURROGATES, RATIOS):
    spec = make_spec("grpo", surrogate=surrogate, ratio=ratio, kl=kl, kl_place=place)
    slope, metrics = gradient(spec, *batch())
    assert np.isfinite(slope).all(), (surrogate, ratio)
    shares = {name: int(total) for name, (total, _) in metrics.items() if name.endswith(("bounded", "infinite"))}
    want = {"policy/old_infinite": 2, "policy/behavior_infinite": 2,
            "policy/ratio_bounded": {"token": FAR, "none": 0}.get(ratio, 3 * FAR)}  # a whole completion's tokens
    want |= {} if kl == "off" else {"policy/reference_infinite": 2}
    bounded = shares.pop("policy/kl_bounded", FAR)  # ratio · k3 may reach its bound by the ratio as well
    assert shares == want and bounded >= FAR, (surrogate, ratio)
    left_out = [i for i, (name, gap) in enumerate(CASES) if np.isinf(gap) and (name != "ref" or kl != "off")]
    assert not np.asarray(slope)[left_out, :, 1].any()
    assert all(np.isfinite(total) for total, _ in metrics.values())


def test_every_kl_is_tested():
  assert {"k3", "ratio_k3", "k1", "k2", "abs"} == set(KL)


@pytest.mark.parametrize("correction", CORRECTIONS[1:])
def test_the_samplers_weights_stay_finite_and_count(correction):
  spec = make_spec("grpo", sampler_correction=correction, sampler_high=1e9)
  slope, metrics = gradient(spec, *batch())
  assert np.isfinite(slope).all()
  tokens = FAR * (2 if correction.startswith("token") else 6)  # old and behavior are far apart in either's cases
  assert metrics["policy/sampler_bounded"][0] == tokens


@pytest.mark.parametrize("pair_loss", ["sigmoid", "ipo", "hinge"])
def test_pair_losses_stay_finite(pair_loss):
  slope, _ = gradient(make_spec("grpo", pair_loss=pair_loss), *batch(), roles_BG=batch()[2])
  assert np.isfinite(slope).all()


def test_within_the_bounds_nothing_is_changed():
  d = np.linspace(-19.9, 19.9, 41, dtype=np.float32)
  np.testing.assert_allclose(k3(d, np.zeros_like(d)), np.expm1(-d.astype(np.float64)) + d, rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(jax.vmap(jax.grad(k3))(d, jnp.zeros_like(d)), 1 - np.exp(-d), rtol=1e-5, atol=1e-6)


def test_nan_is_not_hidden():
  logps, mask, advantages, records = batch()
  records["old"][0, 0, 0] = np.nan
  assert np.isnan(gradient(make_spec("grpo", kl="off"), logps, mask, advantages, records)[0][0, 0, 0])


def test_the_exact_kl_to_a_reference_that_calls_a_token_impossible():
  """The head is the identity, so hidden states are logits."""
  logits = jnp.log(jnp.array([[[[0.5, 0.3, 0.2]]]]))
  reference = jnp.array([[[[0.0, 0.0, -jnp.inf]]]])
  head, mask = Head(jnp.eye(3)), np.ones((1, 1, 1), bool)

  def kl(x):  # a bias of the reference's logits, as in a vocabulary cut short
    return jnp.sum(hidden_kl(x, head, jnp.where(jnp.isinf(reference), -1e9, reference), head, mask, 1.0))

  value, slope = jax.value_and_grad(kl)(logits)
  np.testing.assert_allclose(value, 0.5 * np.log(1.0) + 0.3 * np.log(0.6) + 0.2 * 20, rtol=1e-5)
  assert np.isfinite(slope).all()


def test_clip_cov_picks_no_token_that_the_clip_has_stopped():
  rng = np.random.default_rng(0)
  shape = (8, 4, 16)
  logps, advantages = rng.normal(-2, 1, shape).astype(np.float32), rng.normal(0, 1, shape).astype(np.float32)
  old = logps + rng.choice([-0.5, 0.0, 0.5], shape).astype(np.float32)
  mask = np.ones(shape, bool)
  spec = make_spec("grpo", surrogate="clip_cov", cov_fraction=1.0, cov_low=0.0)
  stopped = ((old < logps - 0.4) & (advantages > 0)) | ((old > logps + 0.4) & (advantages < 0))
  at_first, later = (np.asarray(pick("clip_cov", logps, advantages, mask, spec, jax.random.key(0), o))
                     for o in (None, old))
  assert (at_first & stopped).any()
  np.testing.assert_array_equal(later, at_first & ~stopped)


def test_the_authors_fractions():
  assert make_spec("grpo", surrogate="clip_cov").cov_fraction == 2e-4
  assert make_spec("grpo", surrogate="kl_cov").cov_fraction == 2e-3
  assert make_spec("grpo", surrogate="clip_cov", cov_fraction=0.1).cov_fraction == 0.1

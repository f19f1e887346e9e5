"""What tokens meant to an iteration, against numbers worked by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.spec import make_spec
from grpo_jax.models.rows import tree_logps
from grpo_jax.training.accumulate import Cut
from grpo_jax.training.look import look

TEMPERATURE = 0.9


@pytest.fixture(scope="module")
def batch(prompts):
  """Advantages of ±1 and 0 by turns."""
  batch = tiny.experience(prompts)
  signs = np.array([1, -1, 0, 1], np.float32)
  return batch.replace(advantages_BGT=np.broadcast_to(signs[None, :, None], batch.advantages_BGT.shape).copy())


@functools.cache
def model():
  cfg = tiny.config(num_layers=1)
  return cfg, jax.tree.map(jnp.asarray, tiny.params(cfg))


def looked(batch, cut=Cut(), **row):  # noqa: B008  frozen
  cfg, params = model()
  return jax.device_get(jax.jit(functools.partial(look, cfg=cfg, cut=cut))(
    params, batch, make_spec("grpo", **row), TEMPERATURE))


@pytest.fixture(scope="module")
def found(batch):
  return looked(batch, kl="off")


def test_shares_of_a_mean_over_sequences(batch, found):
  """Without a KL and at ratio 1, -dL/dlogp = A / (N length): each live completion has one N-th of the sum."""
  mask = batch.mask_BGT
  expected = np.where(mask, batch.advantages_BGT / mask.sum(-1, keepdims=True), 0)
  np.testing.assert_allclose(found["share"], expected / np.abs(expected).sum(), rtol=1e-5, atol=1e-8)
  assert np.abs(found["share"]).sum() == pytest.approx(1, rel=1e-5)


def test_ratios_and_clip_sides_are_those_after(batch, found):
  cfg, params = model()
  after, entropy = tree_logps(params, cfg, batch.prompts, batch.tokens_BGT, batch.mask_BGT, TEMPERATURE)
  np.testing.assert_allclose(found["entropy"], entropy, rtol=1e-5, atol=1e-6)
  moved = np.where(batch.mask_BGT, after - batch.old_logps_BGT, 0)
  np.testing.assert_allclose(found["log_ratio"], moved, rtol=1e-5, atol=1e-6)
  high = (np.exp(moved) > 1.2) & (batch.advantages_BGT > 0) & batch.mask_BGT
  low = (np.exp(moved) < 0.8) & (batch.advantages_BGT < 0) & batch.mask_BGT
  assert high.any() and low.any()
  np.testing.assert_array_equal(found["clip"], high.astype(int) - low.astype(int))


def test_a_kl_pulls_tokens_without_an_advantage(batch, found):
  pulled = looked(batch, Cut(2, 2), kl="k3", beta=0.5)
  still = batch.mask_BGT & (batch.advantages_BGT == 0)
  assert (found["share"][still] == 0).all() and (pulled["share"][still] != 0).all() and "kl" not in found
  assert (pulled["kl"] >= 0).all() and not (pulled["clip"][still]).any()
  np.testing.assert_allclose(pulled["entropy"], found["entropy"], rtol=1e-4, atol=1e-5)  # however it is cut


def test_the_samplers_own_log_probs_stand_in_for_old_ones(batch):
  own = looked(batch.replace(old_logps_BGT=None), kl="off")
  other = looked(batch.replace(old_logps_BGT=batch.behavior_logps_BGT), kl="off")
  for name, values in own.items():
    np.testing.assert_array_equal(values, other[name])


@pytest.mark.parametrize("row", [
  {"surrogate": "kl_cov"}, {"ratio": "sequence"}, {"ratio": "none", "surrogate": "plain"},
  {"kl": "exact"}, {"sampler_correction": "token_mask"}])
def test_other_rows_have_finite_looks(batch, row):
  found = looked(batch.replace(ref_logps_BGT=None), **({"kl": "off"} | row))
  assert all(np.isfinite(a).all() for a in found.values())
  if row.get("ratio") == "none":
    assert not found["clip"].any()

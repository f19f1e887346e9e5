"""Inverse-CDF sampling against NumPy's cumulative sums; uniforms by identity; filters by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.sampling.draw import argmax, draw_tokens, filtered, sample, token_uniforms
from grpo_jax.types import SampleRequest

NEAR_ONE = np.float32(1 - 2**-24)  # the largest uniform there is


def random_logits(V: int, N: int = 200, holes: float = 0.0):
  """Float32 logits, each -inf with probability `holes`, the middle one never."""
  rng = np.random.default_rng(V)
  logits = rng.normal(0, 2, (N, V)).astype(np.float32)
  logits[rng.random((N, V)) < holes] = -np.inf
  logits[:, V // 2] = 1.0
  return logits, rng.random(N).astype(np.float32)


def cumulative(logits):
  """Float64 cumulative probabilities."""
  weights = np.exp(np.float64(logits) - logits.max(1, keepdims=True))
  return np.cumsum(weights, 1) / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("holes", [0.0, 0.7])
@pytest.mark.parametrize("V", [1, 2, 127, 128, 129, 1000])
def test_sample_is_the_inverse_of_the_cumulative_sum(V, holes):
  logits, uniform = random_logits(V, holes=holes)
  token, logp = jax.jit(sample)(logits, uniform)
  cdf = cumulative(logits)
  clear = np.abs(cdf - uniform[:, None]).min(1) > 1e-5  # a rounding away from a boundary either token is right
  assert clear.mean() > 0.9
  want = np.minimum((cdf <= uniform[:, None]).sum(1), V - 1)
  np.testing.assert_array_equal(token[clear], want[clear])
  probability = np.diff(cdf, prepend=0.0)[np.arange(len(token)), token]
  np.testing.assert_allclose(logp, np.log(probability), atol=2e-5)


@pytest.mark.parametrize("V", [3, 300, 1000])
def test_a_token_without_probability_is_never_drawn(V):
  """Also with the uniform on a boundary, or a rounding beside it, where sums of different order disagree."""
  logits, _ = random_logits(V, N=2000, holes=0.5)
  rows, columns = np.arange(2000), np.random.default_rng(0).integers(0, V, 2000)
  columns[::2] = np.minimum(columns[::2] // 128 * 128 + 127, V - 1)  # ends of blocks
  boundary = cumulative(logits)[rows, columns].astype(np.float32)
  beside = [np.nextafter(boundary, np.float32(end)) for end in (0, 1)]
  for uniform in (boundary, *beside, np.zeros(2000, np.float32), np.full(2000, NEAR_ONE)):
    token, logp = jax.jit(sample)(logits, np.clip(uniform, 0, NEAR_ONE))
    assert np.isfinite(logits[rows, token]).all() and np.isfinite(logp).all()


def test_the_ends_of_the_unit_interval():
  logits = np.full((1, 300), -np.inf, np.float32)
  logits[0, [5, 140, 290]] = 0.0
  tokens = [int(sample(logits, np.float32([u]))[0][0]) for u in (0.0, 0.34, NEAR_ONE)]
  assert tokens == [5, 140, 290]


def test_frequencies():
  """Chi-square of 20 000 draws over 10 tokens, 9 degrees of freedom: 27.9 is exceeded once in a thousand."""
  logits = np.linspace(-2, 2, 10, dtype=np.float32)
  uniform = token_uniforms(0, 0, jnp.arange(200), 10, 10).reshape(-1)
  tokens, _ = jax.jit(sample)(np.broadcast_to(logits, (20_000, 10)), uniform)
  expected = 20_000 * np.exp(logits) / np.exp(logits).sum()
  assert np.sum((np.bincount(tokens, minlength=10) - expected) ** 2 / expected) < 27.9


def test_uniforms_are_functions_of_seed_stream_uid_member_and_position():
  uniforms = jax.jit(token_uniforms, static_argnums=(1, 3, 4))
  uids = jnp.array([7, 100_000, 3])
  base = np.asarray(uniforms(0, 0, uids, 4, 5))
  assert base.shape == (3, 4, 5) and base.min() >= 0 and base.max() < 1
  np.testing.assert_array_equal(uniforms(0, 0, uids[::-1], 8, 9)[::-1, :4, :5], base)
  assert np.unique(np.concatenate([base, uniforms(0, 1, uids, 4, 5), uniforms(1, 0, uids, 4, 5)])).size == 3 * base.size


def test_argmax():
  logits = np.log(np.array([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], np.float32))
  token, logp = argmax(logits)
  np.testing.assert_array_equal(token, [1, 0])
  np.testing.assert_allclose(logp, np.log([0.5, 0.7]), atol=1e-6)


@pytest.mark.parametrize("greedy", [0, 1, 3])
def test_the_first_members_of_a_group_may_be_greedy(greedy):
  logits, uniform = random_logits(20, N=6)
  first = np.arange(6) % 3 < greedy
  token, logp = draw_tokens(logits, uniform, {0: False, 3: True}.get(greedy, first))
  for got, likeliest, drawn in zip((token, logp), argmax(logits), sample(logits, uniform), strict=True):
    np.testing.assert_array_equal(got, np.where(first, likeliest, drawn))


PROBABILITIES = [0.15, 0.5, 0.1, 0.25]
FILTERS = [
  ({}, [1, 1, 1, 1]),
  ({"top_k": 1}, [0, 1, 0, 0]),
  ({"top_k": 3}, [1, 1, 0, 1]),
  ({"top_k": 9}, [1, 1, 1, 1]),
  ({"top_p": 0.49}, [0, 1, 0, 0]),
  ({"top_p": 0.6}, [0, 1, 0, 1]),  # the smallest set of at least 0.6: 0.5 + 0.25
  ({"top_p": 0.8}, [1, 1, 0, 1]),
  ({"top_p": 1e-9}, [0, 1, 0, 0]),
  ({"min_p": 0.4}, [0, 1, 0, 1]),  # at least 0.4 · 0.5 = 0.2
  ({"min_p": 0.25}, [1, 1, 0, 1]),  # at least 0.125
  ({"min_p": 0.99}, [0, 1, 0, 0]),
  ({"top_k": 3, "top_p": 0.8}, [0, 1, 0, 1]),  # after top-k: 0.56 + 0.28 + 0.17
]


@pytest.mark.parametrize("options, kept", FILTERS)
def test_filters(options, kept):
  logits = np.log(np.array([PROBABILITIES, PROBABILITIES[::-1]], np.float32))
  ours = filtered(jnp.asarray(logits), SampleRequest(**options))
  np.testing.assert_array_equal(ours, np.where([kept, kept[::-1]], logits, -np.inf))

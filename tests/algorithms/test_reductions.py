"""Reductions by hand: the weight of a token, and sums that add up over any cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.algorithms.reductions import constant, sequence_mean, token_mean
from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.algorithms.table import REDUCTIONS

X = np.array([[[1.0, 2.0, 3.0, np.nan], [10.0, np.nan, np.nan, np.nan]]], np.float32)
MASK = np.array([[[1, 1, 1, 0], [1, 0, 0, 0]]], bool)


def test_values():
  assert tuple(map(float, sequence_mean(X, MASK))) == (12.0, 2.0)
  assert tuple(map(float, token_mean(X, MASK))) == (16.0, 4.0)
  assert tuple(map(float, constant(X, MASK, 8.0))) == (16.0, 16.0)


def test_an_empty_sequence_counts_as_one_that_adds_nothing():
  none = np.zeros((1, 2, 4), bool)
  assert tuple(map(float, sequence_mean(X, none))) == (0.0, 2.0)
  assert tuple(map(float, token_mean(X, none))) == (0.0, 0.0)


@pytest.mark.parametrize("name, ratio", [("sequence_mean", 100.0), ("token_mean", 1.0), ("constant", 1.0)])
def test_length_bias(name, ratio):
  """Two wrong answers of 10 and 1000 tokens: how much more a token of the short one weighs."""
  mask = np.arange(1000)[None, None] < np.array([10, 1000])[None, :, None]
  spec = AlgorithmSpec(reduction=name, reduction_divisor=1000.0)

  def loss(terms):
    numerator, denominator = REDUCTIONS[name](terms, mask, spec, None)
    return numerator / denominator

  weights = np.asarray(jax.grad(loss)(jnp.ones(mask.shape)))
  np.testing.assert_allclose(weights[0, 0, 0] / weights[0, 1, 0], ratio, rtol=1e-6)
  assert not weights[~mask].any()
  assert np.unique(weights[0, 1]).size == 1


@pytest.mark.parametrize("name", REDUCTIONS)
def test_cuts_add_up(name):
  rng, spec = np.random.default_rng(0), AlgorithmSpec(reduction=name, reduction_divisor=7.0)
  x, mask = rng.normal(size=(4, 6, 5)).astype(np.float32), rng.random((4, 6, 5)) < 0.6
  whole = REDUCTIONS[name](x, mask, spec, None)
  cuts = [(slice(b, b + 2), slice(g, g + 3)) for b in (0, 2) for g in (0, 3)]
  parts = [REDUCTIONS[name](x[c], mask[c], spec, None) for c in cuts]
  np.testing.assert_allclose(np.sum(np.asarray(parts, np.float64), 0), whole, rtol=1e-5)

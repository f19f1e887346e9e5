"""Ratios and the clipped surrogate by hand: values, and whether a gradient passes through the ratio."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.surrogates import clipped, token_log_ratio

# advantage, ratio, epsilon_high, objective, gradient with respect to the ratio
TABLE = [
  (1.0, 0.7 / 0.5, 0.2, 1.2, 0.0),
  (-1.0, 0.7 / 0.5, 0.2, -1.4, -1.0),
  (1.0, 0.5, 0.2, 0.5, 1.0),
  (-1.0, 0.5, 0.2, -0.8, 0.0),
  (1.0, 5.0, 0.28, 1.28, 0.0),
  (1.0, 1.0, 0.2, 1.0, 1.0),
  (-1.0, 1.0, 0.2, -1.0, -1.0),
]


@pytest.mark.parametrize("advantage, ratio, high, objective, slope", TABLE)
def test_clipped(advantage, ratio, high, objective, slope):
  f = lambda r: clipped(r, advantage, epsilon_low=0.2, epsilon_high=high)  # noqa: E731
  value, gradient = jax.value_and_grad(f)(ratio)
  np.testing.assert_allclose((value, gradient), (objective, slope), atol=1e-6)


@pytest.mark.parametrize("advantage, ratio, high, objective, slope", TABLE)
def test_clipped_through_the_loss(advantage, ratio, high, objective, slope):
  spec = make_spec("grpo", kl="off", epsilon_low=0.2, epsilon_high=high)
  old = jnp.full((1, 2, 1), jnp.log(0.1))

  def loss(logps):
    (numerator, denominator), _ = policy_loss(
      logps, jnp.ones((1, 2, 1), bool), jnp.full((1, 2), advantage), old, None, spec)
    return numerator / denominator

  value, gradient = jax.value_and_grad(loss)(old + jnp.log(ratio))
  np.testing.assert_allclose(value, -objective, atol=1e-6)
  np.testing.assert_allclose(gradient, np.full((1, 2, 1), -slope * ratio / 2), atol=1e-6)  # d ratio / d logp = ratio


def test_token_ratio():
  np.testing.assert_allclose(jnp.exp(token_log_ratio(jnp.log(0.7), jnp.log(0.5))), 1.4, atol=1e-6)


def test_clip_metrics_count_tokens_whose_gradient_is_cut():
  ratio = np.array([[[1.4, 1.4], [0.5, 0.5]], [[0.5, 1.0], [1.4, 1.0]]], np.float32)
  advantages_BG = np.array([[1.0, -1.0], [1.0, -1.0]], np.float32)  # cut: two high, two low
  _, metrics = policy_loss(
    np.log(ratio), np.ones(ratio.shape, bool), advantages_BG, np.zeros_like(ratio), None, make_spec("grpo", kl="off"))
  assert [tuple(map(int, metrics[name])) for name in ("clip/high", "clip/low")] == [(2, 8), (2, 8)]
  np.testing.assert_allclose(metrics["policy/ratio"][0], ratio.sum(), rtol=1e-6)

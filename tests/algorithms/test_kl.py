"""KL estimators by exact enumeration: values, and the expected on-policy gradient of each as a loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.algorithms.kl import k1, k2, k3
from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.algorithms.table import KL

P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
TRUTH = [0.0989382, -0.0938848, -0.0050534]  # of KL(P || Q) with respect to the logits
FORWARD = [0.1, -0.1, 0.0]  # P - Q: of KL(Q || P)
IN_THE_LOSS = {"k1": [0.0, 0.0, 0.0], "k2": TRUTH, "k3": FORWARD}
LOGITS = jnp.asarray(np.log(P))


def expectation(per_token):
  """E[x] over tokens drawn from P, P held fixed: what a sampled loss estimates."""
  return jnp.sum(jnp.asarray(P) * per_token)


def gradient(per_token):
  """Of E[per_token(log softmax(logits))] with respect to the logits."""
  return jax.grad(lambda logits: expectation(per_token(jax.nn.log_softmax(logits))))(LOGITS)


def test_values_of_one_token():
  np.testing.assert_allclose([f(-1.0, -1.5) for f in (k1, k2, k3)], [0.5, 0.125, 0.1065307], atol=1e-6)


def test_expected_values():
  values = [expectation(f(np.log(P), np.log(Q))) for f in (k1, k2, k3)]
  np.testing.assert_allclose(values, [0.0252672, 0.0248624, 0.0252672], atol=1e-6)


def test_the_truth():
  exact = lambda logits: jnp.sum(jax.nn.softmax(logits) * (jax.nn.log_softmax(logits) - np.log(Q)))  # noqa: E731
  np.testing.assert_allclose(exact(LOGITS), 0.0252672, atol=1e-6)
  np.testing.assert_allclose(jax.grad(exact)(LOGITS), TRUTH, atol=1e-6)


@pytest.mark.parametrize("name", IN_THE_LOSS)
def test_expected_gradient_in_the_loss(name):
  np.testing.assert_allclose(gradient(lambda logps: KL[name](logps, np.log(Q))), IN_THE_LOSS[name], atol=1e-6)


def test_ratio_times_k3_is_exact():
  weighted = lambda logps: jnp.exp(logps - np.log(P)) * k3(logps, np.log(Q))  # noqa: E731
  np.testing.assert_allclose(gradient(weighted), TRUTH, atol=1e-6)


def test_k1_in_the_reward_is_exact():
  penalty = k1(np.log(P), np.log(Q))
  np.testing.assert_allclose(gradient(lambda logps: penalty * logps), TRUTH, atol=1e-6)


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean"])
@pytest.mark.parametrize("name", IN_THE_LOSS)
def test_expected_gradient_through_the_policy_loss(name, reduction):
  """Ten samples with exactly the frequencies of P: their mean is the expectation."""
  tokens = np.repeat([0, 1, 2], [5, 3, 2])
  spec = AlgorithmSpec(kl=name, beta=1.0, reduction=reduction)

  def loss(logits):
    logps = jax.nn.log_softmax(logits)[tokens][None, :, None]
    ref = np.log(Q)[tokens][None, :, None]
    mask = jnp.ones((1, 10, 1), bool)
    (numerator, denominator), metrics = policy_loss(logps, mask, jnp.zeros((1, 10)), None, ref, spec)
    return numerator / denominator, metrics["policy/kl"]

  gradient, (total, count) = jax.grad(loss, has_aux=True)(LOGITS)
  np.testing.assert_allclose(gradient, IN_THE_LOSS[name], atol=1e-6)
  np.testing.assert_allclose(total / count, expectation(KL[name](np.log(P), np.log(Q))), atol=1e-6)


def test_k3_is_never_negative():
  d = np.linspace(-3, 3, 61, dtype=np.float32)
  assert np.all(k3(d, np.zeros_like(d)) >= 0) and k3(jnp.float32(-1.0), -1.0) == 0

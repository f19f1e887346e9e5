"""Other surrogate objectives, per token, to be maximized: how far a ratio may carry an update."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.kl import absolute
from grpo_jax.algorithms.surrogates import clipped


def dual_clipped(ratio, advantages, *, epsilon_low, epsilon_high, bound):
  """The clipped objective, never below bound · A where A < 0 (Ye et al. 2020, arXiv 1912.09729); bound > 1."""
  objective = clipped(ratio, advantages, epsilon_low=epsilon_low, epsilon_high=epsilon_high)
  return jnp.where(advantages < 0, jnp.maximum(objective, bound * advantages), objective)


def capped(ratio, advantages, *, epsilon_low, epsilon_high, cap):
  """The clipped objective with r itself capped from above, so that A < 0 is bounded too (INTELLECT-2, 2505.07291)."""
  clip = jnp.clip(ratio, 1 - epsilon_low, 1 + epsilon_high) * advantages
  return jnp.minimum(jnp.minimum(ratio, cap) * advantages, clip)


def cispo(ratio, advantages, logps, *, cap):
  """stop(min(r, cap)) A log p: weights are clipped, gradients are not. CISPO (MiniMax-M1, arXiv 2506.13585)."""
  return jax.lax.stop_gradient(jnp.minimum(ratio, cap)) * advantages * logps


def sapo(ratio, advantages, *, tau_positive, tau_negative):
  """4 / tau · sigmoid(tau (r - 1)) A, tau by the sign of A: a soft gate. SAPO (arXiv 2511.20347)."""
  tau = jnp.where(advantages > 0, tau_positive, tau_negative)
  return jax.nn.sigmoid(tau * (ratio - 1)) * (4 / tau) * advantages


def clip_cov(ratio, advantages, picked, *, epsilon_low, epsilon_high):
  """The clipped objective, its gradient stopped on the picked tokens (Cui et al. 2025, arXiv 2505.22617)."""
  objective = clipped(ratio, advantages, epsilon_low=epsilon_low, epsilon_high=epsilon_high)
  return jnp.where(picked, jax.lax.stop_gradient(objective), objective)


def kl_cov(ratio, log_ratio, advantages, picked, *, beta):
  """r A, less a penalty beta |log r| on the picked tokens (Cui et al. 2025)."""
  return ratio * advantages - jnp.where(picked, beta * absolute(log_ratio, 0), 0)

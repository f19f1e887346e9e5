"""The token's log-ratio and the clipped surrogate, per token; nothing here reduces. Others: ratios.py, gates.py."""

import jax.numpy as jnp


def token_log_ratio(logps, old_logps):
  """log (pi(c_t) / pi_old(c_t)), in nats; policy_loss.py bounds it before it takes exp."""
  return logps - old_logps


def clipped(ratio, advantages, *, epsilon_low, epsilon_high):
  """min(r A, clip(r, 1 - epsilon_low, 1 + epsilon_high) A). PPO (arXiv 1707.06347, equation 7).

  | A | ratio | objective (epsilon 0.2) | gradient through the ratio |
  |---|---|---|---|
  | +1 | 1.4 | 1.2 | 0 |
  | -1 | 1.4 | -1.4 | live |
  | +1 | 0.5 | 0.5 | live |
  | -1 | 0.5 | -0.8 | 0 |
  """
  return jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - epsilon_low, 1 + epsilon_high) * advantages)

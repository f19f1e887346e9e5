"""Group advantages: arrays `[B, G]` in, `[B, G]` out, float32 or wider, no model and no text."""

import jax
import jax.numpy as jnp

from grpo_jax.types import wide


def centered(rewards_BG):
  """A = r - mean_g(r). Dr. GRPO (Liu et al. 2025, arXiv 2503.20783): no division, so no difficulty bias.

  A group without spread (max == min) is exactly 0, whatever its mean rounds to.
  """
  r = wide(rewards_BG)
  flat = jnp.max(r, 1, keepdims=True) == jnp.min(r, 1, keepdims=True)
  return jnp.where(flat, 0, r - jnp.mean(r, 1, keepdims=True))


def group_normalized(rewards_BG, *, ddof: int = 1, epsilon=1e-6):
  """A = (r - mean_g(r)) / (std_g(r) + epsilon). GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1.2).

  Args:
    rewards_BG: scores; G >= 2.
    ddof: 1 divides the variance by G - 1 (the published example), 0 by G.
    epsilon: added to the standard deviation.
  Returns:
    `[B, G]`, exactly 0 where all rewards of a group are equal.

  | rewards of a group | ddof 1 | ddof 0 |
  |---|---|---|
  | 1 0 0 1 1 0 1 0 | ±0.9354 | ±1 |
  | one correct of eight | +2.4749 / -0.3536 | +2.6458 / -0.3780 |
  """
  deviation = centered(rewards_BG)
  variance = jnp.sum(deviation**2, 1, keepdims=True) / (rewards_BG.shape[1] - ddof)
  return deviation / (jnp.sqrt(variance) + jnp.where(variance > 0, epsilon, 1))


def shuffled_in_group(advantages_BG, key):
  """The advantages permuted within each group: the control run, whose signal is noise of the same size."""
  return jax.random.permutation(key, advantages_BG, axis=1, independent=True)


ADVANTAGES = {
  "group_normalized": lambda r, spec: group_normalized(r, ddof=spec.ddof, epsilon=spec.advantage_epsilon),
  "centered": lambda r, spec: centered(r),
}

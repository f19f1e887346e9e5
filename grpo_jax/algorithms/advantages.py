"""Group advantages: arrays `[B, G]` in, `[B, G]` out, float32 or wider, no model and no text.

Where a function takes `present_BG`, members that are not present count for nothing and get 0. The other rows of the
table are in baselines.py and token_advantages.py; table.py names them all.
"""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.bounds import flat
from grpo_jax.types import wide


def everyone(rewards_BG, present_BG):
  """The members that take part."""
  return jnp.ones(rewards_BG.shape, bool) if present_BG is None else present_BG


def moments(x, where, axis, ddof: int = 0):
  """Mean and standard deviation where the mask is true, dimensions kept."""
  count = jnp.sum(where, axis, keepdims=True)
  mean = jnp.sum(jnp.where(where, x, 0), axis, keepdims=True) / jnp.maximum(count, 1)
  square = jnp.sum(jnp.where(where, (x - mean) ** 2, 0), axis, keepdims=True)
  return mean, jnp.sqrt(square / jnp.maximum(count - ddof, 1))


def flat_groups(rewards_BG, present_BG=None):
  """Groups without signal, `[B, 1]`."""
  return flat(rewards_BG, everyone(rewards_BG, present_BG), 1)


def centered(rewards_BG, present_BG=None):
  """A = r - mean_g(r). Dr. GRPO (Liu et al. 2025, arXiv 2503.20783): no division, so no difficulty bias.

  A group without spread is exactly 0, whatever its mean rounds to; so is one whose spread is rounding (`alike`).
  """
  r, there = wide(rewards_BG), everyone(rewards_BG, present_BG)
  return jnp.where(flat_groups(r, there) | ~there, 0, r - moments(r, there, 1)[0])


def group_normalized(rewards_BG, present_BG=None, *, ddof: int = 1, epsilon=1e-6, floor=0.0):
  """A = (r - mean_g(r)) / (max(std_g(r), floor) + epsilon). GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1.2).

  Args:
    rewards_BG: scores; G >= 2.
    ddof: 1 divides the variance by G - 1 (the published example), 0 by G.
    epsilon: added to the standard deviation.
    floor: least spread; keeps a nearly flat group from being blown up to size one.
  Returns:
    `[B, G]`, exactly 0 where all rewards of a group are equal, but for rounding.

  | rewards of a group | ddof 1 | ddof 0 |
  |---|---|---|
  | 1 0 0 1 1 0 1 0 | ±0.9354 | ±1 |
  | one correct of eight | +2.4749 / -0.3536 | +2.6458 / -0.3780 |
  """
  deviation, there = centered(rewards_BG, present_BG), everyone(rewards_BG, present_BG)
  spread = jnp.maximum(moments(deviation, there, 1, ddof)[1], floor)
  return deviation / jnp.where(spread > 0, spread + epsilon, 1)


def shuffled_in_group(advantages_BG, key):
  """The advantages permuted within each group: the control run, whose signal is noise of the same size."""
  return jax.random.permutation(key, advantages_BG, axis=1, independent=True)

"""Where floating point ends: log-ratios that may be exponentiated, and differences that are only rounding."""

import math

import jax.numpy as jnp

from grpo_jax.algorithms.reductions import selected_sum
from grpo_jax.types import wide

LIMIT = 20.0  # nats; verl's bound on log-ratios. exp(20) = 4.9e8 leaves room for its square in float32
LARGEST = math.exp(LIMIT)  # of any estimate of the KL
FLOOR = 1e-12  # units of reward; a difference below is rounding, e.g. 0.05 + 0.3 - 0.35 against 0


def bounded(log_ratio):
  """The log-ratio within ±LIMIT nats: the identity inside, constant (so without gradient) beyond; NaN stays NaN."""
  return jnp.clip(log_ratio, -LIMIT, LIMIT)


def alike(low, high):
  """Whether the smallest and the largest of some numbers differ by rounding only; NumPy arrays or JAX's.

  0.05 + 0.3 is one unit in the last place above 0.35: after a division by their spread that would be a full signal.
  Eight such units are allowed, of the type they come in.
  """
  resolution = 4 * jnp.finfo(high.dtype).eps
  return (high <= low) | (high - low <= resolution * (abs(high) + abs(low)) + FLOOR)


def flat(x, where, axis):
  """Whether all that the mask selects is equal but for rounding, whatever the mean rounds to; dimensions kept."""
  x = wide(x)
  low, high = jnp.where(where, x, jnp.inf), jnp.where(where, x, -jnp.inf)
  return alike(jnp.min(low, axis, keepdims=True), jnp.max(high, axis, keepdims=True))


def at_bound(values, logps, ref_logps):
  """Tokens whose log-probabilities or whose estimate are so far out that the bound stands in for them."""
  return (jnp.abs(logps - ref_logps) > LIMIT) | (values >= LARGEST)


def usable(mask_BGT, recorded: dict):
  """The mask without tokens that some record calls impossible (-inf), and the share of each record as a metric.

  `recorded`: log-probabilities `[B, G, T]` by whose they are; None where there are none. NaN is not left out: it says
  that a model is broken, and the update is refused.
  """
  count, metrics, left = jnp.sum(mask_BGT), {}, mask_BGT
  for name, logps_BGT in recorded.items():
    if logps_BGT is not None:
      infinite = jnp.isinf(logps_BGT)
      metrics[f"policy/{name}_infinite"] = (selected_sum(infinite, mask_BGT), count)
      left = left & ~infinite
  return left, metrics

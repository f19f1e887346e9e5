"""Where floating point ends: log-ratios that may be exponentiated, and differences that are only rounding."""

import jax.numpy as jnp

LIMIT = 20.0  # nats; verl's bound on log-ratios. exp(20) = 4.9e8 leaves room for its square in float32
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

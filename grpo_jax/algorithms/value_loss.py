"""The critic's loss."""

import jax.numpy as jnp


def clipped_value_loss(values, old_values, returns, clip):
  """max((V - R)², (clip(V, V_old ± c) - R)²) / 2 per token: a step away from the old value earns nothing more.

  PPO's implementation (Engstrom et al. 2020, arXiv 2005.12729); units of reward squared.
  """
  near = jnp.clip(values, old_values - clip, old_values + clip)
  return 0.5 * jnp.maximum(jnp.square(values - returns), jnp.square(near - returns))

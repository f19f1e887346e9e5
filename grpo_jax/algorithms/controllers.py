"""Numbers that adapt during a run."""

import jax.numpy as jnp


def adapted_beta(beta, kl, target, horizon):
  """beta · (1 + clip(kl / target - 1, -0.2, 0.2) / horizon), once an update (Ziegler et al. 2019, 1909.08593).

  `horizon`: updates; the controller moves beta by at most a fifth over that many. A KL that is no number, as in a
  refused update, leaves beta as it is.
  """
  error = jnp.where(jnp.isfinite(kl), jnp.clip(kl / target - 1, -0.2, 0.2), 0)
  return beta * (1 + error / horizon)

"""What happens to rewards before advantages are made: truncated and long completions."""

import jax.numpy as jnp

from grpo_jax.types import wide


def penalized(rewards_BG, lengths_BG, truncated_BG, longest: int, spec):
  """Rewards less the truncation penalty and the dynamic length penalty.

  r - truncation_penalty [truncated] - length_penalty · length / longest · max(pass rate of the group, 1 / G): easy
  prompts pay for length, hard ones may think (ALP, Xiang et al. 2025, arXiv 2506.05256). A pass is a reward >= 1.
  """
  r = wide(rewards_BG)
  pass_rate = jnp.maximum(jnp.mean(r >= 1, 1, keepdims=True, dtype=r.dtype), 1 / r.shape[1])
  long = spec.length_penalty * (lengths_BG / longest) * pass_rate
  return r - long - (spec.truncation_penalty * truncated_BG if spec.truncated == "penalize" else 0)

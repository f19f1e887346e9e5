"""Ratios of whole completions, and the correction for a sampler that is not quite the trainer."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.reductions import selected_sum


def sequence_ratio(logps, old_logps, mask_BGT):
  """s = exp(mean over the completion of logp - old_logp), `[B, G, 1]`. GSPO (Zheng et al. 2025, arXiv 2507.18071)."""
  count = jnp.maximum(jnp.sum(mask_BGT, -1, keepdims=True), 1)
  return jnp.exp(selected_sum(logps - old_logps, mask_BGT, -1)[..., None] / count)


def sequence_token_ratio(logps, old_logps, mask_BGT):
  """The value of the sequence ratio, the gradient of this token's log-probability: GSPO-token (equation 14)."""
  stop = jax.lax.stop_gradient
  return stop(sequence_ratio(logps, old_logps, mask_BGT)) * jnp.exp(logps - stop(logps))


def no_ratio(logps):
  """1, with the gradient of log p: REINFORCE."""
  return jnp.exp(logps - jax.lax.stop_gradient(logps))


def sampler_weights(kind: str, old_logps, behavior_logps, mask_BGT, low, high):
  """Importance weights pi_old / pi_sampler, clipped to [low, high] or 0 outside it; by token or by completion.

  TIS (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy training") and its masked form.
  `[B, G, T]`, or `[B, G, 1]` for a completion.
  """
  difference = jnp.where(mask_BGT, old_logps - behavior_logps, 0)
  level, action = kind.split("_")
  weight = jnp.exp(difference if level == "token" else jnp.sum(difference, -1, keepdims=True))
  if action == "truncate":
    return jnp.clip(weight, low, high)
  return jnp.where((weight >= low) & (weight <= high), weight, 0)


CORRECTIONS = ("off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask")

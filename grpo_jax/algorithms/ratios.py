"""Log-ratios of whole completions, in nats, and the correction for a sampler that is not quite the trainer."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.bounds import LIMIT, bounded
from grpo_jax.algorithms.reductions import selected_sum


def sequence_log_ratio(logps, old_logps, mask_BGT):
  """log s = mean over the completion of logp - old_logp, `[B, G, 1]`. GSPO (Zheng et al. 2025, arXiv 2507.18071)."""
  count = jnp.maximum(jnp.sum(mask_BGT, -1, keepdims=True), 1)
  return selected_sum(logps - old_logps, mask_BGT, -1)[..., None] / count


def sequence_token_log_ratio(logps, old_logps, mask_BGT):
  """The value of the sequence's, the gradient of this token's log-probability: GSPO-token (equation 14)."""
  stop = jax.lax.stop_gradient
  return stop(sequence_log_ratio(logps, old_logps, mask_BGT)) + no_log_ratio(logps)


def no_log_ratio(logps):
  """0, with the gradient of log p: REINFORCE."""
  return logps - jax.lax.stop_gradient(logps)


def sampler_weights(kind: str, old_logps, behavior_logps, mask_BGT, low, high):
  """Importance weights pi_old / pi_sampler, clipped to [low, high] or 0 outside it; by token or by completion.

  TIS (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy training") and its masked form.
  `[B, G, T]`, or `[B, G, 1]` for a completion.
  """
  weight = jnp.exp(bounded(sampler_log_weights(kind, old_logps, behavior_logps, mask_BGT)))
  if kind.endswith("truncate"):
    return jnp.clip(weight, low, high)
  return jnp.where((weight >= low) & (weight <= high), weight, 0)


def sampler_log_weights(kind: str, old_logps, behavior_logps, mask_BGT):
  """Their logarithms (nats), before any bound."""
  difference = jnp.where(mask_BGT, old_logps - behavior_logps, 0)
  return difference if kind.startswith("token") else jnp.sum(difference, -1, keepdims=True)


def beyond(log_ratio):
  """Where a log-ratio is so large that the bound stands in for it."""
  return jnp.abs(log_ratio) > LIMIT


CORRECTIONS = ("off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask")

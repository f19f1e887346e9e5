"""The policy loss of a row: per-token terms, reduced once, with the health of the update as (sum, count) metrics."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.advantages import ADVANTAGES, shuffled_in_group
from grpo_jax.algorithms.kl import KL
from grpo_jax.algorithms.reductions import REDUCTIONS, selected_sum
from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.algorithms.surrogates import RATIOS, SURROGATES


def advantages(rewards_BG, spec: AlgorithmSpec, key):
  """The row's advantages `[B, G]` from rewards `[B, G]`; `key` is used by the shuffled control only."""
  advantages_BG = ADVANTAGES[spec.advantage](rewards_BG, spec)
  return shuffled_in_group(advantages_BG, key) if spec.shuffle_advantages else advantages_BG


def policy_loss(logps_BGT, mask_BGT, advantages_BG, old_logps_BGT, ref_logps_BGT, spec: AlgorithmSpec):
  """(numerator, denominator), metrics of: loss = reduce(-surrogate(ratio, A) + beta · KL).

  Args:
    logps_BGT: log-probabilities being differentiated; the others are data.
    mask_BGT: true for tokens that count; nothing is read elsewhere.
    old_logps_BGT: of the policy that made the rollout; None means the current one (one update per rollout).
    ref_logps_BGT: of the reference; None when `spec.kl` is "off".
  """
  stop = jax.lax.stop_gradient
  pick = lambda a: jnp.where(mask_BGT, a, 0)  # noqa: E731  padding is selected away before it is computed with
  logps = pick(logps_BGT)
  old = stop(logps if old_logps_BGT is None else pick(old_logps_BGT))
  ratio = RATIOS[spec.ratio](logps, old)
  advantage = stop(advantages_BG)[..., None]
  terms = -SURROGATES[spec.surrogate](ratio, advantage, spec)
  count = jnp.sum(mask_BGT)
  metrics = {
    "clip/low": (selected_sum((ratio < 1 - spec.epsilon_low) & (advantage < 0), mask_BGT), count),
    "clip/high": (selected_sum((ratio > 1 + spec.epsilon_high) & (advantage > 0), mask_BGT), count),
    "policy/ratio": (selected_sum(ratio, mask_BGT), count),
  }
  if spec.kl != "off":
    kl = KL[spec.kl](logps, stop(pick(ref_logps_BGT)))
    terms = terms + spec.beta * kl
    metrics["policy/kl"] = (selected_sum(kl, mask_BGT), count)
  loss = REDUCTIONS[spec.reduction](terms, mask_BGT, spec)
  metrics["loss/policy"] = loss
  return loss, stop(metrics)

"""The policy loss of a row: per-token terms, reduced once, with the health of the update as (sum, count) metrics."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.preference import group_pairs
from grpo_jax.algorithms.ratios import sampler_weights
from grpo_jax.algorithms.reductions import selected_sum
from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.algorithms.table import KL, RATIOS, REDUCTIONS, SURROGATES, Term


def policy_loss(
  logps_BGT, mask_BGT, advantages_BGT, old_logps_BGT, ref_logps_BGT, spec: AlgorithmSpec,
  *, behavior_logps_BGT=None, picked_BGT=None, roles_BG=None, exact_kl_BGT=None, present_BG=None,
):
  """(numerator, denominator), metrics of: loss = reduce(-surrogate(ratio, A) · w + beta · KL) + pairs.

  Args:
    logps_BGT: log-probabilities being differentiated; the others are data.
    mask_BGT: true for tokens that count; nothing is read elsewhere.
    advantages_BGT: `[B, G]`, `[B, G, 1]` or `[B, G, T]`.
    old_logps_BGT: of the policy that made the rollout; None means the current one (one update per rollout).
    ref_logps_BGT: of the reference; None when no estimate of the KL is made from it.
    behavior_logps_BGT: the sampler's, for the sampler correction.
    picked_BGT: tokens that a covariance row treats apart. roles_BG: +1 best, -1 worst, for the pair loss.
    exact_kl_BGT: full-vocabulary KL per token, for `kl="exact"`. present_BG: members that take part; None is all.
  """
  stop = jax.lax.stop_gradient
  pick = lambda a: jnp.where(mask_BGT, a, 0)  # noqa: E731  padding is selected away before it is computed with
  logps = pick(logps_BGT)
  old = stop(logps if old_logps_BGT is None else pick(old_logps_BGT))
  advantage = stop(advantages_BGT if advantages_BGT.ndim == 3 else advantages_BGT[..., None])
  advantage = pick(advantage) if advantage.shape[-1] > 1 else advantage
  ratio = RATIOS[spec.ratio](logps, old, mask_BGT)
  terms = -SURROGATES[spec.surrogate](Term(ratio, advantage, logps, picked_BGT), spec)
  count = jnp.sum(mask_BGT)
  metrics = {
    "clip/low": (selected_sum((ratio < 1 - spec.epsilon_low) & (advantage < 0), mask_BGT), count),
    "clip/high": (selected_sum((ratio > 1 + spec.epsilon_high) & (advantage > 0), mask_BGT), count),
    "policy/ratio": (selected_sum(ratio, mask_BGT), count),
  }
  if spec.sampler_correction != "off":
    behavior = pick(behavior_logps_BGT)
    weight = sampler_weights(spec.sampler_correction, old, behavior, mask_BGT, spec.sampler_low, spec.sampler_high)
    terms = terms * weight
    metrics["policy/sampler_weight"] = (selected_sum(weight, mask_BGT), count)
  reference = None if ref_logps_BGT is None else stop(pick(ref_logps_BGT))
  if spec.kl != "off":
    kl = pick(exact_kl_BGT) if spec.kl == "exact" else KL[spec.kl](logps, reference, ratio)
    terms = terms + spec.beta * kl if spec.kl_place == "loss" else terms
    metrics["policy/kl"] = (selected_sum(kl, mask_BGT), count)
  terms = jnp.broadcast_to(terms, mask_BGT.shape)
  loss, denominator = REDUCTIONS[spec.reduction](terms, mask_BGT, spec, present_BG)
  if spec.pair_loss != "off":
    pairs, active = group_pairs(logps - reference, mask_BGT, roles_BG, spec)
    loss = loss + spec.pair_weight * denominator * jnp.mean(pairs)
    metrics["loss/pairs"] = (jnp.sum(pairs), jnp.sum(active))
  metrics["loss/policy"] = (loss, denominator)
  return (loss, denominator), stop(metrics)

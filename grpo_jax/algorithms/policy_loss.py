"""The policy loss of a row: per-token terms, reduced once, with the health of the update as (sum, count) metrics."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.bounds import at_bound, bounded, usable
from grpo_jax.algorithms.preference import group_pairs
from grpo_jax.algorithms.ratios import beyond, sampler_log_weights, sampler_weights
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
    mask_BGT: true for tokens that count; nothing is read elsewhere. Tokens with an infinite record do not count.
    advantages_BGT: `[B, G]`, `[B, G, 1]` or `[B, G, T]`.
    old_logps_BGT: of the policy that made the rollout; None means the current one (one update per rollout).
    ref_logps_BGT: of the reference; None when no estimate of the KL is made from it.
    behavior_logps_BGT: the sampler's, for the sampler correction.
    picked_BGT: tokens that a covariance row treats apart. roles_BG: +1 best, -1 worst, for the pair loss.
    exact_kl_BGT: full-vocabulary KL per token, for `kl="exact"`. present_BG: members that take part; None is all.
  """
  stop = jax.lax.stop_gradient
  old_logps = logps_BGT if old_logps_BGT is None else old_logps_BGT
  mask, metrics = usable(mask_BGT, {"old": old_logps, "reference": ref_logps_BGT, "behavior": behavior_logps_BGT})
  pick = lambda a: jnp.where(mask, a, 0)  # noqa: E731  padding is selected away before it is computed with
  logps = pick(logps_BGT)
  old = stop(pick(old_logps))
  advantage = stop(advantages_BGT if advantages_BGT.ndim == 3 else advantages_BGT[..., None])
  advantage = pick(advantage) if advantage.shape[-1] > 1 else advantage
  raw = RATIOS[spec.ratio](logps, old, mask)
  log_ratio = bounded(raw)
  ratio = jnp.exp(log_ratio)
  terms = -SURROGATES[spec.surrogate](Term(ratio, log_ratio, advantage, logps, picked_BGT), spec)
  shares = {"clip/low": (ratio < 1 - spec.epsilon_low) & (advantage < 0),
            "clip/high": (ratio > 1 + spec.epsilon_high) & (advantage > 0),
            "policy/ratio": ratio, "policy/ratio_bounded": beyond(raw)}
  if spec.sampler_correction != "off":
    gap = (spec.sampler_correction, old, pick(behavior_logps_BGT), mask)
    shares["policy/sampler_weight"] = sampler_weights(*gap, spec.sampler_low, spec.sampler_high)
    shares["policy/sampler_bounded"] = beyond(sampler_log_weights(*gap))
    terms = terms * shares["policy/sampler_weight"]
  reference = None if ref_logps_BGT is None else stop(pick(ref_logps_BGT))
  if spec.kl == "exact":
    shares["policy/kl"] = pick(exact_kl_BGT)
  elif spec.kl != "off":
    shares["policy/kl"] = KL[spec.kl](logps, reference, ratio)
    shares["policy/kl_bounded"] = at_bound(shares["policy/kl"], logps, reference)
  if spec.kl != "off" and spec.kl_place == "loss":
    terms = terms + spec.beta * shares["policy/kl"]
  metrics |= {name: (selected_sum(share, mask), jnp.sum(mask)) for name, share in shares.items()}
  loss, denominator = REDUCTIONS[spec.reduction](jnp.broadcast_to(terms, mask.shape), mask, spec, present_BG)
  if spec.pair_loss != "off":
    pairs, active = group_pairs(logps - reference, mask, roles_BG, spec)
    loss = loss + spec.pair_weight * denominator * jnp.mean(pairs)
    metrics["loss/pairs"] = (jnp.sum(pairs), jnp.sum(active))
  metrics["loss/policy"] = (loss, denominator)
  return (loss, denominator), stop(metrics)

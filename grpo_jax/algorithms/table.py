"""The table: the names of every cell, by column, and what a cell asks of the run."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import struct

from grpo_jax.algorithms.advantages import centered, everyone, group_normalized, moments, shuffled_in_group
from grpo_jax.algorithms.baselines import (
  against_greedy,
  batch_normalized,
  best_and_worst,
  group_then_batch,
  kept,
  leave_one_out,
  length_weighted,
  pass_at_k,
  shrunken,
  whitened,
  with_signal_scaled,
)
from grpo_jax.algorithms.gates import capped, cispo, clip_cov, dual_clipped, kl_cov, sapo
from grpo_jax.algorithms.kl import absolute, k1, k2, k3, ratio_k3
from grpo_jax.algorithms.ratios import no_log_ratio, sequence_log_ratio, sequence_token_log_ratio
from grpo_jax.algorithms.reductions import constant, sequence_mean, token_mean
from grpo_jax.algorithms.surrogates import clipped, token_log_ratio
from grpo_jax.algorithms.token_advantages import at_last_token, gae, process, reinforce_pp
from grpo_jax.types import Array, wide


class Term(NamedTuple):
  """What a surrogate may use of each token."""

  ratio: Array
  log_ratio: Array  # within ±20 nats
  advantages: Array
  logps: Array
  picked: Array | None


@struct.dataclass
class Signals:
  """What advantages are made from. A row that needs a field that is None is refused before the run starts."""

  rewards_BG: Array
  mask_BGT: Array | None = None  # of the completions
  present_BG: Array | None = None  # members that take part (dynamic group size); None is all
  greedy_B: Array | None = None  # reward of one greedy completion per prompt
  kl_BGT: Array | None = None  # beta times a KL estimate per token, when the penalty is in the reward
  step_rewards_BGT: Array | None = None  # score of the reasoning step that ends at this token
  step_ends_BGT: Array | None = None  # where steps end
  values_BGT: Array | None = None  # the critic's, of the state before each token


def token_rewards(signals: Signals):
  """The reward at the last token, less the KL penalty of each token where that is in the reward."""
  rewards = at_last_token(signals.rewards_BG, signals.mask_BGT)
  return rewards if signals.kl_BGT is None else rewards - jnp.where(signals.mask_BGT, signals.kl_BGT, 0)


def shaped(signals: Signals):
  """Rewards `[B, G]`, less the KL penalty summed over the completion where that is in the reward."""
  if signals.kl_BGT is None:
    return wide(signals.rewards_BG)
  return wide(signals.rewards_BG) - jnp.sum(jnp.where(signals.mask_BGT, signals.kl_BGT, 0), -1)


def _floored(o: Signals, spec):
  there = everyone(o.rewards_BG, o.present_BG)
  floor = spec.spread_floor * moments(shaped(o), there, (0, 1))[1]
  return group_normalized(shaped(o), o.present_BG, ddof=spec.ddof, epsilon=spec.advantage_epsilon, floor=floor)


def _normalized(o: Signals, spec):
  return group_normalized(shaped(o), o.present_BG, ddof=spec.ddof, epsilon=spec.advantage_epsilon)


def estimated(signals: Signals, spec):
  """GAE before it is whitened, `[B, G, T]`: advantages plus values are the critic's returns."""
  rewards, mask = token_rewards(signals), signals.mask_BGT
  return gae(rewards, signals.values_BGT, mask, gamma=spec.gamma, lam=spec.gae_lambda)


def _process(o: Signals, spec):
  return process(o.step_rewards_BGT, o.step_ends_BGT, ddof=spec.ddof, epsilon=spec.advantage_epsilon)


ADVANTAGES = {
  "group_normalized": _normalized,
  "group_floored": _floored,
  "centered": lambda o, spec: centered(shaped(o), o.present_BG),
  "leave_one_out": lambda o, spec: leave_one_out(shaped(o), o.present_BG),
  "batch_normalized": lambda o, spec: batch_normalized(shaped(o), o.present_BG, epsilon=spec.advantage_epsilon),
  "group_then_batch": lambda o, spec: group_then_batch(shaped(o), jnp.sum(o.mask_BGT, -1), o.present_BG),
  "reinforce_pp": lambda o, spec: reinforce_pp(o.rewards_BG, o.kl_BGT, o.mask_BGT),
  "remax": lambda o, spec: against_greedy(shaped(o), o.greedy_B),
  "length_weighted": lambda o, spec: length_weighted(shaped(o), jnp.sum(o.mask_BGT, -1)),
  "shrunken": lambda o, spec: shrunken(shaped(o)),
  "pass_at_k": lambda o, spec: pass_at_k(shaped(o), spec.pass_k),
  "with_signal_scaled": lambda o, spec: with_signal_scaled(shaped(o)),
  "none": lambda o, spec: shaped(o),
  "process": _process,
  "multi_scale": lambda o, spec: spec.mix * _normalized(o, spec)[..., None] + (1 - spec.mix) * _process(o, spec),
  "gae": lambda o, spec: whitened(estimated(o, spec), o.mask_BGT),
  "best_and_worst": lambda o, spec: best_and_worst(shaped(o)),
  "kept": lambda o, spec: kept(o.rewards_BG),
}
# What a row asks of the run besides rewards.
NEEDS_GREEDY, NEEDS_STEPS, NEEDS_VALUES = {"remax"}, {"process", "multi_scale"}, {"gae"}
NEEDS_GROUP = set(ADVANTAGES) - {"none", "reinforce_pp", "remax", "gae"}
IGNORES_KL = {"process", "multi_scale", "kept"}  # made from raw scores: a penalty in the reward would be lost
TAKES_PRESENT = {"group_normalized", "group_floored", "centered", "leave_one_out", "batch_normalized",
                 "group_then_batch"}


def _bounds(spec) -> dict:
  return {"epsilon_low": spec.epsilon_low, "epsilon_high": spec.epsilon_high}


RATIOS = {  # their logarithms, unbounded: (logps, old, mask) -> `[B, G, T]` or `[B, G, 1]` (nats)
  "token": lambda logps, old, mask: token_log_ratio(logps, old),
  "sequence": sequence_log_ratio,
  "sequence_token": sequence_token_log_ratio,
  "none": lambda logps, old, mask: no_log_ratio(logps),
}
SURROGATES = {
  "clipped": lambda x, spec: clipped(x.ratio, x.advantages, **_bounds(spec)),
  "dual_clipped": lambda x, spec: dual_clipped(
    x.ratio, x.advantages, bound=spec.dual_clip, **_bounds(spec)),
  "capped": lambda x, spec: capped(x.ratio, x.advantages, cap=spec.ratio_cap, **_bounds(spec)),
  "plain": lambda x, spec: x.ratio * x.advantages,
  "log_prob": lambda x, spec: x.advantages * x.logps,
  "cispo": lambda x, spec: cispo(x.ratio, x.advantages, x.logps, cap=spec.ratio_cap),
  "sapo": lambda x, spec: sapo(x.ratio, x.advantages, tau_positive=spec.tau_positive, tau_negative=spec.tau_negative),
  "clip_cov": lambda x, spec: clip_cov(x.ratio, x.advantages, x.picked, **_bounds(spec)),
  "kl_cov": lambda x, spec: kl_cov(x.ratio, x.log_ratio, x.advantages, x.picked, beta=spec.cov_beta),
}
NEEDS_PICKED = {"clip_cov", "kl_cov"}
KL = {"k1": k1, "k2": k2, "k3": k3, "abs": absolute, "ratio_k3": ratio_k3}
REDUCTIONS = {
  "sequence_mean": lambda x, m, spec, present: sequence_mean(x, m, present),
  "token_mean": lambda x, m, spec, present: token_mean(x, m),
  "sequence_sum": lambda x, m, spec, present: constant(x, m, 1, present),
  "constant": lambda x, m, spec, present: constant(x, m, spec.reduction_divisor, present),
}


def advantages(signals: Signals, spec, key):
  """The row's advantages `[B, G, 1]` or `[B, G, T]`; `key` is used by the shuffled control only."""
  result = ADVANTAGES[spec.advantage](signals, spec)
  result = result if result.ndim == 3 else result[..., None]
  return shuffled_in_group(result, key) if spec.shuffle_advantages else result

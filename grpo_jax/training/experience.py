"""A rollout and what is said of it, to what policy steps learn from: the pure functions between sampler and update."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.baselines import best_and_worst
from grpo_jax.algorithms.filters import penalized
from grpo_jax.algorithms.spec import AlgorithmSpec, with_state
from grpo_jax.algorithms.table import KL, Signals, advantages, estimated
from grpo_jax.models.rows import branches, tree_logps
from grpo_jax.models.value_head import tree_values
from grpo_jax.training.accumulate import Cut, map_microbatches
from grpo_jax.types import Experience, Rollout


def cut_to(rollout: Rollout, T: int) -> Rollout:
  """The first T tokens of a rollout none of whose completions is longer."""
  arrays = (rollout.tokens_BGT, rollout.mask_BGT, rollout.behavior_logps_BGT)
  return Rollout(rollout.prompts, *(a[..., :T] for a in arrays), rollout.truncated_BG)


def over_rollout(fn, rollout: Rollout, cut: Cut):
  """`fn(rollout)`, an array `[B, G, T, …]`, cut as the updates are, so that scoring needs no more memory than they."""
  return map_microbatches(fn, rollout, cut) if cut.prompts or cut.members else fn(rollout)


def score(params, rollout: Rollout, temperature, *, cfg, T: int, cut: Cut):
  """Log-probabilities `[B, G, T]` of a rollout under some parameters (reference or old policy)."""

  def logps(part: Rollout):
    arrays = (part.prompts, part.tokens_BGT, part.mask_BGT)
    return tree_logps(params, cfg, *arrays, temperature, cut.logit_chunk, cut.row)[0]

  return over_rollout(logps, cut_to(rollout, T), cut)


def make_experience(rollout, signals: Signals, reference, old_logps, values, algorithm_state, spec: AlgorithmSpec,
                    seed, iteration, *, T: int):
  """Rollout and rewards to what policy steps learn from; group statistics are taken here, on the whole `[B, G]`.

  `reference` is log-probabilities, hidden states when the KL is exact, None without a KL; `values` are the critic's.
  """
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0x5AFF), iteration)
  cut, spec, kl = cut_to(rollout, T), with_state(spec, algorithm_state), None
  mask, longest = cut.mask_BGT, rollout.mask_BGT.shape[-1]
  if spec.kl_place == "reward" and spec.kl != "off":
    old = cut.behavior_logps_BGT if old_logps is None else old_logps
    impossible = jnp.isinf(old) | jnp.isinf(reference)  # the loss leaves such tokens out, by name
    kl = jnp.where(impossible, 0, spec.beta * KL[spec.kl](old, reference))
  rewards_BG = penalized(signals.rewards_BG, jnp.sum(mask, -1), cut.truncated_BG, longest, spec)
  signals = signals.replace(rewards_BG=rewards_BG, mask_BGT=mask, kl_BGT=kl, values_BGT=values)
  if signals.step_ends_BGT is not None:
    steps = (signals.step_rewards_BGT[..., :T], signals.step_ends_BGT[..., :T])
    signals = signals.replace(step_rewards_BGT=steps[0], step_ends_BGT=steps[1])
  advantages_BGT = advantages(signals, spec, key)
  if signals.present_BG is not None:
    mask = mask & signals.present_BG[..., None]
  if spec.truncated == "mask":
    mask = mask & ~cut.truncated_BG[..., None]
  exact = spec.kl == "exact"
  returns = None if values is None else estimated(signals, spec) + values
  return Experience(
    cut.prompts, cut.tokens_BGT, mask, cut.behavior_logps_BGT, advantages_BGT, old_logps,
    ref_logps_BGT=None if exact else reference, ref_hidden_BGTD=reference if exact else None,
    roles_BG=best_and_worst(rewards_BG) if spec.pair_loss != "off" else None,
    present_BG=signals.present_BG, values_BGT=values, returns_BGT=returns)


def reference_of(params, rollout: Rollout, temperature, *, cfg, T: int, cut: Cut, kl: str):
  """What the KL needs of the reference: log-probabilities of the taken tokens, or hidden states for the exact KL."""
  if kl != "exact":
    return score(params, rollout, temperature, cfg=cfg, T=T, cut=cut)

  def hidden(part: Rollout):
    hidden_R1ND, packing = branches(params, cfg, part.prompts, part.tokens_BGT, part.mask_BGT, cut.row)
    return packing.back(hidden_R1ND[:, 0])

  return over_rollout(hidden, cut_to(rollout, T), cut)


def critic_values(params, rollout: Rollout, *, cfg, T: int, cut: Cut):
  """The critic's values `[B, G, T]` of a rollout."""
  values = lambda part: tree_values(params, cfg, part.prompts, part.tokens_BGT, part.mask_BGT, cut.row)  # noqa: E731
  return over_rollout(values, cut_to(rollout, T), cut)


def without_greedy(rollout: Rollout) -> Rollout:
  """The samples of a rollout whose first member is a greedy completion."""
  arrays = (rollout.tokens_BGT, rollout.mask_BGT, rollout.behavior_logps_BGT, rollout.truncated_BG)
  return Rollout(rollout.prompts, *(a[:, 1:] for a in arrays))


def take_rows(batch: Experience, rows) -> Experience:
  """Some prompts of an experience, with all members of their groups."""
  return jax.tree.map(lambda a: a[rows], batch)

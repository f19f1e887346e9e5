"""What some rows want to know of a rollout besides its rewards: a greedy baseline, scores of reasoning steps."""

import dataclasses

import numpy as np

from grpo_jax.algorithms.table import Signals
from grpo_jax.rewards.steps import step_scores
from grpo_jax.runs.group_size import members


def row_signals(run, state, rollout, drawn, scores, lengths_BG, truncated_BG):
  """(scores, lengths, truncated, signals) of the samples that count.

  The greedy member, where there is one, becomes a baseline; members that a dynamic group size leaves out stay in the
  signals, marked as absent, and in nothing else.
  """
  fields = {}
  if "greedy" in run.asks:
    fields["greedy_B"] = scores.rewards_BG[:, 0]
    scores, lengths_BG, truncated_BG = _members(slice(1, None), scores, lengths_BG, truncated_BG)
  if "steps" in run.asks:
    fields["step_rewards_BGT"], fields["step_ends_BGT"] = _steps(run, rollout, drawn)
  rewards_BG = scores.rewards_BG
  if "present" in run.asks:
    n, _ = members(run.config, state.algorithm_state)
    fields["present_BG"] = np.broadcast_to(np.arange(rewards_BG.shape[1])[None] < n, rewards_BG.shape)
    scores, lengths_BG, truncated_BG = _members(slice(n), scores, lengths_BG, truncated_BG)
  return scores, lengths_BG, truncated_BG, Signals(rewards_BG, **fields)


def _members(which: slice, scores, lengths_BG, truncated_BG):
  components = {name: score[:, which] for name, score in scores.components.items()}
  scores = dataclasses.replace(scores, rewards_BG=scores.rewards_BG[:, which], components=components)
  return scores, lengths_BG[:, which], truncated_BG[:, which]


def _steps(run, rollout, drawn):
  tokens, mask = np.asarray(rollout.tokens_BGT), np.asarray(rollout.mask_BGT)
  rewards, ends = np.zeros(tokens.shape, np.float32), np.zeros(tokens.shape, bool)
  texts = {t: run.setup.tokenizer.decode([t]) for t in np.unique(tokens[mask]).tolist()}
  for b, g in np.ndindex(tokens.shape[:2]):
    pieces = [texts[t] for t in tokens[b, g][mask[b, g]].tolist()]
    scored = step_scores(pieces, drawn.examples[b].chosen or drawn.examples[b].solution, run.config.rewards.step_ends)
    rewards[b, g, : len(pieces)], ends[b, g, : len(pieces)] = scored
  return rewards, ends

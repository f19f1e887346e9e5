"""What some rows want to know of a rollout besides its rewards: a greedy baseline, scores of reasoning steps."""

import dataclasses

import numpy as np

from grpo_jax.algorithms.table import Signals
from grpo_jax.rewards.steps import step_scores


def row_signals(run, rollout, drawn, scores, lengths_BG, truncated_BG):
  """(scores, lengths, truncated, signals) of the samples; the greedy member, where there is one, becomes a baseline."""
  fields = {}
  if "greedy" in run.asks:
    fields["greedy_B"] = scores.rewards_BG[:, 0]
    components = {name: score[:, 1:] for name, score in scores.components.items()}
    scores = dataclasses.replace(scores, rewards_BG=scores.rewards_BG[:, 1:], components=components)
    lengths_BG, truncated_BG = lengths_BG[:, 1:], truncated_BG[:, 1:]
  if "steps" in run.asks:
    fields["step_rewards_BGT"], fields["step_ends_BGT"] = _steps(run, rollout, drawn)
  return scores, lengths_BG, truncated_BG, Signals(scores.rewards_BG, **fields)


def _steps(run, rollout, drawn):
  tokens, mask = np.asarray(rollout.tokens_BGT), np.asarray(rollout.mask_BGT)
  rewards, ends = np.zeros(tokens.shape, np.float32), np.zeros(tokens.shape, bool)
  for b, g in np.ndindex(tokens.shape[:2]):
    pieces = [run.setup.tokenizer.decode([t]) for t in tokens[b, g][mask[b, g]]]
    scored = step_scores(pieces, drawn.examples[b].chosen or drawn.examples[b].solution, run.config.rewards.step_ends)
    rewards[b, g, : len(pieces)], ends[b, g, : len(pieces)] = scored
  return rewards, ends

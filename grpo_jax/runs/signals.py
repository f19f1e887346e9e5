"""What the rewards say of a rollout, and what some rows want besides: a greedy baseline, scores of reasoning steps."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from grpo_jax.algorithms.table import Signals
from grpo_jax.distributed.multihost import fetch
from grpo_jax.evaluation.heldout import judge
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.scores import Scores
from grpo_jax.rewards.steps import step_scores
from grpo_jax.runs.prompts import Drawn
from grpo_jax.text.tokenizer import Tokenizer
from grpo_jax.types import Rollout


@dataclass(frozen=True)
class Judged:
  """What the rewards say of B groups, arrays on the host; greedy members are left out of all of it."""

  scores: Scores
  lengths_BG: np.ndarray
  truncated_BG: np.ndarray
  signals: Signals
  sources_B: np.ndarray  # names of the sources the problems are from
  uids_B: np.ndarray  # positions of the problems in the stream

  @property
  def pass_rate(self) -> float:
    """Share of completions with a reward of at least 1."""
    return float((self.scores.rewards_BG >= 1).mean())


@dataclass(frozen=True)
class Judge:
  """Judges rollouts on the host: scores of the rewards, and the signals that the row asks for."""

  rewards: Rewards
  tokenizer: Tokenizer
  asks: frozenset[str]
  step_ends: str  # what ends a reasoning step

  def signals(self, rollout: Rollout, drawn: Drawn, present: int) -> Judged:
    """What is learned from the first `present` samples of each group.

    The greedy member, where there is one, becomes a baseline; members that a dynamic group size leaves out stay in the
    signals, marked as absent, and in nothing else.
    """
    _, scores, lengths_BG, truncated_BG = judge(rollout, drawn.examples, self.tokenizer, self.rewards)
    fields = {}
    if "greedy" in self.asks:
      fields["greedy_B"] = scores.rewards_BG[:, 0]
      scores, lengths_BG, truncated_BG = _members(slice(1, None), scores, lengths_BG, truncated_BG)
    if "steps" in self.asks:
      fields["step_rewards_BGT"], fields["step_ends_BGT"] = self._steps(rollout, drawn)
    rewards_BG = scores.rewards_BG
    if "present" in self.asks:
      fields["present_BG"] = np.broadcast_to(np.arange(rewards_BG.shape[1])[None] < present, rewards_BG.shape)
      scores, lengths_BG, truncated_BG = _members(slice(present), scores, lengths_BG, truncated_BG)
    sources_B = np.array([example.source for example in drawn.examples])
    signals = Signals(rewards_BG, **fields)
    return Judged(scores, lengths_BG, truncated_BG, signals, sources_B, np.asarray(drawn.prompts.uids_B))

  def _steps(self, rollout: Rollout, drawn: Drawn):
    tokens, mask = fetch(rollout.tokens_BGT), fetch(rollout.mask_BGT)
    rewards, ends = np.zeros(tokens.shape, np.float32), np.zeros(tokens.shape, bool)
    texts = {t: self.tokenizer.decode([t]) for t in np.unique(tokens[mask]).tolist()}
    for b, g in np.ndindex(tokens.shape[:2]):
      pieces = [texts[t] for t in tokens[b, g][mask[b, g]].tolist()]
      scored = step_scores(pieces, drawn.examples[b].chosen or drawn.examples[b].solution, self.step_ends)
      rewards[b, g, : len(pieces)], ends[b, g, : len(pieces)] = scored
    return rewards, ends


def _members(which: slice, scores, lengths_BG, truncated_BG):
  components = {name: score[:, which] for name, score in scores.components.items()}
  scores = dataclasses.replace(scores, rewards_BG=scores.rewards_BG[:, which], components=components)
  return scores, lengths_BG[:, which], truncated_BG[:, which]

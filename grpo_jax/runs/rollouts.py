"""Prompts to judged rollouts: the next prompts of the stream, their completions, and what the rewards say of them."""

from dataclasses import dataclass

import numpy as np

from grpo_jax.algorithms.table import Signals
from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.heldout import judge
from grpo_jax.rewards.scores import Scores
from grpo_jax.runs.group_size import members
from grpo_jax.runs.prompts import Drawn, draw
from grpo_jax.runs.rl_programs import sampler_policy
from grpo_jax.runs.signals import row_signals
from grpo_jax.types import Rollout


@dataclass(frozen=True)
class Judged:
  """What the rewards say of B groups, arrays on the host; greedy members are left out of all of it."""

  scores: Scores
  lengths_BG: np.ndarray
  truncated_BG: np.ndarray
  signals: Signals

  @property
  def pass_rate(self) -> float:
    """Share of completions with a reward of at least 1."""
    return float((self.scores.rewards_BG >= 1).mean())


@dataclass(frozen=True)
class Collected:
  """What one iteration learns from; `dropped` counts prompts that were too long, `attempts` rollouts it took."""

  judged: Judged
  position: int
  dropped: int
  attempts: int = 1


def sampled(run, state, position: int) -> tuple[Drawn, Rollout]:
  """The next B prompts from `position` on, and their completions on the devices."""
  config, setup = run.config, run.setup
  drawn = draw(setup.train, setup.tokenizer, position, config.train.prompts, config.prompt_buckets)
  key = ("train", drawn.prompts.tokens_BP.shape[1], members(config, state.algorithm_state)[1] + ("greedy" in run.asks))
  policy, prompts = sampler_policy(run, state), put(setup.mesh, drawn.prompts)
  return drawn, run.programs(key, policy, prompts, run.seed, run.temperature)


def judged(run, state, rollout: Rollout, drawn: Drawn) -> Judged:
  """Scores a rollout and makes the signals that the row asks for."""
  _, scores, lengths, truncated = judge(rollout, drawn.examples, run.setup.tokenizer, run.rewards)
  return Judged(*row_signals(run, state, rollout, drawn, scores, lengths, truncated))


def collect(run, state, score) -> Collected:
  """One rollout. `score` is called with it before it is judged: the devices score while the host judges."""
  drawn, rollout = sampled(run, state, int(state.data_state["position"]))
  score(rollout)
  return Collected(judged(run, state, rollout, drawn), drawn.position, drawn.dropped)

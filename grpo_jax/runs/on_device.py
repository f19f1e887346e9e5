"""A whole iteration, and many of them, as one pure function: runs/iteration.py with the rewards on the device."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.algorithms.table import Signals
from grpo_jax.runs.iteration import learned, sampled, scored
from grpo_jax.runs.ops import Trace
from grpo_jax.runs.parts import Choices, Judgement, Numbers
from grpo_jax.training.state import TrainState
from grpo_jax.types import Array, Prompts, Rollout


@struct.dataclass
class Feed:
  """What the host gives an iteration; of `many`, with K in front of every shape.

  `rollout` is None, or one recorded earlier that is learned from in place of a new one: so two programs can be
  compared on the same samples, whatever ties their last bits decide.
  """

  prompts: Prompts
  targets: dict  # what the rewards compare with, by component
  rows_UM: Array | None  # prompts of each minibatch; None where one update takes all
  iteration: Array
  position: Array  # of the data, after this iteration
  rollout: Rollout | None = None


@struct.dataclass
class Told:
  """What an iteration reports; U updates."""

  updates: dict  # name: (sums, counts) `[U]`
  rewards_BG: Array
  scores: dict  # by component, `[B, G]`
  lengths_BG: Array  # tokens
  truncated_BG: Array
  rollout: Rollout | None = None


@dataclass(frozen=True)
class TokenJudge:
  """Judges rollouts within a program: `(rollout, targets) -> (signals, scores by component)`."""

  rewards: Callable  # (tokens_BGT, mask_BGT, targets) -> (rewards_BG, {component: scores_BG}), pure
  greedy: bool  # whether the first member is a greedy completion, which becomes a baseline

  def __call__(self, rollout: Rollout, targets) -> tuple[Signals, dict]:
    rewards_BG, scores = self.rewards(rollout.tokens_BGT, rollout.mask_BGT, targets)
    if not self.greedy:
      return Signals(rewards_BG), scores
    scores = {name: score_BG[:, 1:] for name, score_BG in scores.items()}
    return Signals(rewards_BG[:, 1:], greedy_B=rewards_BG[:, 0]), scores


def iteration(state: TrainState, feed: Feed, numbers: Numbers, choices: Choices, judge, keep_rollout: bool = False):
  """Sample, judge, compare within groups, update: `(state, feed) -> (state', told)`, nothing on the host."""
  ops, rollout, request = Trace(), feed.rollout, choices.request
  if rollout is None:
    rollout = sampled(ops, choices, state, feed.prompts, numbers, request.group_size - request.greedy_members)
  signals, scores = ops(judge, rollout, feed.targets)
  known = scored(ops, choices, state, rollout, numbers, request.max_new_tokens)
  judgement = Judgement(signals, feed.rows_UM, feed.iteration, {"position": feed.position})
  state, metrics, _ = learned(ops, choices, state, known, judgement, numbers)
  lengths_BG = jnp.sum(known.rollout.mask_BGT, -1, dtype=jnp.int32)
  recorded = rollout if keep_rollout else None
  return state, Told(metrics, signals.rewards_BG, scores, lengths_BG, known.rollout.truncated_BG, recorded)


def many(state: TrainState, feeds: Feed, count, numbers: Numbers, *, choices: Choices, judge,
         keep_rollout: bool = False):
  """The first `count` of K iterations in a loop on the device; what they tell has K in front, zeros past `count`.

  How many there are is a number, so that one executable serves every stretch between two checkpoints, and a run that
  was stopped goes on with the same one, bit for bit.
  """
  at = lambda k: jax.tree.map(lambda a: a[k], feeds)  # noqa: E731
  K = feeds.iteration.shape[0]
  one = jax.eval_shape(lambda s, f: iteration(s, f, numbers, choices, judge, keep_rollout)[1], state, at(0))

  def body(k, carry):
    state, told = carry
    state, new = iteration(state, at(k), numbers, choices, judge, keep_rollout)
    return state, jax.tree.map(lambda all, a: all.at[k].set(a), told, new)

  empty = jax.tree.map(lambda a: jnp.zeros((K, *a.shape), a.dtype), one)
  return jax.lax.fori_loop(0, count, body, (state, empty))

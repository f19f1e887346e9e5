"""A whole iteration, and many of them, as one pure function: the pieces of runs/rl.py without the host between them."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.algorithms.table import Signals
from grpo_jax.models.config import ModelConfig
from grpo_jax.runs.rl_programs import critic_values, make_experience, reference_of, score, take_rows, without_greedy
from grpo_jax.sampling.generate import generate
from grpo_jax.training.accumulate import Cut
from grpo_jax.training.optimizer import OptimizerSpec
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import TrainState, end_iteration
from grpo_jax.training.value_step import value_step
from grpo_jax.types import Array, Prompts, Rollout, SampleRequest


@dataclass(frozen=True)
class Parts:
  """The choices of an iteration: another one is another program."""

  cfg: ModelConfig
  request: SampleRequest
  cut: Cut
  asks: frozenset[str]  # of the row, `spec.needs`
  rewards: Callable  # (tokens_BGT, mask_BGT, targets) -> (rewards_BG, {component: scores_BG}), pure


@struct.dataclass
class Numbers:
  """The numbers of an iteration, array leaves all: they can change, and arms that differ in them be vmapped."""

  spec: AlgorithmSpec
  optimizers: list[OptimizerSpec]  # the policy's and the critic's
  temperature: Array
  value_clip: Array
  refresh_every: Array  # iterations between renewals of the reference; 0 is never
  seed: Array


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


def apart(tree):
  """The same arrays, made before and apart from what uses them, as when each piece is a program of its own."""
  return jax.lax.optimization_barrier(tree)


def judged(rollout: Rollout, targets, parts: Parts) -> tuple[Rollout, Signals, dict]:
  """The samples that are learned from, the signals of the row, and the samples' scores by component."""
  rewards_BG, scores = parts.rewards(rollout.tokens_BGT, rollout.mask_BGT, targets)
  if "greedy" not in parts.asks:
    return rollout, Signals(rewards_BG), scores
  scores = {name: score_BG[:, 1:] for name, score_BG in scores.items()}
  return without_greedy(rollout), Signals(rewards_BG[:, 1:], greedy_B=rewards_BG[:, 0]), scores


def experience_of(state: TrainState, rollout: Rollout, signals: Signals, feed: Feed, numbers: Numbers, parts: Parts):
  """What the updates learn from: log-probabilities that the row asks for, and advantages."""
  spec, T = numbers.spec, parts.request.max_new_tokens
  fixed, ref, old, values = {"cfg": parts.cfg, "T": T, "cut": parts.cut}, None, None, None
  if "reference" in parts.asks:
    ref = apart(reference_of(state.reference, rollout, numbers.temperature, kl=spec.kl, **fixed))
  if feed.rows_UM is not None:
    old = apart(score(state.policy, rollout, numbers.temperature, **fixed))
  if state.critic is not None:
    values = apart(critic_values(state.critic.params, rollout, **fixed))
  rest = (state.algorithm_state, spec, numbers.seed, feed.iteration)
  return apart(make_experience(rollout, signals, ref, old, values, *rest, T=T))


def updated(state: TrainState, batch, numbers: Numbers, parts: Parts):
  """One update of the policy, and of the critic where there is one, on a minibatch: the state and metrics."""
  fixed = {"cfg": parts.cfg, "cut": parts.cut}
  state, metrics = apart(policy_step(state, batch, numbers.spec, numbers.optimizers[0], numbers.temperature, **fixed))
  if state.critic is not None:
    critic, more = value_step(state.critic, batch, numbers.optimizers[1], numbers.value_clip, **fixed)
    state, metrics = apart((state.replace(critic=critic), metrics | more))
  return state, jax.tree.map(jnp.asarray, metrics)


def iteration(state: TrainState, feed: Feed, numbers: Numbers, parts: Parts, keep_rollout: bool = False):
  """Sample, judge, compare within groups, update: `(state, feed) -> (state', told)`, nothing on the host."""
  rollout = feed.rollout
  if rollout is None:
    request = parts.request.replace(temperature=numbers.temperature)
    rollout = apart(generate(state.policy, parts.cfg, feed.prompts, numbers.seed, request))
  samples, signals, scores = apart(judged(rollout, feed.targets, parts))
  batch = experience_of(state, samples, signals, feed, numbers, parts)
  if feed.rows_UM is None:
    state, metrics = updated(state, batch, numbers, parts)
    metrics = jax.tree.map(lambda a: a[None], metrics)
  else:
    update = lambda state, rows: updated(state, apart(take_rows(batch, rows)), numbers, parts)  # noqa: E731
    state, metrics = jax.lax.scan(update, state, feed.rows_UM)
  state = end_iteration(state, {"position": feed.position}, numbers.refresh_every, jnp.float32(0))
  lengths_BG = jnp.sum(samples.mask_BGT, -1, dtype=jnp.int32)
  told = Told(metrics, signals.rewards_BG, scores, lengths_BG, samples.truncated_BG, rollout if keep_rollout else None)
  return state, told


def many(state: TrainState, feeds: Feed, count, numbers: Numbers, parts: Parts, keep_rollout: bool = False):
  """The first `count` of K iterations in a loop on the device; what they tell has K in front, zeros past `count`.

  How many there are is a number, so that one executable serves every stretch between two checkpoints, and a run that
  was stopped goes on with the same one, bit for bit.
  """
  at = lambda k: jax.tree.map(lambda a: a[k], feeds)  # noqa: E731
  K = feeds.iteration.shape[0]
  one = jax.eval_shape(lambda s, f: iteration(s, f, numbers, parts, keep_rollout)[1], state, at(0))

  def body(k, carry):
    state, told = carry
    state, new = iteration(state, at(k), numbers, parts, keep_rollout)
    return state, jax.tree.map(lambda all, a: all.at[k].set(a), told, new)

  empty = jax.tree.map(lambda a: jnp.zeros((K, *a.shape), a.dtype), one)
  return jax.lax.fori_loop(0, count, body, (state, empty))

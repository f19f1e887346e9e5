"""RL whose iterations are one program: K of them are one dispatch, and the host only feeds prompts and writes the log.

`train.fused_iterations` is K. Prompts come from the stream in its order, minibatches from the same draws, checkpoints
and evaluations at the same iterations as in runs/rl.py, and what is logged is computed by the same functions.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from ml_collections import ConfigDict

from grpo_jax.algorithms.table import Signals
from grpo_jax.distributed.mesh import put, stacked_shardings
from grpo_jax.metrics import means
from grpo_jax.rewards.on_tokens import TokenRewards
from grpo_jax.rewards.scores import Scores
from grpo_jax.runs.collect import Collected
from grpo_jax.runs.iteration import learned, sampled, scored
from grpo_jax.runs.ops import Compile, Trace, kept, like, placed
from grpo_jax.runs.parts import Choices, Judgement, Minibatches, Numbers, RLParts
from grpo_jax.runs.rl_metrics import joined, rollout_metrics, train_line
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.signals import Judged
from grpo_jax.runs.warm_up import compile_heldout
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


@dataclass(frozen=True)
class Fed:
  """The feeds of some iterations, `[K, …]` on the host, with what the log says of each iteration's draw."""

  feeds: Feed
  count: int  # of the K that are to be run
  passed: list[Counter]
  sources: list[np.ndarray]  # `[B]`

  @property
  def position(self) -> int:
    """Of the data, after the last of them."""
    return int(self.feeds.position[self.count - 1])


def feed(parts: RLParts, rewards: TokenRewards, K: int, position: int, start: int, count: int) -> Fed:
  """What iterations start + 1 … start + count are made of; up to K the last one stands again, and is not run."""
  feeds, passed, sources = [], [], []
  for i in range(start + 1, start + count + 1):
    drawn = parts.draws.next({}, position)
    position = drawn.position
    feeds.append(Feed(drawn.prompts, rewards.targets(drawn.examples), None, np.int32(i), np.int32(position)))
    passed.append(drawn.passed)
    sources.append(np.array([example.source for example in drawn.examples]))
  stacked = jax.tree.map(lambda *a: np.stack(a), *feeds, *[feeds[-1]] * (K - count))
  return Fed(stacked.replace(rows_UM=order(parts.minibatches, K, start, count)), count, passed, sources)


def order(minibatches: Minibatches, K: int, start: int, count: int) -> np.ndarray | None:
  """The minibatches of iterations start + 1 … start + count, `[K, U, M]`; None where one update takes all prompts."""
  rows = [minibatches.rows(i) for i in range(start + 1, start + count + 1)]
  return None if rows[0] is None else np.stack(rows + rows[-1:] * (K - count))


def stretch(config: ConfigDict, iteration: int) -> int:
  """Iterations of the next dispatch: K, or up to where the run evaluates, saves or ends."""
  ends = [every - iteration % every for every in (config.evaluate.every, config.checkpoint.every) if every]
  return min(config.train.fused_iterations, config.train.iterations - iteration, *ends)


def token_rewards(setup: Setup) -> TokenRewards:
  """The rewards on the device.

  Raises:
    ValueError: a rule does not fit the tokenizer, or a problem that is to be drawn has an answer it cannot judge.
    RewardError: gold answers, written as tokens, do not score 1, or wrong ones not 0.
  """
  config, n = setup.config, len(setup.train.source)
  components, longest = config.rewards.components.to_dict(), max(config.completion_buckets)
  rewards = TokenRewards(components, setup.tokenizer, setup.cfg.vocab_size, longest)
  rewards.targets([setup.train[i] for i in range(min(n, config.train.prompts * config.train.iterations))])
  if config.rewards.self_test:
    rewards.self_test(setup.heldout.examples[: config.rewards.self_test])
  return rewards


def metrics_of(told: Told, k: int, fed: Fed, seconds: float) -> dict:
  """The log line of the k-th iteration of a dispatch of which each took `seconds`; `told` is on the host."""
  one = jax.tree.map(lambda a: a[k], told)
  updates = [means(dict(zip(one.updates, pairs, strict=True))) for pairs in _by_update(one.updates)]
  scores = Scores(one.rewards_BG, one.scores, 0, 0, [])
  uids = np.asarray(fed.feeds.prompts.uids_B[k])
  result = Judged(scores, one.lengths_BG, one.truncated_BG, Signals(one.rewards_BG), fed.sources[k], uids)
  return joined(updates) | rollout_metrics(Collected(result, {}, fed.passed[k]), [0.0, seconds])


def _by_update(metrics: dict):
  """The (sum, count) of every metric, update by update."""
  return zip(*(zip(*pair, strict=True) for pair in metrics.values()), strict=True)


def fused(ops, parts: RLParts, rewards: TokenRewards, state, feeds: Feed, count):
  """`count` iterations as one program: `(state, told)`."""
  judge = TokenJudge(rewards, "greedy" in parts.choices.asks)
  return ops(partial(many, choices=parts.choices, judge=judge), state, feeds, count, parts.numbers, layout=kept)


def compile_fused(ops: Compile, parts: RLParts, rewards: TokenRewards, state) -> None:
  """The two programs of the stage: K iterations, and the sampler of held-out evaluation."""
  example = feed(parts, rewards, parts.setup.config.train.fused_iterations, 0, 0, 1).feeds
  feeds = placed(example, stacked_shardings(parts.setup.mesh, example))
  fused(ops, parts, rewards, like(state), feeds, np.int32(1))
  compile_heldout(ops, parts.setup, like(state.policy))


def dispatches(feed: Callable, call: Callable, lines: Callable, total: int) -> Callable:
  """The step of runs/loop.py that is many iterations; what the next one takes is made while the devices compute.

  Args:
    feed: `(position, i) -> (fed, count, position after)`, of the dispatch behind iteration i.
    call: `(state, fed, count) -> (state, told)`.
    lines: `(told, fed, count, i, seconds of one iteration) -> [(numbers, line)]`.
  """
  ahead = []

  def step(state, i: int):
    started = time.perf_counter()
    fed, count, position = ahead.pop() if ahead else feed(np.asarray(state.data_state["position"]).tolist(), i)
    state, told = call(state, fed, np.int32(count))
    if i + count < total:
      ahead.append(feed(position, i + count))
    told = jax.device_get(told)
    return state, lines(told, fed, count, i, (time.perf_counter() - started) / count)

  return step


def fused_steps(ops, parts: RLParts, rewards: TokenRewards) -> Callable:
  """The step of a stage whose iterations are one program; a request to stop is answered after the one in flight."""
  config, mesh = parts.setup.config, parts.setup.mesh

  def fed(position: int, i: int):
    fed = feed(parts, rewards, config.train.fused_iterations, position, i, stretch(config, i))
    return fed, fed.count, fed.position

  def call(state, fed: Fed, count):
    return fused(ops, parts, rewards, state, put(mesh, fed.feeds, stacked_shardings(mesh, fed.feeds)), count)

  def lines(told: Told, fed: Fed, count: int, i: int, seconds: float):
    numbers = [metrics_of(told, k, fed, seconds) for k in range(count)]
    for k in range(count):
      _warn_of_skipped(i + k + 1, numbers[k])
    return [(n, train_line(n)) for n in numbers]

  return dispatches(fed, call, lines, config.train.iterations)


def _warn_of_skipped(iteration: int, numbers: dict) -> None:
  if numbers["update/skipped"]:
    print(f"WARNING iteration {iteration} refused an update whose gradient was not finite; to see its batch, go there "
          "from the checkpoint before with train.fused_iterations=0", flush=True)

"""RL whose iterations are one program: K of them are one dispatch, and the host only feeds prompts and writes the log.

`train.fused_iterations` is K. Prompts come from the stream in its order, minibatches from the same draws, checkpoints
and evaluations at the same iterations as in runs/rl.py, and what is logged is computed by the same functions.
"""

import time
from collections import Counter
from dataclasses import dataclass

import jax
import numpy as np
from ml_collections import ConfigDict

from grpo_jax.algorithms.table import Signals
from grpo_jax.data.order import Stream
from grpo_jax.distributed.mesh import put, stacked_shardings
from grpo_jax.metrics import means
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.on_tokens import TokenRewards
from grpo_jax.rewards.scores import Scores
from grpo_jax.runs.heldout import log_heldout
from grpo_jax.runs.iteration import Feed, Numbers, Parts, Told, many
from grpo_jax.runs.minibatches import minibatch_rows
from grpo_jax.runs.programs import Programs, like
from grpo_jax.runs.prompts import draw
from grpo_jax.runs.rl import RLRun
from grpo_jax.runs.rl_metrics import joined, rollout_metrics, train_line
from grpo_jax.runs.rl_programs import add_heldout_sampler, request
from grpo_jax.runs.rollouts import Collected
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.signals import Judged
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.token_budgets import cut_of


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


def feed(run: RLRun, rewards: TokenRewards, stream: Stream, position: int, start: int, count: int) -> Fed:
  """What iterations start + 1 … start + count are made of; up to K the last one stands again, and is not run."""
  config, K, feeds, passed, sources = run.config, run.config.train.fused_iterations, [], [], []
  for i in range(start + 1, start + count + 1):
    drawn = draw(stream, run.setup.tokenizer, position, config.train.prompts, config.prompt_buckets)
    position = drawn.position
    feeds.append(Feed(drawn.prompts, rewards.targets(drawn.examples), None, np.int32(i), np.int32(position)))
    passed.append(drawn.passed)
    sources.append(np.array([example.source for example in drawn.examples]))
  stacked = jax.tree.map(lambda *a: np.stack(a), *feeds, *[feeds[-1]] * (K - count))
  return Fed(stacked.replace(rows_UM=order(run, start, count)), count, passed, sources)


def order(run: RLRun, start: int, count: int) -> np.ndarray | None:
  """The minibatches of iterations start + 1 … start + count, `[K, U, M]`; None where one update takes all prompts."""
  if run.updates == 1:
    return None
  rows = [minibatch_rows(run.config, i) for i in range(start + 1, start + count + 1)]
  return np.stack(rows + rows[-1:] * (run.config.train.fused_iterations - count))


def stretch(config: ConfigDict, iteration: int) -> int:
  """Iterations of the next dispatch: K, or up to where the run evaluates, saves or ends."""
  ends = [every - iteration % every for every in (config.evaluate.every, config.checkpoint.every) if every]
  return min(config.train.fused_iterations, config.train.iterations - iteration, *ends)


def parts_of(run: RLRun, rewards: TokenRewards, arms: str = "") -> Parts:
  """The choices of a run's iteration; `arms`: the vmapped axis it is one of."""
  config = run.config
  asked = request(config, run.setup.tokenizer.stop_ids, "train", config.sampling.group_size, int("greedy" in run.asks))
  return Parts(run.setup.cfg, asked.replace(arms=arms), cut_of(config), frozenset(run.asks), rewards)


def numbers_of(run: RLRun) -> Numbers:
  """The numbers of a run's iteration."""
  refresh = np.int32(run.config.train.refresh_reference_every)
  return Numbers(run.spec, run.optimizers, run.temperature, run.value_clip, refresh, run.seed)


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


def compile_fused(run: RLRun, state, rewards: TokenRewards, example: Fed) -> Programs:
  """The two programs of the stage: K iterations, and the sampler of held-out evaluation."""
  mesh, programs, parts = run.setup.mesh, Programs(run.setup.mesh), parts_of(run, rewards)
  add_heldout_sampler(programs, run.setup, run.config, like(state.policy))
  shapes = jax.tree.map(
    lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), example.feeds,
    stacked_shardings(mesh, example.feeds))

  def fused(state, feeds, count, numbers):
    return many(state, feeds, count, numbers, parts)

  programs.add("fused", fused, like(state), shapes, np.int32(1), numbers_of(run), donate=(0,), keep_state=True)
  return programs


def run_fused(setup: Setup, workdir, rewards: Rewards, params=None):
  """Trains like `run_rl`, K iterations a dispatch; a request to stop is answered after the dispatch in flight."""
  config = setup.config
  on_tokens = token_rewards(setup)
  stage = Stage(workdir, config, total=config.train.iterations, name="rl")
  run = RLRun(setup, rewards)
  state = run.fresh_state(params)
  stage.warm_up(state)
  if not stage.done:
    run.programs = compile_fused(run, state, on_tokens, feed(run, on_tokens, setup.train, 0, 0, 1))
  state = stage.resume(state)
  if stage.start == 0:
    log_heldout(run, stage, 0, state)
  i, fed = stage.start, None
  position = int(state.data_state["position"])
  while i < config.train.iterations:
    started = time.perf_counter()
    fed = fed or feed(run, on_tokens, setup.train, position, i, stretch(config, i))
    feeds = put(setup.mesh, fed.feeds, stacked_shardings(setup.mesh, fed.feeds))
    state, told = run.programs("fused", state, feeds, np.int32(fed.count), numbers_of(run))
    ended = i + fed.count
    ahead = stretch(config, ended) if ended < config.train.iterations else 0
    following = feed(run, on_tokens, setup.train, fed.position, ended, ahead) if ahead else None  # while it computes
    told = jax.device_get(told)
    seconds = (time.perf_counter() - started) / fed.count
    for k in range(fed.count):
      numbers = metrics_of(told, k, fed, seconds)
      _warn_of_skipped(i + k + 1, numbers)
      stage.log(i + k + 1, "train", numbers, train_line(numbers))
    i, fed = ended, following
    due = i == config.train.iterations or (config.evaluate.every and i % config.evaluate.every == 0)
    stage.maybe_save(i, state, log_heldout(run, stage, i, state) if due else None)
  stage.finish(setup.notes | {"compile_seconds": run.programs.compile_seconds if run.programs else 0.0})
  return state.params


def _warn_of_skipped(iteration: int, numbers: dict) -> None:
  if numbers["update/skipped"]:
    print(f"WARNING iteration {iteration} refused an update whose gradient was not finite; to see its batch, go there "
          "from the checkpoint before with train.fused_iterations=0", flush=True)

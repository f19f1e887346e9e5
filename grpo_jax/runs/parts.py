"""The parts of an RL iteration: what the config says of it, read once, and what passes between its stages."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct
from ml_collections import ConfigDict

from grpo_jax.algorithms.spec import AlgorithmSpec, initial_state, needs
from grpo_jax.algorithms.table import Signals
from grpo_jax.data.curriculum import Curriculum
from grpo_jax.models.config import ModelConfig
from grpo_jax.runs.curriculum import Draws
from grpo_jax.runs.setup import Setup, fresh_state
from grpo_jax.runs.token_budgets import Budgets
from grpo_jax.runs.validate import algorithm_spec, optimizer_spec
from grpo_jax.training.dealing import Cut
from grpo_jax.training.optimizer import OptimizerSpec
from grpo_jax.types import Array, Rollout, SampleRequest


@dataclass(frozen=True)
class Choices:
  """The static choices of an iteration: another one is another program."""

  cfg: ModelConfig
  request: SampleRequest  # of training
  cut: Cut
  asks: frozenset[str]  # what it takes besides samples and rewards; see `choices_of`
  gather: bool = False  # whether the sampler has the policy whole along `fsdp`

  def with_cut(self, cut: Cut) -> "Choices":
    """The same, cut otherwise: into packed rows, say."""
    return replace(self, cut=cut)


@struct.dataclass
class Numbers:
  """The numbers of an iteration, array leaves all: they can change, and arms that differ in them be vmapped."""

  spec: AlgorithmSpec
  optimizers: list[OptimizerSpec]  # the policy's and the critic's
  temperature: Array
  value_clip: Array
  refresh_every: Array  # iterations between renewals of the reference; 0 is never
  seed: Array


class Scored(NamedTuple):
  """A rollout without greedy members, and what models say of its tokens `[B, G, T]`; None where nobody asks."""

  rollout: Rollout
  T: int  # tokens that are learned from: the least bucket that holds every completion
  reference: Any  # log-probabilities, or hidden states for the exact KL
  old: Array | None  # log-probabilities of the policy before the first update
  values: Array | None  # the critic's


class Judgement(NamedTuple):
  """What is known once the rewards have spoken."""

  signals: Signals
  rows_UM: Any  # prompts of each minibatch; None where one update takes all
  iteration: Any
  data_state: dict  # after this iteration
  pass_rate: Any = np.float32(0)


@dataclass(frozen=True)
class Minibatches:
  """How the prompts of a rollout become updates: passes over all of them, each cut into minibatches."""

  seed: int
  prompts: int
  size: int  # prompts of a minibatch; 0 is all
  epochs: int  # passes

  @property
  def updates(self) -> int:
    """Optimizer updates that one rollout gives."""
    return self.epochs * (self.prompts // (self.size or self.prompts))

  def rows(self, iteration: int) -> np.ndarray | None:
    """Rows of the minibatches of an iteration, `[updates, minibatch]`: each pass takes every prompt once.

    The order is a function of seed, iteration and pass. None where a single update takes all prompts.
    """
    if self.updates == 1:
      return None
    orders = []
    for epoch in range(self.epochs):
      generator = np.random.Generator(np.random.Philox(key=[self.seed, iteration * 2**20 + epoch]))
      orders.append(generator.permutation(self.prompts).reshape(-1, self.size or self.prompts))
    return np.concatenate(orders).astype(np.int32)


@dataclass(frozen=True)
class RLParts:
  """What an RL stage is made of: the config's say in it, read once."""

  setup: Setup
  choices: Choices
  numbers: Numbers
  draws: Draws
  minibatches: Minibatches
  group_sizes: tuple[int, ...]  # that are compiled
  group_signal: float  # share of groups that are to have signal, where there are several sizes
  completion_buckets: tuple[int, ...]
  budgets: Budgets
  attempts: int  # rollouts until enough groups have signal; 0 takes the first as it is

  @classmethod
  def of(cls, setup: Setup) -> "RLParts":
    """As the config of the setup has them."""
    config, numbers, s = setup.config, numbers_of(setup.config), setup.config.sampling
    choices = choices_of(config, setup.cfg, setup.tokenizer.stop_ids, numbers.spec)
    curriculum = Curriculum(**config.curriculum.to_dict())
    draws = Draws(setup.train, setup.tokenizer, config.train.prompts, tuple(config.prompt_buckets), curriculum,
                  config.evaluate.component)
    sizes, buckets = tuple(s.group_sizes) or (s.group_size,), tuple(config.completion_buckets)
    budgets = Budgets.of(config.train.token_budgets, max(buckets), setup.mesh)
    rest = (minibatches_of(config), sizes, s.group_signal, buckets, budgets, config.train.resample_attempts)
    return cls(setup, choices, numbers, draws, *rest)

  def members(self, algorithm_state: dict) -> tuple[int, int]:
    """(members that take part, compiled size) of the next rollout: as many as it takes for most groups to have signal.

    With pass rate p, a group of n has signal with probability 1 - p^n - (1 - p)^n. The least n that reaches
    `group_signal` is taken, at most the largest size; members beyond it are masked. p is a moving average that lives in
    the state; without it there is one size.
    """
    sizes = self.group_sizes
    if "pass_rate" not in algorithm_state:
      return sizes[0], sizes[0]
    p, candidates = float(algorithm_state["pass_rate"]), range(2, sizes[-1])
    n = next((n for n in candidates if 1 - p**n - (1 - p) ** n >= self.group_signal), sizes[-1])
    return n, min(size for size in sizes if size >= n)

  def fresh_state(self, params=None, *, abstract: bool = False):
    """The state that the stage begins with, with all that the row asks for; `abstract`: its shapes only."""
    asks = self.choices.asks
    return fresh_state(
      self.setup, reference="reference" in asks, params=params, critic="values" in asks, curriculum=True,
      algorithm_state=initial_state(self.numbers.spec, asks), abstract=abstract)


def minibatches_of(config: ConfigDict) -> Minibatches:
  """How a run's rollouts become updates."""
  t = config.train
  return Minibatches(config.seed, t.prompts, t.minibatch_prompts, t.update_epochs)


def numbers_of(config: ConfigDict) -> Numbers:
  """The numbers of a run's iteration."""
  updates, t = minibatches_of(config).updates * config.train.iterations, config.train
  optimizers = [optimizer_spec(config[name], updates) for name in ("optimizer", "critic_optimizer")]
  spec, optimizers = jax.tree.map(np.float32, (algorithm_spec(config), optimizers))
  numbers = (np.float32(config.sampling.temperature), np.float32(t.value_clip), np.int32(t.refresh_reference_every))
  return Numbers(spec, optimizers, *numbers, np.uint32(config.seed))


def choices_of(config: ConfigDict, cfg: ModelConfig, stop_ids: tuple[int, ...], spec: AlgorithmSpec) -> Choices:
  """The choices of a run's iteration.

  `asks` is what the row needs, and "old" where several updates share a rollout, "present" where group sizes change.
  """
  t, G = config.train, config.sampling.group_size
  more = {"old": minibatches_of(config).updates > 1, "present": bool(config.sampling.group_sizes)}
  asks = frozenset(needs(spec) | {name for name, asked in more.items() if asked})
  greedy = int("greedy" in asks)
  request = SampleRequest(
    group_size=G + greedy, greedy_members=greedy, max_new_tokens=max(config.completion_buckets), stop_ids=stop_ids,
    slots=config.sampling.slots, whole=config.mesh.sampler == "gathered")
  cut = Cut(t.micro_prompts, t.micro_members, t.logit_chunk)
  return Choices(cfg, request, cut, asks, gather=config.mesh.sampler == "gathered")


def heldout_request(config: ConfigDict, stop_ids: tuple[int, ...]) -> SampleRequest:
  """What held-out evaluation samples: one greedy completion of each problem and `evaluate.samples` others."""
  e = config.evaluate
  return SampleRequest(
    group_size=1 + e.samples, greedy_members=1, max_new_tokens=max(config.completion_buckets), stop_ids=stop_ids,
    stream=1, top_k=e.top_k, top_p=e.top_p, min_p=e.min_p, slots=config.sampling.slots,
    whole=config.mesh.sampler == "gathered")

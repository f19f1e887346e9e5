"""The RL loop: prompts → rollout → rewards → reference log-probs → advantages → policy steps, once an iteration."""

import time

import jax
import numpy as np

from grpo_jax.algorithms.spec import initial_state, needs
from grpo_jax.data.batches import choose_bucket
from grpo_jax.distributed.mesh import put
from grpo_jax.distributed.multihost import fetch
from grpo_jax.metrics import means
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs.heldout import log_heldout
from grpo_jax.runs.kept import Made, record
from grpo_jax.runs.minibatches import minibatch_rows
from grpo_jax.runs.resample import resampled
from grpo_jax.runs.rl_metrics import joined, rollout_metrics, train_line
from grpo_jax.runs.rl_programs import compile_rl
from grpo_jax.runs.rollouts import collect
from grpo_jax.runs.setup import Setup, fresh_state
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.token_budgets import learned_lengths, packed_key, share_of
from grpo_jax.runs.validate import algorithm_spec, optimizer_spec, updates_per_iteration
from grpo_jax.types import Experience


class RLRun:
  """The fixed parts of an RL stage: setup, rewards, the row of the algorithm; `iterate` is one iteration."""

  def __init__(self, setup: Setup, rewards: Rewards | None):  # None: to plan, not to run
    config = setup.config
    self.setup, self.rewards, self.config, self.programs = setup, rewards, config, None
    self.updates = updates_per_iteration(config)
    updates = self.updates * config.train.iterations
    optimizers = [optimizer_spec(config[name], updates) for name in ("optimizer", "critic_optimizer")]
    self.spec, self.optimizers = jax.tree.map(np.float32, (algorithm_spec(config), optimizers))
    self.value_clip = np.float32(config.train.value_clip)
    self.asks = needs(self.spec) | ({"present"} if config.sampling.group_sizes else set())
    self.temperature, self.seed = np.float32(config.sampling.temperature), np.uint32(config.seed)

  def fresh_state(self, params=None, *, abstract: bool = False):
    """The state that the stage begins with, with all that the row asks for; `abstract`: its shapes only."""
    return fresh_state(
      self.setup, reference="reference" in self.asks, params=params, critic="values" in self.asks, curriculum=True,
      algorithm_state=initial_state(self.spec, self.asks), abstract=abstract)

  def minibatches(self, experience: Experience, lengths_BG, key, iteration: int):
    """The experience, or its prompts in a new order for each pass, cut into minibatches; and the lengths of each."""
    if self.updates == 1:
      yield experience, lengths_BG
      return
    for rows in minibatch_rows(self.config, iteration):
      yield self.programs(("minibatch", *key), experience, rows), lengths_BG[rows]

  def iterate(self, state, iteration: int):
    """One rollout and its updates: the new state, metrics as numbers, and what was made on the way."""
    config, programs, clock, scored = self.config, self.programs, [time.perf_counter()], {}

    def score(rollout):  # dispatched before the rewards: the device scores while the host judges
      P, lengths = rollout.prompts.tokens_BP.shape[1], fetch(rollout.mask_BGT).sum(-1)
      rollout = programs(("samples", P, lengths.shape[1]), rollout) if "greedy" in self.asks else rollout
      key = (P, choose_bucket(lengths.ravel().tolist(), config.completion_buckets), rollout.mask_BGT.shape[1])
      clock.append(time.perf_counter())
      lengths, rest = lengths[:, -key[2]:], (rollout, self.temperature)
      packed = packed_key(key, share_of(lengths, key[1], config, self.setup.mesh))
      ref = programs(("reference", *packed), state.reference, *rest) if "reference" in self.asks else None
      old = programs(("score", *packed), state.policy, *rest) if self.updates > 1 else None
      values = programs(("values", *packed), state.critic.params, rollout) if state.critic else None
      scored.update(key=key, rollout=rollout, logps=(ref, old, values), lengths=lengths)

    collected = (resampled if config.train.resample_attempts else collect)(self, state, score)
    clock.append(time.perf_counter())
    jax.block_until_ready(scored["logps"])
    clock.append(time.perf_counter())
    key, signals = scored["key"], put(self.setup.mesh, collected.judged.signals)
    numbers = (state.algorithm_state, self.spec, self.seed, np.int32(iteration))
    experience = programs(("experience", *key), scored["rollout"], signals, *scored["logps"], *numbers)
    updates, lengths = [], learned_lengths(scored["lengths"], scored["rollout"], collected.judged.signals, self.spec)
    for minibatch, of in self.minibatches(experience, lengths, key, iteration):
      packed = packed_key(key, share_of(of, key[1], config, self.setup.mesh))
      state, metrics = programs(("update", *packed), state, minibatch, self.spec, self.optimizers[0], self.temperature)
      if state.critic:
        parts = (minibatch, self.optimizers[1], self.value_clip)
        critic, more = programs(("critic", *packed), state.critic, *parts)
        state, metrics = state.replace(critic=critic), metrics | more
      updates.append(metrics)
    refresh, pass_rate = np.int32(config.train.refresh_reference_every), np.float32(collected.judged.pass_rate)
    state = programs("end", state, collected.data_state, refresh, pass_rate)
    numbers = joined([means(m) for m in jax.device_get(updates)])
    clock.append(time.perf_counter())
    return state, numbers | rollout_metrics(collected, clock), Made(scored["rollout"], collected.judged, experience)


def run_rl(setup: Setup, workdir, rewards: Rewards, params=None):
  """Trains to `config.train.iterations` from wherever the workdir is; returns the final parameters."""
  config = setup.config
  stage = Stage(workdir, config, total=config.train.iterations, name="rl")
  run = RLRun(setup, rewards)
  state = run.fresh_state(params)
  stage.warm_up(state)
  if not stage.done:
    run.programs = compile_rl(setup, state, run.spec, run.optimizers, run.asks)  # nothing compiles after this
  state = stage.resume(state)
  if stage.start == 0:
    log_heldout(run, stage, 0, state)
  for i in range(stage.start + 1, config.train.iterations + 1):
    state, numbers, made = run.iterate(state, i)
    record(run, stage, i, state, numbers, made)
    stage.log(i, "train", numbers, train_line(numbers))
    every = config.evaluate.every
    due = i == config.train.iterations or (every and i % every == 0)
    stage.maybe_save(i, state, log_heldout(run, stage, i, state) if due else None)
  stage.finish(setup.notes | {"compile_seconds": run.programs.compile_seconds if run.programs else 0.0})
  return state.params

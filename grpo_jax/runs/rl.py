"""The RL loop: prompts → rollout → rewards → reference log-probs → advantages → policy steps, once an iteration."""

import time
from functools import partial

import jax
import numpy as np

from grpo_jax.data.batches import choose_bucket
from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.heldout import evaluate, judge
from grpo_jax.metrics import means
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs.prompts import draw
from grpo_jax.runs.rl_metrics import eval_line, joined, rollout_metrics, save_skipped, train_line
from grpo_jax.runs.rl_programs import compile_rl
from grpo_jax.runs.setup import Setup, fresh_state
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.validate import algorithm_spec, optimizer_spec, updates_per_iteration
from grpo_jax.types import Experience


class RLRun:
  """The fixed parts of an RL stage: setup, rewards, the row of the algorithm; `iterate` is one iteration."""

  def __init__(self, setup: Setup, rewards: Rewards):
    config = setup.config
    self.setup, self.rewards, self.config, self.programs = setup, rewards, config, None
    numbers = partial(jax.tree.map, np.float32)
    self.spec, self.updates = numbers(algorithm_spec(config)), updates_per_iteration(config)
    self.optimizer = numbers(optimizer_spec(config.optimizer, self.updates * config.train.iterations))
    self.temperature, self.seed = np.float32(config.sampling.temperature), np.uint32(config.seed)

  def warm_up(self, state) -> None:
    """Compiles every program; nothing compiles after this."""
    self.programs = compile_rl(self.setup, state, self.spec, self.optimizer)

  def minibatches(self, experience: Experience, key, iteration: int):
    """The experience itself, or its prompts in a new order for each pass, cut into minibatches."""
    if self.updates == 1:
      yield experience
      return
    B = self.config.train.prompts
    for epoch in range(self.config.train.update_epochs):
      generator = np.random.Generator(np.random.Philox(key=[self.config.seed, iteration * 2**20 + epoch]))
      for rows in generator.permutation(B).reshape(-1, self.config.train.minibatch_prompts or B):
        yield self.programs(("minibatch", *key), experience, rows.astype(np.int32))

  def iterate(self, state, iteration: int):
    """One rollout and its updates: the new state, metrics as numbers, and the experience (for a post-mortem)."""
    config, programs, setup, clock = self.config, self.programs, self.setup, [time.perf_counter()]
    position = int(state.data_state["position"])
    drawn = draw(setup.train, setup.tokenizer, position, config.train.prompts, config.prompt_buckets)
    P = drawn.prompts.tokens_BP.shape[1]
    rollout = programs(("train", P), state.params, put(setup.mesh, drawn.prompts), self.seed, self.temperature)
    T = choose_bucket(np.asarray(rollout.mask_BGT).sum(-1).ravel().tolist(), config.completion_buckets)
    clock.append(time.perf_counter())
    # Dispatched before the rewards: the device scores while the host judges.
    ref = programs(("score", P, T), state.ref_params, rollout, self.temperature) if self.spec.kl != "off" else None
    old = programs(("score", P, T), state.params, rollout, self.temperature) if self.updates > 1 else None
    _, scores, lengths, truncated = judge(rollout, drawn.examples, setup.tokenizer, self.rewards)
    clock.append(time.perf_counter())
    jax.block_until_ready((ref, old))
    clock.append(time.perf_counter())
    parts = (put(setup.mesh, scores.rewards_BG), ref, old, self.spec, self.seed, np.int32(iteration))
    experience = programs(("experience", P, T), rollout, *parts)
    updates = []
    for minibatch in self.minibatches(experience, (P, T), iteration):
      state, metrics = programs(("update", P, T), state, minibatch, self.spec, self.optimizer, self.temperature)
      updates.append(metrics)
    state = programs("end", state, np.int32(drawn.position), np.int32(config.train.refresh_reference_every))
    numbers = joined([means(m) for m in jax.device_get(updates)])
    clock.append(time.perf_counter())
    return state, numbers | rollout_metrics(scores, lengths, truncated, drawn.dropped, clock), experience

  def evaluate(self, params):
    """Held-out metrics of the policy, and samples to print."""
    e, P = self.config.evaluate, max(self.config.prompt_buckets)

    def sample(prompts):
      return self.programs(("heldout", P), params, put(self.setup.mesh, prompts), self.seed, np.float32(e.temperature))

    return evaluate(sample, self.setup.heldout, self.setup.tokenizer, self.rewards, e.component, e.batch)


def run_rl(setup: Setup, workdir, rewards: Rewards, params=None):
  """Trains to `config.train.iterations` from wherever the workdir is; returns the final parameters."""
  config = setup.config
  stage = Stage(workdir, config, total=config.train.iterations, name="rl")
  run = RLRun(setup, rewards)
  state = fresh_state(setup, reference=run.spec.kl != "off", params=params)
  stage.warm_up(state)
  if not stage.done:
    run.warm_up(state)
  state = stage.resume(state)
  if stage.start == 0:
    _evaluate(run, stage, 0, state)
  for i in range(stage.start + 1, config.train.iterations + 1):
    state, numbers, experience = run.iterate(state, i)
    if numbers["update/skipped"]:
      save_skipped(stage.directory, i, experience)
    stage.log(i, "train", numbers, train_line(numbers))
    every = config.evaluate.every
    due = i == config.train.iterations or (every and i % every == 0)
    stage.maybe_save(i, state, _evaluate(run, stage, i, state) if due else None)
  stage.finish({"compile_seconds": run.programs.compile_seconds if run.programs else 0.0})
  return state.params


def _evaluate(run: RLRun, stage: Stage, step: int, state) -> float:
  started = time.perf_counter()
  metrics, shown = run.evaluate(state.params)
  metrics["time/evaluate"] = time.perf_counter() - started
  stage.log(step, "eval", metrics, eval_line(metrics))
  for example, text, right in shown[: run.config.log.samples]:
    verdict = f"{'right' if right else 'wrong'}, {example.answer}"
    print(f"    {str(example.prompt)[-60:]!r} → {text[:120]!r} ({verdict})", flush=True)
  return metrics["greedy"]

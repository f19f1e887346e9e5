"""The RL loop with the host in it: prompts → rollout → rewards → advantages → policy steps, once an iteration."""

import time
from functools import partial

import jax
import numpy as np

from grpo_jax.data.batches import choose_bucket
from grpo_jax.distributed.mesh import put
from grpo_jax.distributed.multihost import fetch
from grpo_jax.metrics import means
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs.collect import collect
from grpo_jax.runs.fused import compile_fused, fused_steps, token_rewards
from grpo_jax.runs.heldout import Exam
from grpo_jax.runs.iteration import learned, sampled, sampler_policy, scored
from grpo_jax.runs.kept import Made, looked, record
from grpo_jax.runs.loop import loop
from grpo_jax.runs.ops import Compile, Run
from grpo_jax.runs.parts import Judgement, RLParts
from grpo_jax.runs.rl_metrics import joined, rollout_metrics, train_line
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.signals import Judge
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.token_budgets import learned_lengths
from grpo_jax.runs.warm_up import compile_rl


def iterate(ops, parts: RLParts, judge: Judge, state, iteration: int):
  """One rollout and its updates: the new state, metrics as numbers, and what was made on the way."""
  choices, numbers, place = parts.choices, parts.numbers, partial(put, parts.setup.mesh)
  clock, known = [time.perf_counter()], []
  present, size = parts.members(state.algorithm_state)

  def sample(position: int):
    drawn = parts.draws.next(state.data_state, position)
    return drawn, sampled(ops, choices, state, place(drawn.prompts), numbers, size)

  def score(rollout):
    lengths = fetch(rollout.mask_BGT).sum(-1)
    T = choose_bucket(lengths.ravel().tolist(), parts.completion_buckets)
    lengths = lengths[:, choices.request.greedy_members :]
    packed = choices.with_cut(parts.budgets.least(choices.cut, lengths, T))
    clock.append(time.perf_counter())
    known.append(scored(ops, packed, state, place(rollout) if parts.attempts else rollout, numbers, T))
    known.append(lengths)

  signals_of = partial(judge.signals, present=present)
  collected = collect(sample, signals_of, score, parts.draws, state.data_state, parts.attempts)
  clock.append(time.perf_counter())
  known, lengths = jax.block_until_ready(known[0]), known[1]
  clock.append(time.perf_counter())
  judged, rows_UM = collected.judged, parts.minibatches.rows(iteration)
  rest = (np.int32(iteration), collected.data_state, np.float32(judged.pass_rate))
  judgement = Judgement(place(judged.signals), rows_UM, *rest)
  lengths = learned_lengths(lengths, known.rollout, judged.signals, numbers.spec)
  cut_of = lambda rows: parts.budgets.least(choices.cut, lengths if rows is None else lengths[rows], known.T)  # noqa: E731
  state, metrics, batch = learned(ops, choices, state, known, judgement, numbers, cut_of)
  told = joined([means(m) for m in jax.device_get(metrics)])
  clock.append(time.perf_counter())
  return state, told | rollout_metrics(collected, clock), Made(known.rollout, judged, batch)


def run_rl(setup: Setup, workdir, rewards: Rewards, params=None):
  """Trains to `train.iterations` from wherever the workdir is; the last parameters. Without the host: runs/fused.py."""
  config, parts, programs = setup.config, RLParts.of(setup), Compile(setup.mesh)
  on_tokens, ops = token_rewards(setup) if config.train.fused_iterations else None, Run(programs.executables)
  stage, exam = Stage(workdir, config, total=config.train.iterations, name="rl"), Exam(setup, rewards, ops)
  judge = Judge(rewards, setup.tokenizer, parts.choices.asks, config.rewards.step_ends)

  def step(state, i: int):
    state, numbers, made = iterate(ops, parts, judge, state, i + 1)
    record(stage, config.log.rollouts, i + 1, state, numbers, made, partial(looked, ops, parts))
    return state, [(numbers, train_line(numbers))]

  def evaluate(i: int, state) -> float:
    return exam.log(stage, i, sampler_policy(ops, parts.choices, state))

  compiled = partial(compile_fused, programs, parts, on_tokens) if on_tokens else partial(compile_rl, programs, parts)
  step = fused_steps(ops, parts, on_tokens) if on_tokens else step
  state = loop(stage, parts.fresh_state(params), compiled, step, evaluate, config.evaluate.every)
  stage.finish(setup.notes | {"compile_seconds": programs.seconds})
  return state.params

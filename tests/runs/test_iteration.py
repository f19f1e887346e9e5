"""The one spelling of an iteration against a plain one, program by program; what was not planned does not run."""

from functools import partial

import jax
import numpy as np
import pytest
import tiny_fused

from grpo_jax.runs.iteration import learned, sampled, scored
from grpo_jax.runs.model import load_model
from grpo_jax.runs.ops import Compile, OnDemand, Run
from grpo_jax.runs.parts import Judgement, RLParts
from grpo_jax.runs.setup import make_setup
from grpo_jax.runs.warm_up import calls_per_iteration, compile_rl, empty_signals
from grpo_jax.sampling.sampler import sample
from grpo_jax.training import experience
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import end_iteration
from grpo_jax.training.value_step import value_step

pytestmark = pytest.mark.usefixtures("one_device")
ROWS = {
  "grpo": {}, "dapo": {"train.minibatch_prompts": 0}, "remax": {}, "ppo": {"train.update_epochs": 2},
  "grpo_process": {"rewards.step_ends": "]"}}


def config(row: str):
  c = tiny_fused.get_config()
  c.update_from_flattened_dict({"train.fused_iterations": 0, "completion_buckets": (5,), "algorithm.preset": row,
                                "optimizer.epsilon": 1e-3, **ROWS[row]})
  return c


def signals_for(parts: RLParts):
  """Made-up signals of every kind that the row asks for."""
  rng, T = np.random.default_rng(0), parts.choices.request.max_new_tokens
  empty = empty_signals(parts.draws.count, parts.group_sizes[0], T, parts.choices.asks)
  return jax.tree.map(lambda a: (rng.random(a.shape) > 0.5).astype(a.dtype), empty)


def by_ops(ops, parts: RLParts, state, prompts, judgement: Judgement):
  """The iteration as the run has it."""
  choices, numbers = parts.choices, parts.numbers
  rollout = sampled(ops, choices, state, prompts, numbers, parts.group_sizes[0])
  known = scored(ops, choices, state, rollout, numbers, parts.completion_buckets[-1])
  return learned(ops, choices, state, known, judgement, numbers)[0]


def plainly(parts: RLParts, state, prompts, judgement: Judgement):
  """The same, spelt out."""
  choices, numbers, T = parts.choices, parts.numbers, parts.completion_buckets[-1]
  cfg, cut, spec, rows_UM = choices.cfg, choices.cut, numbers.spec, judgement.rows_UM
  greedy = int(judgement.signals.greedy_B is not None)
  asked = choices.request.replace(group_size=4 + greedy)
  rollout = sample(state.params, prompts, numbers.seed, numbers.temperature, cfg=cfg, asked=asked)
  rollout = experience.without_greedy(rollout) if greedy else rollout
  ref = old = values = None
  if spec.kl != "off":
    ref = experience.score(state.ref_params, rollout, numbers.temperature, cfg=cfg, T=T, cut=cut)
  if rows_UM is not None:
    old = experience.score(state.params, rollout, numbers.temperature, cfg=cfg, T=T, cut=cut)
  if state.critic is not None:
    values = experience.critic_values(state.critic.params, rollout, cfg=cfg, T=T, cut=cut)
  batch = experience.make_experience(rollout, judgement.signals, ref, old, values, state.algorithm_state, spec,
                                     numbers.seed, judgement.iteration, T=T)
  for rows in [np.arange(8)] if rows_UM is None else rows_UM:
    part = experience.take_rows(batch, rows)
    state, _ = policy_step(state, part, spec, numbers.optimizers[0], numbers.temperature, cfg=cfg, cut=cut)
    if state.critic is not None:
      critic, _ = value_step(state.critic, part, numbers.optimizers[1], numbers.value_clip, cfg=cfg, cut=cut)
      state = state.replace(critic=critic)
  return end_iteration(state, judgement.data_state, numbers.refresh_every, judgement.pass_rate)


@pytest.mark.parametrize("row", [pytest.param(row, marks=() if row == "remax" else pytest.mark.slow)
                                 for row in ROWS])
def test_an_iteration_is_the_plain_one(row):
  parts = RLParts.of(make_setup(config(row)))
  start, prompts = jax.device_get(parts.fresh_state()), parts.draws.next({}, 0).prompts
  judgement = Judgement(signals_for(parts), parts.minibatches.rows(1), np.int32(1), {"position": np.int32(9)})
  after, ops = jax.jit(partial(plainly, parts))(start, prompts, judgement), OnDemand(parts.setup.mesh)
  fresh = partial(jax.device_put, start, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
  mine = by_ops(ops, parts, fresh(), prompts, judgement)
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), mine, after)
  assert np.abs(np.asarray(mine.params["embed"]) - start.params["embed"]).max() > 1e-4
  programs = len(ops.executables)
  other = by_ops(ops, parts, fresh(), prompts, judgement._replace(signals=jax.tree.map(np.flip, judgement.signals)))
  assert len(ops.executables) == programs
  assert np.abs(np.asarray(other.params["embed"]) - np.asarray(mine.params["embed"])).max() > 1e-5


def test_only_what_was_planned_runs():
  parts = RLParts.of(make_setup(config("grpo")))
  compiled, state = Compile(parts.setup.mesh), parts.fresh_state(abstract=True)
  compiled.compiled = lambda function, traced, args: lambda *args: "ran"  # nothing is compiled in this test
  compile_rl(compiled, parts, state)
  ops, prompts = Run(compiled.executables), parts.draws.next({}, 0).prompts
  assert sampled(ops, parts.choices, state, prompts, parts.numbers, 4) == "ran"
  with pytest.raises(AssertionError, match="not compiled at warm-up"):
    sampled(ops, parts.choices, state, prompts, parts.numbers, 5)
  with pytest.raises(AssertionError, match="not compiled at warm-up"):
    sampled(ops, parts.choices, state, jax.tree.map(lambda a: a[:4], prompts), parts.numbers, 4)


@pytest.mark.parametrize("row, sampler, calls", [
  ("dapo", "same", {"sample": 1, "make_experience": 1, "policy_step": 1, "end_iteration": 1}),
  ("ppo", "gathered", {
    "cast": 1, "sample": 1, "reference_of": 1, "score": 1, "critic_values": 1, "make_experience": 1, "take_rows": 4,
    "policy_step": 4, "value_step": 4, "end_iteration": 1})])
def test_calls_are_counted(row, sampler, calls):
  c = config(row)
  c.mesh.sampler = sampler
  found = calls_per_iteration(c, load_model(c).cfg)
  assert {function.__name__: n for function, n in found.items()} == calls

"""The programs of a batch of arms, compiled ahead: `vmap` over the arms of a device, devices side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from grpo_jax.distributed.mesh import sweep_mesh
from grpo_jax.runs.fused import parts_of
from grpo_jax.runs.iteration import Feed, Numbers, Parts, many
from grpo_jax.runs.rl_programs import request
from grpo_jax.sampling.generate import generate
from grpo_jax.types import Prompts, SampleRequest

AXIS = "arms"  # of vmap, within a device; the mesh's is "sweep"


@dataclass(frozen=True)
class ArmPrograms:
  """`many(state, feeds, count, numbers)` and `heldout(params, prompts, targets, seeds, temperatures)`, compiled."""

  mesh: Mesh
  many: Callable
  heldout: Callable

  def placed(self, state):
    """The stacked states, each arm on its device."""
    return jax.device_put(state, NamedSharding(self.mesh, P("sweep")))


def feed_axes(feeds: Feed, shared: bool) -> Feed:
  """Which fields of stacked feeds have an axis of arms in front: 0 or None."""
  own = None if shared else 0
  return Feed(own, own, None if feeds.rows_UM is None else 0, None, own, None if feeds.rollout is None else 0)


def over_arms(mesh: Mesh, function, axes: tuple):
  """`function` for each arm: `axes` says of every argument, or part of one, whether arms have their own (0, None)."""
  specs = jax.tree.map(lambda axis: P() if axis is None else P("sweep"), axes, is_leaf=lambda a: a is None)
  mapped = jax.vmap(function, in_axes=axes, axis_name=AXIS)
  return jax.shard_map(mapped, mesh=mesh, in_specs=specs, out_specs=P("sweep"), check_vma=False)


def many_over_arms(mesh: Mesh, parts: Parts, feeds: Feed, shared: bool, keep_rollout: bool = False):
  """`many` for each arm: `(states, feeds, count, numbers) -> (states, told)`, arms in front."""

  def one(state, feeds: Feed, count, numbers: Numbers):
    return many(state, feeds, count, numbers, parts, keep_rollout)

  return over_arms(mesh, one, (0, feed_axes(feeds, shared), None, 0))


def answers(params, prompts: Prompts, targets, seed, temperature, *, cfg, asked: SampleRequest, rewards):
  """Scores by component, lengths and truncation `[B, members]` of an arm's answers to held-out problems."""
  rollout = generate(params, cfg, prompts, seed, asked.replace(temperature=temperature))
  _, scores = rewards(rollout.tokens_BGT, rollout.mask_BGT, targets)
  return scores, jnp.sum(rollout.mask_BGT, -1, dtype=jnp.int32), rollout.truncated_BG


def compile_arms(arms, state, feeds: Feed, devices) -> ArmPrograms:
  """Compiles both programs for stacked states and feeds; `arms` has runs, setup, rewards, numbers and one_stream."""
  setup, e = arms.setup, arms.config.evaluate
  mesh, parts = sweep_mesh(len(arms.runs), devices), parts_of(arms.runs[0], arms.rewards, AXIS)
  train = many_over_arms(mesh, parts, feeds, arms.one_stream)
  asked = request(arms.config, setup.tokenizer.stop_ids, "heldout", e.samples, 1).replace(arms=AXIS)
  answer = partial(answers, cfg=setup.cfg, asked=asked, rewards=arms.rewards)
  told = over_arms(mesh, answer, (0, None, None, 0, 0))
  examples = [setup.heldout.examples[0]] * e.batch
  seeds, temperatures = arms.numbers.seed, arms.numbers.temperature
  where = NamedSharding(mesh, P("sweep"))
  state = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), state)
  heldout_args = (setup.heldout.batch(0, e.batch), arms.rewards.targets(examples), seeds, temperatures)
  return ArmPrograms(
    mesh, jax.jit(train, donate_argnums=0).lower(state, feeds, np.int32(1), arms.numbers).compile(),
    jax.jit(told).lower(state.policy, *heldout_args).compile())

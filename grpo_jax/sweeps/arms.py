"""The programs of a batch of arms, compiled ahead: `vmap` over the arms of a device, devices side by side."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from grpo_jax.distributed.mesh import sweep_mesh
from grpo_jax.models.config import ModelConfig
from grpo_jax.runs.fused import Feed, TokenJudge, many
from grpo_jax.runs.parts import Choices, heldout_request
from grpo_jax.sampling.sampler import sample
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


def many_over_arms(mesh: Mesh, choices: Choices, judge, feeds: Feed, shared: bool):
  """`many` for each arm: `(states, feeds, count, numbers) -> (states, told)`, arms in front."""
  choices = dataclasses.replace(choices, request=choices.request.replace(arms=AXIS))
  return over_arms(mesh, partial(many, choices=choices, judge=judge), (0, feed_axes(feeds, shared), None, 0))


def answers(params, prompts: Prompts, targets, seed, temperature, *, cfg: ModelConfig, asked: SampleRequest, rewards):
  """Scores by component, lengths and truncation `[B, members]` of an arm's answers to held-out problems."""
  rollout = sample(params, prompts, seed, temperature, cfg=cfg, asked=asked)
  _, scores = rewards(rollout.tokens_BGT, rollout.mask_BGT, targets)
  return scores, jnp.sum(rollout.mask_BGT, -1, dtype=jnp.int32), rollout.truncated_BG


def compile_arms(arms, state, feeds: Feed, devices) -> ArmPrograms:
  """Compiles both programs for stacked states and feeds; `arms` has parts, setup, rewards, numbers and one_stream."""
  setup, e = arms.setup, arms.config.evaluate
  mesh, choices = sweep_mesh(len(arms.parts), devices), arms.parts[0].choices
  train = many_over_arms(mesh, choices, TokenJudge(arms.rewards, "greedy" in choices.asks), feeds, arms.one_stream)
  asked = heldout_request(arms.config, setup.tokenizer.stop_ids).replace(arms=AXIS)
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

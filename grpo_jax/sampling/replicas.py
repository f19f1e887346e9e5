"""The decoding loop on a mesh: a device that holds the whole policy loops over its own rows until they are done."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from grpo_jax.distributed.mesh import ROW_AXES, row_spec
from grpo_jax.sampling.loop import Asked


def over_replicas(decode, params, output, asked: Asked, arms: str, whole: bool):
  """`decode(params, output, asked)` on the rows of each replica, split as batches are; its row-steps are added up.

  Where a policy is split over devices each step needs all of them, so there replicas loop in step, until the last has
  stopped; else none waits for another.

  Args:
    arms: the vmapped axis that this is one of, "" where none.
    whole: the policy is not split over `fsdp`.
  """
  mesh = jax.sharding.get_abstract_mesh()
  B, G, _ = asked.uniforms_BGT.shape
  if mesh.empty or mesh.size == 1 or not set(ROW_AXES) <= set(mesh.axis_names):
    return decode(params, output, asked, together=(arms,) if arms else ())
  prompts, members, _ = row_spec(mesh, (B, G, 1))
  decode = partial(decode, replicas=math.prod(mesh.shape[name] for axes in (prompts, members) for name in _names(axes)))
  if mesh.shape["tensor"] > 1 or (mesh.shape["fsdp"] > 1 and not whole):
    run = _in_step(_in_step(decode, members, mesh, 1), prompts, mesh, 0)
    return run(params, output, asked, together=())

  def one(params, output, asked):
    *found, row_steps = decode(params, output, asked, together=())
    return *found, row_steps.reshape(1, 1)

  rows = P(prompts, members)
  prefix = jax.tree.map(lambda axis: P(*(None,) * axis, prompts), _prompt_axes(asked.prefix))
  specs = Asked(prefix, P(prompts), P(prompts), rows, rows)
  placed = jax.shard_map(one, mesh=mesh, in_specs=(P(), P(), specs), out_specs=rows, check_vma=False)
  *found, row_steps = placed(params, output, asked)
  return *found, jnp.sum(row_steps)


def _prompt_axes(prefix):
  """Where the prompts are in the arrays of a prefix: after the layers, where those are stacked."""
  return jax.tree.map(lambda a: max(a.ndim - 5, 0), prefix)


def _names(axes) -> tuple[str, ...]:
  """The axes of one entry of a partition."""
  return (axes,) if isinstance(axes, str) else tuple(axes or ())


def _in_step(decode, names, mesh, axis: int):
  """`decode` vmapped over devices along these axes of the mesh; each has its own prompts (`axis` 0) or members (1)."""
  names = _names(names)
  if not names:
    return decode
  size, name = math.prod(mesh.shape[name] for name in names), ("prompts", "members")[axis]
  split = lambda a, at: a.reshape(*a.shape[:at], size, -1, *a.shape[at + 1 :])  # noqa: E731

  def run(params, output, asked: Asked, together):
    axes = Asked(_prompt_axes(asked.prefix), 0, 0, 0, 0) if axis == 0 else Asked(None, None, None, 1, 1)
    parts = {field: part if (at := getattr(axes, field)) is None else jax.tree.map(split, part, at)
             for field, part in vars(asked).items()}
    mapped = jax.vmap(partial(decode, together=(*together, name)), in_axes=(None, None, axes),
                      out_axes=(*(axis,) * 4, 0), axis_name=name, spmd_axis_name=names)
    *found, row_steps = mapped(params, output, Asked(**parts))
    return *(a.reshape(*a.shape[:axis], -1, *a.shape[axis + 2 :]) for a in found), jnp.sum(row_steps)

  return run

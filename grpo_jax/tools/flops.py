"""Floating-point operations of the matrix products of a traced program."""

import math

import jax
import jax.extend
import numpy as np

from grpo_jax.sampling.loop import LATER


def matmul_flops(function, *args, while_trips: int | None = None) -> int:
  """2 · M · N · K summed over every `dot_general` of `function(*args)`, loops unrolled by their trip counts."""
  return jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr, while_trips)


def jaxpr_flops(jaxpr, while_trips: int | None = None) -> int:
  """The same of a jaxpr. A `while` loop turns up to the largest whole number in its condition.

  Where there is none it turns `while_trips` times; without that, one with products is an error. The sampler's later
  stages turn for rows that left the first, whose turns are all counted: they count for nothing.
  """
  grids = [math.prod(eqn.params["grid_mapping"].grid) for eqn in jaxpr.eqns if eqn.primitive.name == "pallas_call"]
  # Kernels side by side (keys' and queries' gradients) compute the same blocks; some grids hold more that are empty.
  return sum(_of_equation(eqn, while_trips, min(grids, default=0)) for eqn in jaxpr.eqns)


def _of_equation(eqn, while_trips, blocks: int) -> int:
  name = eqn.primitive.name
  if name == "dot_general":
    (contracting, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracting)
  inner = [jaxpr_flops(jaxpr, while_trips) for jaxpr in _jaxprs_of(eqn)]
  if name == "while" and LATER in str(eqn.source_info.name_stack):
    return 0
  if name == "while" and sum(inner):
    trips = _bound(eqn.params["cond_jaxpr"].jaxpr) or while_trips
    if trips is None:
      raise ValueError("a while loop with matrix products has no static trip count")
    return sum(inner) * trips
  if name == "cond":
    return max(inner)
  if name == "pallas_call":
    return sum(inner) * blocks
  if name == "shard_map":  # inside, shapes are one device's
    return sum(inner) * eqn.params["mesh"].size
  return sum(inner) * (eqn.params["length"] if name == "scan" else 1)


def _bound(condition) -> int:
  """The largest whole number that a condition compares with; 0 where there is none."""
  literals = [v.val for eqn in condition.eqns for v in eqn.invars if isinstance(v, jax.extend.core.Literal)]
  return max((int(n) for n in literals if np.issubdtype(np.asarray(n).dtype, np.integer)), default=0)


def _jaxprs_of(eqn):
  """The jaxprs in all parameters of an equation."""
  return [jaxpr for value in eqn.params.values() for jaxpr in _jaxprs(value)]


def _jaxprs(value):
  """The jaxprs in a parameter of an equation: one, a tuple of them, or none."""
  for item in value if isinstance(value, tuple | list) else (value,):
    item = getattr(item, "jaxpr", item)  # a closed one holds the open one
    if hasattr(item, "eqns"):
      yield item

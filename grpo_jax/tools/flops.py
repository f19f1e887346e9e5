"""Floating-point operations of the matrix products of a traced program."""

import math

import jax


def matmul_flops(function, *args, while_trips: int | None = None) -> int:
  """2 · M · N · K summed over every `dot_general` of `function(*args)`, loops unrolled by their trip counts."""
  return jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr, while_trips)


def jaxpr_flops(jaxpr, while_trips: int | None = None) -> int:
  """The same of a jaxpr. `while_trips`: how often `while` loops turn; without it, one with products is an error."""
  grids = [math.prod(eqn.params["grid_mapping"].grid) for eqn in jaxpr.eqns if eqn.primitive.name == "pallas_call"]
  # Kernels side by side (keys' and queries' gradients) compute the same blocks; some grids hold more that are empty.
  return sum(_of_equation(eqn, while_trips, min(grids, default=0)) for eqn in jaxpr.eqns)


def _of_equation(eqn, while_trips, blocks: int) -> int:
  name = eqn.primitive.name
  if name == "dot_general":
    (contracting, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracting)
  inner = [jaxpr_flops(jaxpr, while_trips) for value in eqn.params.values() for jaxpr in _jaxprs(value)]
  if name == "while" and sum(inner):
    if while_trips is None:
      raise ValueError("a while loop with matrix products has no static trip count")
    return sum(inner) * while_trips
  if name == "cond":
    return max(inner)
  if name == "pallas_call":
    return sum(inner) * blocks
  if name == "shard_map":  # inside, shapes are one device's
    return sum(inner) * eqn.params["mesh"].size
  return sum(inner) * (eqn.params["length"] if name == "scan" else 1)


def _jaxprs(value):
  """The jaxprs in a parameter of an equation: one, a tuple of them, or none."""
  for item in value if isinstance(value, tuple | list) else (value,):
    item = getattr(item, "jaxpr", item)  # a closed one holds the open one
    if hasattr(item, "eqns"):
      yield item

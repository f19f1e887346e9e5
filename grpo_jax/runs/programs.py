"""Every program of a run, compiled at warm-up for its shapes; later calls can only run what is here."""

import functools
import time
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from grpo_jax.distributed.mesh import batch_shardings


def shaped(mesh: Mesh, tree):
  """Shapes of a batch (arrays or ShapeDtypeStructs) with its rows split over the mesh."""
  shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype), tree)
  return jax.tree.map(
    lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, batch_shardings(mesh, shapes)
  )


def like(tree):
  """Shapes, dtypes and shardings of arrays."""
  return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)


@functools.lru_cache(maxsize=128)
def _first(function, keywords) -> partial:
  return partial(function, **dict(keywords))


def shared(function):
  """Of equal partials the first that this process made: jax traces a function once, and runs of a sweep share it."""
  if not isinstance(function, partial) or function.args:
    return function
  try:
    return _first(function.func, tuple(function.keywords.items()))
  except TypeError:  # bound to something that cannot be compared
    return function


class Programs:
  """A table of compiled programs by name and bucket. `compile_seconds` is what they took."""

  def __init__(self, mesh: Mesh):
    self.mesh, self.compile_seconds, self._table = mesh, 0.0, {}

  def add(self, key, function, *args, donate: tuple[int, ...] = (), keep_state: bool = False, shardings=None):
    """Compiles `function` for the shapes of `args`; `keep_state` gives its first result the layout of `args[0]`.

    Results are split as batches unless `shardings` are given, and returned as shapes so that the next program can be
    compiled on them.
    """
    start, function = time.perf_counter(), shared(function)
    out = jax.eval_shape(function, *args)
    replicated = NamedSharding(self.mesh, PartitionSpec())
    if keep_state:
      kept = jax.tree.map(lambda a: a.sharding, args[0])
      rest = jax.tree.map(lambda _: replicated, out[1]) if isinstance(out, tuple) else None
      shardings = (kept, rest) if isinstance(out, tuple) else kept
    elif shardings is None:
      shardings = batch_shardings(self.mesh, out)
    jitted = jax.jit(function, donate_argnums=donate, out_shardings=shardings)
    with jax.set_mesh(self.mesh):  # what the constraints inside a program speak of
      self._table[key] = self.compiled(key, jitted.trace(*args), args)
    self.compile_seconds += time.perf_counter() - start
    return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), out, shardings)

  def compiled(self, key, traced, args):
    """The executable of a traced program; tools/plan_programs.py reads more of it here."""
    return traced.lower().compile()

  def __call__(self, key, *args):
    return self._table[key](*args)

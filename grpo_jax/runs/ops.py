"""Four readings of the iteration, which runs/iteration.py spells once: compile it, run it, trace it, count it.

`ops(function, *args, layout=…)` is one program of it: a module's function, or a partial of one with its static choices
by keyword. `ops.repeat(update, state, rows_UM)` are its updates, `update(state, rows) -> (state, metrics)`; `rows_UM`
None is a single one on all rows. A program is known by its function, its choices and the shapes of its arguments.
"""

import functools
import time
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from grpo_jax.distributed.mesh import batch_shardings, without_fsdp


def shaped(mesh: Mesh, tree):
  """Shapes of a batch (arrays or ShapeDtypeStructs) with its rows split over the mesh."""
  shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), a.dtype), tree)
  return placed(shapes, batch_shardings(mesh, shapes))


def placed(shapes, shardings):
  """Shapes that have these shardings."""
  return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, shardings)


def like(tree):
  """Shapes, dtypes and shardings of arrays; numpy's, which have no place, as they are."""

  def shape(a):
    return a if isinstance(a, np.ndarray | np.generic) else jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)

  return jax.tree.map(shape, tree)


# Layouts of a program's results: `(mesh, args, shapes of the results) -> shardings`.


def batched(mesh: Mesh, args, out):
  """Rows over the mesh, the default."""
  return batch_shardings(mesh, out)


def kept(mesh: Mesh, args, out):
  """The first result as `args[0]`, whose memory it takes; what is reported beside it whole everywhere."""
  state = jax.tree.map(lambda a: a.sharding, args[0])
  if not isinstance(out, tuple):
    return state
  return state, jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), out[1])


def gathered(mesh: Mesh, args, out):
  """As `args[0]`, but whole along `fsdp`."""
  return without_fsdp(args[0])


def cast(tree, *, dtype: str):
  """A tree in another type: the program that moves a policy to where the sampler has it."""
  return jax.tree.map(lambda a: a.astype(dtype), tree)


def program_of(function) -> tuple:
  """What a function is, without the shapes: (function, static choices)."""
  return getattr(function, "func", function), tuple(sorted(getattr(function, "keywords", {}).items()))


def key_of(function, args) -> tuple:
  """What a compiled program is known by: its function, its choices, and the shapes of its arguments."""
  leaves, tree = jax.tree.flatten(args)
  return program_of(function), tree, tuple((np.shape(a), np.dtype(a.dtype)) for a in leaves)


@functools.lru_cache(maxsize=128)
def _first(function, keywords) -> partial:
  return partial(function, **dict(keywords))


class Ops:
  """What readings of the iteration share."""

  def repeat(self, update, state, rows_UM):
    """Update after update: the last state, and a list of their metrics."""
    told = []
    for rows in [None] if rows_UM is None else rows_UM:
      state, metrics = update(state, rows)
      told.append(metrics)
    return state, told


class Compile(Ops):
  """Takes shapes, compiles every program that it meets for the first time, and answers with the shapes of its results.

  `executables` are the programs by key, `seconds` what they took to compile.
  """

  def __init__(self, mesh: Mesh):
    self.mesh, self.seconds, self.executables, self._results = mesh, 0.0, {}, {}

  def __call__(self, function, *args, layout=batched):
    key = key_of(function, args)
    if key not in self._results:
      start, function = time.perf_counter(), _first(*key[0])  # jax traces a function once; runs of a sweep share it
      out = jax.eval_shape(function, *args)
      shardings = layout(self.mesh, args, out)
      jitted = jax.jit(function, donate_argnums=(0,) if layout is kept else (), out_shardings=shardings)
      with jax.set_mesh(self.mesh):  # what the constraints inside a program speak of
        self.executables[key] = self.compiled(function, jitted.trace(*args), args)
      self._results[key] = placed(out, shardings)
      self.seconds += time.perf_counter() - start
    return self._results[key]

  def compiled(self, function, traced, args):
    """The executable of a traced program; tools/plan_programs.py reads more of it here."""
    return traced.lower().compile()


class Run(Ops):
  """Takes arrays, and calls what was compiled; anything else is an error, so that no step waits for a compiler."""

  def __init__(self, executables: dict):
    self.executables = executables

  def __call__(self, function, *args, layout=batched):
    key = key_of(function, args)
    assert key in self.executables, f"not compiled at warm-up: {key[0]} for arguments of the shapes {set(key[2])}"
    return self.executables[key](*args)


class OnDemand(Run):
  """Runs, and compiles each program at its first call: for tools, which need few of them."""

  def __init__(self, mesh: Mesh):
    self.compile = Compile(mesh)
    super().__init__(self.compile.executables)

  def __call__(self, function, *args, layout=batched):
    self.compile(function, *like(args), layout=layout)
    return super().__call__(function, *args)


class Count(Ops):
  """Takes anything, computes nothing, and counts: `calls` of each program, by `program_of`."""

  def __init__(self):
    self.calls = Counter()

  def __call__(self, function, *args, layout=batched):
    self.calls[program_of(function)] += 1
    return (args[0], {}) if layout is kept else None


class Trace:
  """Takes tracers: the iteration within one program.

  The barriers keep XLA from fusing across programs, so that fused and host runs give equal numbers.
  """

  def __call__(self, function, *args, layout=batched):
    return jax.lax.optimization_barrier(function(*args))

  def repeat(self, update, state, rows_UM):
    """A scan over the updates: the last state, and metrics with U in front."""

    def body(state, rows):
      state, metrics = update(state, rows)
      return state, jax.tree.map(jnp.asarray, metrics)

    if rows_UM is not None:
      return jax.lax.scan(body, state, rows_UM)
    state, metrics = body(state, None)
    return state, jax.tree.map(lambda a: a[None], metrics)

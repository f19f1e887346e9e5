"""Checkpoints with orbax: asynchronous, atomic, the newest N and the best one kept, each with a record of itself."""

import pathlib

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from grpo_jax.models.checkpoint_record import NewestAndBest, make_record


class Checkpoints:
  """Checkpoints of one stage in a folder, numbered by step.

  A save copies the state on the device first: the step that follows may donate its buffers while orbax still writes.
  """

  def __init__(self, directory, *, keep: int):
    self.directory = pathlib.Path(directory).absolute()
    self._kept = NewestAndBest(self.directory, keep)
    options = ocp.CheckpointManagerOptions(preservation_policy=self._kept, cleanup_tmp_directories=True, create=True)
    self._manager = ocp.CheckpointManager(self.directory, options=options)
    self._copy = None

  def warm_up(self, state) -> None:
    """Compiles the copy."""
    self._copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree)).lower(state).compile()

  def steps(self) -> list[int]:
    """All complete steps, the newest last."""
    return sorted(self._manager.all_steps())

  def latest(self) -> int | None:
    """The newest complete step."""
    return self._manager.latest_step()

  def save(self, step: int, state, greedy: float | None = None) -> None:
    """Starts saving and returns; `greedy` is the held-out accuracy the best is chosen by."""
    if step == self.latest():
      return
    copied = self._copy(state) if self._copy else state  # without warm-up: host arrays, which nothing donates
    greedy = None if greedy is None else float(greedy)
    self._kept.scores[step] = greedy
    record = make_record(step, state, greedy)
    self._manager.save(step, args=ocp.args.StandardSave(copied), custom_metadata=record)

  def restore(self, like, step: int | None = None):
    """The state of a step (default the newest), with the shapes, dtypes and shardings of `like`."""
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like)
    return self._manager.restore(self.latest() if step is None else step, args=ocp.args.StandardRestore(shapes))

  def wait(self) -> None:
    """Until what is being written is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits, then lets go of the folder."""
    self.wait()
    self._manager.close()

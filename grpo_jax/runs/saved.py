"""Checkpoints that can be trusted: hashed leaf by leaf when saved, checked when read, set aside when damaged."""

import pathlib
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp

from grpo_jax.checkpoint import Checkpoints
from grpo_jax.distributed.multihost import barrier, is_first
from grpo_jax.training.fingerprint import fingerprint, leaf_fingerprints


def bare(state):
  """A state as it is saved: of a frozen base only its fingerprint."""
  return state if state.base is None else state.replace(base=jax.jit(fingerprint)(state.base))


def wrong_leaves(state, before, now) -> list[str]:
  """The leaves of a state whose fingerprints are not those they were before."""
  paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
  unequal = (np.asarray(before) != np.asarray(now)).any(1)
  return [path for path, bad in zip(paths, unequal, strict=True) if bad]


def read_step(directory: pathlib.Path, step: int, state):
  """The state of a checkpoint that was kept, for who only reads: nothing in the folder changes.

  Raises:
    ValueError: the checkpoint is damaged, or was made on another frozen base.
  """
  own, hashed = bare(state), jax.jit(leaf_fingerprints)
  shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding),
                        own.replace(hashes=hashed(own)))
  with ocp.StandardCheckpointer() as reader:
    restored = reader.restore((directory / str(step) / "default").absolute(), shapes)
  plain = restored.replace(hashes=None)
  if wrong := wrong_leaves(plain, restored.hashes, hashed(plain)):
    raise ValueError(f"checkpoint {step} in {directory} is damaged: {', '.join(wrong[:3])}; remove it.")
  check_base(directory, restored, own)
  return plain.replace(base=state.base)


def check_base(directory: pathlib.Path, restored, like) -> None:
  """Raises ValueError where adapters were trained on another base than this one."""
  if like.base is not None and (np.asarray(restored.base) != np.asarray(like.base)).any():
    raise ValueError(
      f"model.path: the checkpoints in {directory} were made on other base weights (fingerprint "
      f"{np.asarray(restored.base).tolist()}, now {np.asarray(like.base).tolist()}); give the model they belong to, "
      "or another --workdir.")


class Saved:
  """The checkpoints of a stage. Of a frozen base (LoRA) only a fingerprint is kept."""

  def __init__(self, directory: pathlib.Path, keep: int):
    self.directory, self._keep = directory, keep
    self._open()
    self._base = self._hash = self._like = None

  def _open(self) -> None:
    self.checkpoints = Checkpoints(self.directory, keep=self._keep)

  def latest(self) -> int:
    """The newest complete step, 0 where there is none."""
    return self.checkpoints.latest() or 0

  def warm_up(self, state) -> None:
    """Compiles what saving and checking need."""
    own = bare(state)
    self._base, self._hash = own.base, jax.jit(leaf_fingerprints).lower(own).compile()
    self._like = self._kept(state)
    self.checkpoints.warm_up(self._like)

  def hashes(self, state):
    """Fingerprints `[leaves, 2]` of a state, in the order of `jax.tree.leaves`."""
    return self._hash(state.replace(base=self._base))

  def _kept(self, state):
    """What is saved of a state."""
    return state.replace(base=self._base, hashes=self.hashes(state))

  def save(self, step: int, state, greedy: float | None = None) -> None:
    """Starts saving and returns."""
    self.checkpoints.save(step, self._kept(state), greedy)

  def newest(self, state):
    """(step, state) of the newest checkpoint whose every leaf is what was saved; (0, `state`) where there is none.

    A damaged one is set aside as STEP.damaged, with a message, and the one before is tried.

    Raises:
      ValueError: the checkpoint was made on another frozen base.
    """
    like, damaged = self._like, False
    while step := self.latest():
      try:
        restored = self.checkpoints.restore(like, step)
        wrong = self._wrong_leaves(restored)
      except Exception as error:  # orbax, tensorstore and zarr each have their own for bytes that make no sense
        restored, wrong = None, [f"{type(error).__name__}: {str(error)[:300]}"]
      if not wrong:
        check_base(self.directory, restored, like)
        return step, restored.replace(base=state.base, hashes=None)
      damaged = True
      print(f"error: checkpoint {step} in {self.directory} is damaged ({'; '.join(wrong[:3])}); using the one before",
            file=sys.stderr, flush=True)
      self._set_aside(step)
    if damaged:
      raise ValueError(f"{self.directory} holds no checkpoint that is whole; remove the folder to begin anew.")
    return 0, state

  def _wrong_leaves(self, restored) -> list[str]:
    plain = restored.replace(hashes=None)
    wrong = wrong_leaves(plain, restored.hashes, self._hash(plain))
    return [f"{path} has other bytes than were saved" for path in wrong]

  def _set_aside(self, step: int) -> None:
    self.checkpoints.close()
    if is_first():
      (self.directory / str(step)).rename(self.directory / f"{step}.damaged")
    barrier(f"damaged {step}")
    self._open()
    self.checkpoints.warm_up(self._like)

  def wait(self) -> None:
    """Until what is being written is on disk."""
    self.checkpoints.wait()

  def close(self) -> None:
    """Waits, then lets go of the folder."""
    self.checkpoints.close()

"""Checkpoints that can be trusted: hashed leaf by leaf when saved, checked when read, set aside when damaged."""

import pathlib
import sys

import jax
import numpy as np

from grpo_jax.checkpoint import Checkpoints
from grpo_jax.distributed.multihost import barrier, is_first
from grpo_jax.training.fingerprint import fingerprint, leaf_fingerprints


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
    if state.base is not None:
      self._base = jax.jit(fingerprint)(state.base)
    bare = state.replace(base=self._base)
    self._hash = jax.jit(leaf_fingerprints).lower(bare).compile()
    self._like = self._kept(state)
    self.checkpoints.warm_up(self._like)

  def _kept(self, state):
    """What is saved of a state."""
    bare = state.replace(base=self._base)
    return bare.replace(hashes=self._hash(bare))

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
        self._check_base(restored, like)
        return step, restored.replace(base=state.base, hashes=None)
      damaged = True
      print(f"error: checkpoint {step} in {self.directory} is damaged ({'; '.join(wrong[:3])}); using the one before",
            file=sys.stderr, flush=True)
      self._set_aside(step)
    if damaged:
      raise ValueError(f"{self.directory} holds no checkpoint that is whole; remove the folder to begin anew.")
    return 0, state

  def _wrong_leaves(self, restored) -> list[str]:
    bare = restored.replace(hashes=None)
    unequal = (np.asarray(self._hash(bare)) != np.asarray(restored.hashes)).any(1)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(bare)]
    return [f"{path} has other bytes than were saved" for path, bad in zip(paths, unequal, strict=True) if bad]

  def _check_base(self, restored, like) -> None:
    if like.base is not None and (np.asarray(restored.base) != np.asarray(like.base)).any():
      raise ValueError(
        f"model.path: the checkpoints in {self.directory} were made on other base weights (fingerprint "
        f"{np.asarray(restored.base).tolist()}, now {np.asarray(like.base).tolist()}); give the model they belong to, "
        "or another --workdir.")

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

"""Checkpoints that can be trusted: the one door through which states and policies of a run come back from disk.

Every leaf is hashed when it is saved and checked when it is read. What goes wrong is one of three things: damage (other
bytes than were saved), another version of the state, or a fault of storage or memory. Only damage, and only where an
earlier checkpoint is whole, renames anything.
"""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from grpo_jax.checkpoint import Checkpoints
from grpo_jax.distributed.multihost import barrier, fetch, is_first
from grpo_jax.metrics import write_whole
from grpo_jax.models.checkpoint_record import leaf_names
from grpo_jax.runs.faults import (
  Damaged,
  NotFinite,
  NothingWhole,
  check_structure,
  checked_record,
  fault,
  ignore_late_reads,
)
from grpo_jax.training.fingerprint import fingerprint, leaf_fingerprint, leaf_fingerprints
from grpo_jax.training.state import TrainState


def bare(state):
  """A state as it is saved: of a frozen base only its fingerprint."""
  return state if state.base is None else state.replace(base=jax.jit(fingerprint)(state.base))


def checked(state):
  """Fingerprints `[leaves, 2]` of a state, and for each leaf whether all its numbers are finite `[leaves]`."""
  finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state)]
  return leaf_fingerprints(state), jnp.stack(finite)


def wrong_leaves(state, before, now) -> list[str]:
  """The leaves of a state whose fingerprints are not those they were before."""
  unequal = (np.asarray(before) != np.asarray(now)).any(1)
  return [path for path, bad in zip(leaf_names(state), unequal, strict=True) if bad]


def _verified(directory: pathlib.Path, step: int, like, restore, hashed):
  """What `restore(like)` reads of a checkpoint, every leaf checked; `like` and the result have hashes.

  Raises:
    Damaged, Unfit, OSError, MemoryError.
  """
  record = None
  ignore_late_reads()
  try:
    record = checked_record(directory, step)
    check_structure(directory, step, record, like)
    restored = restore(like)
    plain = restored.replace(hashes=None)
    wrong = wrong_leaves(plain, restored.hashes, hashed(plain))
  except Exception as error:  # orbax, tensorstore and zarr each have their own for bytes that make no sense
    raise fault(directory, step, error, record) from error
  if wrong:
    raise Damaged(f"checkpoint {step} in {directory} is damaged: other bytes than were saved in {', '.join(wrong[:3])}")
  return restored


def read_step(directory: pathlib.Path, step: int, state):
  """The state of a checkpoint that was kept, for who only reads: nothing in the folder changes.

  Raises:
    ValueError: the checkpoint is damaged, of another version of the state, or was made on another frozen base.
    OSError, MemoryError: it could not be read.
  """
  own, hashed = bare(state), jax.jit(leaf_fingerprints)
  like = own.replace(hashes=hashed(own))

  def restore(like):
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like)
    with ocp.StandardCheckpointer() as reader:
      return reader.restore((directory / str(step) / "default").absolute(), shapes)

  restored = _verified(directory, step, like, restore, hashed)
  check_base(directory, restored.base, own.base)
  return restored.replace(hashes=None, base=state.base)


def read_params(directory: pathlib.Path, step: int) -> tuple[dict, np.ndarray | None]:
  """(parameters, fingerprint of the frozen base or None) of a checkpoint as host arrays, every leaf checked.

  The optimizer's state is not read. Raises as `read_step`.
  """
  record = None
  ignore_late_reads()
  try:
    record = checked_record(directory, step)
    with ocp.PyTreeCheckpointer() as reader:
      folder = (directory / str(step) / "default").absolute()
      tree = reader.metadata(folder).item_metadata.tree
      wanted = {name: tree[name] for name in ("params", "base", "hashes") if tree.get(name) is not None}
      as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
      options = ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True)
      saved = reader.restore(folder, args=options)
    names = [name for name, *_ in record["leaves"]] if record else _names_of(tree)
    names = [name for name in names if name != "hashes"]
    read = {"params": saved["params"]} | ({"base": saved["base"]} if "base" in saved else {})
    _check_read(read, dict(zip(names, saved["hashes"], strict=True)))
  except Exception as error:
    raise fault(directory, step, error, record) from error
  return saved["params"], saved.get("base")


def _names_of(tree: dict) -> list[str]:
  """Leaf names of a state that was saved without a record, in the order of its hashes."""
  return leaf_names(TrainState(**{name: tree.get(name) for name in TrainState.__dataclass_fields__ if name in tree}))


def _check_read(read: dict, hashes: dict) -> None:
  expected = {name for name in hashes if name.split(".")[0] in ("params", "base")}
  if missing := expected ^ set(leaf_names(read)):
    raise Damaged(f"the checkpoint is damaged: {sorted(missing)[0]} is not what was saved")
  for name, leaf in zip(leaf_names(read), jax.tree.leaves(read), strict=True):
    if (np.asarray(jax.jit(leaf_fingerprint)(leaf)) != hashes[name]).any():
      raise Damaged(f"the checkpoint is damaged: other bytes than were saved in {name}")


def check_base(directory: pathlib.Path, restored, own) -> None:
  """Raises ValueError where adapters were trained on another base than this one; both are fingerprints or None."""
  if own is not None and (np.asarray(restored) != np.asarray(own)).any():
    raise ValueError(
      f"model.path: the checkpoints in {directory} were made on other base weights (fingerprint "
      f"{np.asarray(restored).tolist()}, now {np.asarray(own).tolist()}); give the model they belong to, "
      "or another --workdir.")


def steps_in(directory: pathlib.Path) -> list[int]:
  """Steps of the checkpoints in a folder, the newest last."""
  return sorted(int(path.name) for path in directory.glob("*") if path.name.isdigit())


class Saved:
  """The checkpoints of a stage. Of a frozen base (LoRA) only a fingerprint is kept.

  `saved.json` beside their folder holds the newest step that was complete: who finds no checkpoint knows from it that
  there was one.
  """

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
    self._base, self._hash = own.base, jax.jit(checked).lower(own).compile()
    self._like = self._kept(state)
    self.checkpoints.warm_up(self._like)

  def hashes(self, state):
    """Fingerprints `[leaves, 2]` of a state, in the order of `jax.tree.leaves`."""
    return self._hash(state.replace(base=self._base))[0]

  def _kept(self, state):
    """What is saved of a state."""
    return state.replace(base=self._base, hashes=self.hashes(state))

  def save(self, step: int, state, greedy: float | None = None) -> None:
    """Starts saving and returns.

    Raises:
      NotFinite: a number that is learned is not finite; nothing is saved.
    """
    self.wait()
    own = state.replace(base=self._base)
    hashes, finite = self._hash(own)
    learned = ("params.", "opt_state.", "reference.", "critic.")
    bad = [n for n, ok in zip(leaf_names(own), fetch(finite), strict=True) if n.startswith(learned) and not ok]
    if bad:
      raise NotFinite(f"step {step} holds numbers that are not finite in {', '.join(bad[:3])}, so it is not saved; "
                      f"what was saved before in {self.directory} is whole.")
    self.checkpoints.save(step, own.replace(hashes=hashes), greedy)

  def newest(self, state):
    """(step, state) of the newest checkpoint whose every leaf is what was saved; (0, `state`) where there is none.

    Damaged ones after it are renamed to STEP.damaged, with a message; where none is whole, nothing is renamed.

    Raises:
      NothingWhole: all are damaged.
      Unfit: one is of another version of the state, or has another name.
      ValueError: one was made on another frozen base.
      OSError, MemoryError: one could not be read.
    """
    damaged: dict[int, Damaged] = {}
    for step in reversed(self.checkpoints.steps()):
      try:
        restored = _verified(self.directory, step, self._like, lambda like: self.checkpoints.restore(like, step),  # noqa: B023
                             lambda state: self._hash(state)[0])
      except Damaged as error:
        damaged[step] = error
        continue
      check_base(self.directory, restored.base, self._like.base)
      if damaged:
        self._set_aside(damaged, step)
      return step, restored.replace(base=state.base, hashes=None)
    if damaged:
      raise NothingWhole(
        f"{self.directory} holds no checkpoint that is whole; remove the folder to begin anew, or give "
        f"--config.checkpoint.start_anew=true, which keeps it under another name "
        f"({'; '.join(map(str, damaged.values()))})")
    return 0, state

  def _set_aside(self, damaged: dict[int, Damaged], whole: int) -> None:
    for step, error in damaged.items():
      print(f"warning: {error}; kept as {step}.damaged, going on from {whole}", file=sys.stderr, flush=True)
    self.checkpoints.close()
    for step in damaged if is_first() else ():
      target = self.directory / f"{step}.damaged"
      while target.exists():
        target = target.with_name(f"{target.name}+")
      (self.directory / str(step)).rename(target)
    barrier(f"damaged {whole}")
    self._open()
    self.checkpoints.warm_up(self._like)

  def wait(self) -> None:
    """Until what is being written is on disk."""
    self.checkpoints.wait()
    if is_first() and self.latest() and self.latest() != saved_before(self.directory):
      write_whole(self.directory.with_name("saved.json"), json.dumps({"latest": self.latest()}))

  def close(self) -> None:
    """Waits, then lets go of the folder."""
    self.wait()
    self.checkpoints.close()


def saved_before(directory: pathlib.Path) -> int:
  """The newest step that was ever complete in a folder of checkpoints, 0 where none was or nothing says so."""
  try:
    return int(json.loads(directory.with_name("saved.json").read_bytes())["latest"])
  except FileNotFoundError:
    return 0
  except (ValueError, KeyError, TypeError):
    return 1  # the file is torn: something was saved

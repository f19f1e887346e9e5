"""Checkpoints with orbax: asynchronous, atomic, the newest N and the best one kept, each with a record of itself."""

import hashlib
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

STATE_VERSION = 1  # to be raised where a leaf of the state changes its meaning, but not its name, shape or type
RECORD_FILE = "_CHECKPOINT_METADATA"  # orbax writes it when a checkpoint is complete


class BadRecord(Exception):
  """The record of a checkpoint is not what was written."""


def leaf_names(tree) -> list[str]:
  """Names of all leaves, `params.layers.q`, in the order of `jax.tree.leaves`."""
  paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
  return [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]


def leaf_types(tree) -> list[list]:
  """[name, dtype, shape] of every leaf, as JSON has them."""
  return [[name, leaf.dtype.name, list(leaf.shape)]
          for name, leaf in zip(leaf_names(tree), jax.tree.leaves(tree), strict=True)]


def make_record(step: int, tree, greedy: float | None) -> dict:
  """What a checkpoint says about itself: step, score, versions, leaves; and a digest of all that."""
  facts = {"step": step, "greedy": greedy, "state_version": STATE_VERSION, "orbax": ocp.__version__,
           "leaves": leaf_types(tree)}
  return facts | {"digest": _digest(facts)}


def _digest(facts: dict) -> str:
  return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_record(folder: pathlib.Path) -> dict | None:
  """The record of the checkpoint in `folder`; None where earlier code wrote it, without one.

  Raises:
    BadRecord: it is missing, cut or changed.
    OSError: it cannot be read.
  """
  try:
    written = json.loads((folder / RECORD_FILE).read_bytes())["custom_metadata"]
    facts = {name: value for name, value in written.items() if name != "digest"} if written else None
    if written and written["digest"] != _digest(facts):
      raise ValueError("its digest is another")
  except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise BadRecord(f"{RECORD_FILE}: {type(error).__name__}: {error}") from error
  return facts


class NewestAndBest:
  """Orbax's preservation policy: the newest `keep` checkpoints, and the one with the highest score.

  Scores are read from the checkpoints' records, so the best one is known after a restart too.
  """

  def __init__(self, directory: pathlib.Path, keep: int):
    self._directory, self._keep = directory, keep
    self.scores: dict[int, float | None] = {}

  def _score(self, step: int) -> float | None:
    if step not in self.scores:
      try:
        self.scores[step] = (read_record(self._directory / str(step)) or {}).get("greedy")
      except (BadRecord, OSError):
        self.scores[step] = None
    return self.scores[step]

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """Which of these, oldest first, stay."""
    steps = [checkpoint.step for checkpoint in checkpoints]
    scores = {step: score for step in steps if (score := self._score(step)) is not None and not math.isnan(score)}
    best = max(scores, key=scores.get, default=None)
    return [i >= len(steps) - self._keep or step == best for i, step in enumerate(steps)]


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

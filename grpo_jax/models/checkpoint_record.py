"""What a checkpoint says about itself, beside its arrays: step, score, versions, and the leaves of its tree."""

import hashlib
import json
import math
import pathlib

import jax
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

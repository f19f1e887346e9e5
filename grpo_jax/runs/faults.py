"""What can be wrong with a checkpoint that does not come back from disk: damage, another version, or neither."""

import errno
import os
import pathlib
import re
import sys

import orbax.checkpoint as ocp

from grpo_jax.models.checkpoint_record import STATE_VERSION, BadRecord, leaf_types, read_record

NOT_DAMAGE = re.compile(
  r"input/output error|OS.error(?: |_code=')(?:5|11|12|13|23|24|110|116|121)\b|permission denied|stale file handle"
  r"|too many open|timed? ?out|connection|transport|unavailable|deadline.exceeded|cancelled|aborted", re.IGNORECASE)
MEMORY = re.compile(
  r"resource.exhausted|out of memory|bad_alloc|cannot allocate|OS.error(?: |_code=')12\b", re.IGNORECASE)


class Damaged(ValueError):
  """Bytes of a checkpoint are not those that were saved."""


class Unfit(ValueError):
  """A whole checkpoint that cannot be used here: renamed, or of another version of the state or of orbax."""


class NothingLearned(Exception):
  """A run made no update, since none was finite, or none with a signal."""


class NotFinite(ValueError):
  """A state whose numbers are not finite, which must not take the place of a good one."""


class NothingWhole(ValueError):
  """There are checkpoints, and every one of them is damaged."""


def ignore_late_reads() -> None:
  """Keeps off the terminal what tensorstore says of reads that outlive a failed restore: its event loop is closed."""
  before = sys.unraisablehook
  if hasattr(before, "ignores_late_reads"):
    return

  def hook(unraisable):
    if str(unraisable.exc_value) != "Event loop is closed":
      before(unraisable)

  hook.ignores_late_reads = True
  sys.unraisablehook = hook


def checked_record(directory: pathlib.Path, step: int) -> dict | None:
  """The record of a checkpoint; None where earlier code wrote it, without one.

  Raises:
    Damaged: the record is not what was written.
    Unfit: the folder had another name, or another version of the state is in it.
  """
  try:
    record = read_record(directory / str(step))
  except BadRecord as error:
    raise Damaged(f"checkpoint {step} in {directory} is damaged: {error}.") from error
  if record and record["step"] != step:
    raise Unfit(
      f"{directory / str(step)} is checkpoint {record['step']} under another name, nothing was changed; rename the "
      f"folder to {record['step']}.")
  if record and record["state_version"] != STATE_VERSION:
    raise Unfit(
      f"checkpoint {step} in {directory} has version {record['state_version']} of the state, this code has "
      f"{STATE_VERSION}, nothing was changed; use the code that wrote it, or another --workdir.")
  return record


def check_structure(directory: pathlib.Path, step: int, record: dict | None, like) -> None:
  """Raises Unfit naming the first leaf that a checkpoint has and `like` has not, or the other way round."""
  if not record:
    return
  theirs, ours = ({name: (dtype, tuple(shape)) for name, dtype, shape in leaves if name != "hashes"}
                  for leaves in (record["leaves"], leaf_types(like)))
  differing = [name for name in (ours | theirs) if ours.get(name) != theirs.get(name)]
  if differing:
    name = differing[0]
    here, there = ("no such leaf" if leaf is None else f"{leaf[0]}{list(leaf[1])}"
                   for leaf in (ours.get(name), theirs.get(name)))
    raise Unfit(
      f"checkpoint {step} in {directory} is of another version of the state: {name} is {there} in it and {here} in "
      f"this code ({len(differing)} leaves differ), nothing was changed; use the code and data that wrote it, or "
      "another --workdir.")


def fault(directory: pathlib.Path, step: int, error: Exception, record: dict | None) -> Exception:
  """What to raise for an error of reading: `Damaged`, or an error that says nothing about the checkpoint's bytes."""
  if isinstance(error, (Damaged, Unfit)):
    return error
  chain = [error]
  while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
    chain.append(cause)
  whole = " ".join(" from ".join(f"{type(e).__name__}: {e}" for e in chain).replace(str(directory), "…").split())
  name, unread = f"checkpoint {step} in {directory}", "could not be read, nothing was changed"
  if any(isinstance(e, MemoryError) for e in chain) or MEMORY.search(whole):
    return MemoryError(f"{name} {unread}: out of memory ({whole[:200]})")
  if found := NOT_DAMAGE.search(whole):
    return OSError(getattr(error, "errno", None) or errno.EIO, f"{name} {unread} (…{_around(whole, found)}…)")
  if system := [e for e in chain if isinstance(e, OSError) and not isinstance(e, FileNotFoundError)]:
    return OSError(system[0].errno or errno.EIO, f"{name} {unread} ({whole[:200]})")
  if unreadable := _unreadable(directory / str(step)):
    return OSError(unreadable.errno or errno.EIO, f"{name} {unread} ({unreadable})")
  if record and record["orbax"] != ocp.__version__:
    return Unfit(f"{name} was written with orbax {record['orbax']} and cannot be read with {ocp.__version__}, "
                 f"nothing was changed; install the former ({whole[:200]}).")
  return Damaged(f"{name} is damaged: {whole[:200]}")


def _around(text: str, found: re.Match) -> str:
  return text[max(found.start() - 100, 0) : found.end() + 40]


def _unreadable(folder: pathlib.Path) -> OSError | None:
  """The error of the first file in a folder whose bytes the system does not give; None where it gives all."""
  try:
    for file in folder.rglob("*"):
      if file.is_file():
        with file.open("rb") as stream:
          place = 0
          while piece := os.pread(stream.fileno(), 1 << 24, place):
            place += len(piece)
  except OSError as error:
    return error
  return None

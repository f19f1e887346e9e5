"""Files that others wrote: whatever goes wrong while one is read ends in one sentence that names it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST_CAUSE = 400  # characters of another library's message that are repeated


def cause_of(error: BaseException) -> str:
  """What went wrong, on one line and without a full stop."""
  if isinstance(error, RecursionError):
    return "it is nested too deep"
  if isinstance(error, KeyError) and error.args:
    return f"it lacks {error.args[0]!r}"
  if isinstance(error, MemoryError):
    return "it asks for more memory than there is"
  text = " ".join(str(error).split())
  text = text if len(text) <= LONGEST_CAUSE else text[:LONGEST_CAUSE] + "…"
  return text.rstrip(".") or type(error).__name__


@contextlib.contextmanager
def reading(path: str | os.PathLike, what: str, fix: str = "check the file or fetch it again") -> Iterator[None]:
  """A block that reads `path`, a `what`: every error in it becomes one sentence with the path, the cause and the fix.

  Raises:
    ValueError: the file's contents are wrong. The project's own sentences keep their words, behind the path.
    OSError: the file is there and cannot be read; it names the file.
  """
  try:
    yield
  except OSError as error:
    if error.errno is None or isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
      raise ValueError(f"{path} is no readable {what} ({cause_of(error)}); {fix}.") from error
    if error.filename is None:
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise
  except ValueError as error:
    raise ValueError(str(error) if str(path) in str(error) else f"{path}: {cause_of(error)}.") from error
  except BaseException as error:
    # Libraries in Rust raise bare Exceptions, and PanicException, which is no Exception, where they fail themselves.
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
      raise
    raise ValueError(f"{path} is no readable {what} ({cause_of(error)}); {fix}.") from error


def decoded(data: bytes, place: str) -> str:
  """The text of UTF-8 bytes, without a byte-order mark; ValueError names the place and the first line that is none."""
  try:
    return data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise ValueError(
      f"{place}: line {line} is not UTF-8 text (byte 0x{data[error.start]:02x}, {error.start} bytes into the file); "
      "write the file as UTF-8.") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object; a key that is there twice with two values is refused, as one of them would be lost."""
  found: dict[str, Any] = {}
  for key, value in pairs:
    if key in found and found[key] != value:
      raise ValueError(f"the key {key!r} is there twice, as {found[key]!r:.60} and {value!r:.60}; keep one")
    found[key] = value
  return found


def parsed(text: str) -> Any:
  """JSON as Python values; ValueError says what is wrong, without the place."""
  try:
    return json.loads(text, object_pairs_hook=_distinct)
  except RecursionError:
    raise ValueError("it is nested too deep") from None


def read_json(path: str | os.PathLike, fix: str = "correct it or restore it from a copy") -> dict[str, Any]:
  """The JSON object in a file; ValueError names the file and `fix` where it is absent or something else."""
  path = Path(path)
  if not path.is_file():
    raise ValueError(f"{path} does not exist; {fix}.")
  try:
    data = parsed(decoded(path.read_bytes(), str(path)))
  except json.JSONDecodeError as error:
    raise ValueError(
      f"{path} cannot be read as JSON (line {error.lineno}, column {error.colno}: {error.msg}); {fix}.") from None
  except ValueError as error:
    raise ValueError(str(error) if str(path) in str(error) else f"{path}: {cause_of(error)}.") from None
  if not isinstance(data, dict):
    raise ValueError(f"{path} must hold one JSON object, holds a {type(data).__name__}; {fix}.")
  return data

"""The files that a run depends on, by contents: data, model, tokenizer, and the user's reward functions."""

import hashlib
import importlib.util
import os
import pathlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from grpo_jax.config.identity import flat
from grpo_jax.models.load import resolve_model_path
from grpo_jax.runs.model import is_run, policy_files

PATHS = ("path", "dir", "file")  # how keys end whose values are paths
MADE_HERE = ("cache_dir", "data_dir")  # folders that hold what is made from other inputs


def read_inputs(config: ConfigDict) -> dict[str, dict]:
  """{config key: {"path", "digest", "files": {path: [bytes, modified in ns, sha256]}}} of all files of a config.

  Reads every file once: about a second per gigabyte. A path that holds nothing is left to whoever needs it.
  """
  found = {}
  for key, value in flat(config.to_dict()).items():
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str) and text]
    if files := sorted({file.absolute() for text in texts for file in _files(key, text)}):
      read = {str(file): _facts(file) for file in files}
      parent = os.path.commonpath([file.parent for file in files])
      names = "".join(f"{os.path.relpath(file, parent)} {facts[2]}\n" for file, facts in read.items())
      found[key] = {"path": value, "digest": hashlib.sha256(names.encode()).hexdigest(), "files": read}
  return found


def _facts(file: pathlib.Path) -> list:
  with file.open("rb") as stream:
    digest, status = hashlib.file_digest(stream, "sha256").hexdigest(), os.fstat(stream.fileno())
  return [status.st_size, status.st_mtime_ns, digest]


def _files(key: str, text: str) -> Iterator[pathlib.Path]:
  """The files that a value of the config stands for; none where it is no path."""
  section, last = key.split(".")[0], key.split(".")[-1]
  if key in ("model.path", "tokenizer.path"):
    yield from _model_files(text)
  elif section == "rewards" and last == "rule" and ":" in text:
    yield from _module_file(text.partition(":")[0])
  elif section in ("data", "rewards") and last not in MADE_HERE and (last.endswith(PATHS) or "/" in text):
    yield from _below(text)


def _model_files(text: str) -> Iterator[pathlib.Path]:
  try:
    yield from policy_files(text) if is_run(text) else _below(str(resolve_model_path(text)))
  except ValueError:
    return  # whoever loads it says what is wrong


def _module_file(module: str) -> Iterator[pathlib.Path]:
  try:
    spec = importlib.util.find_spec(module)
  except (ImportError, ValueError, AttributeError):
    return
  if spec and spec.origin and os.path.isfile(spec.origin):
    yield pathlib.Path(spec.origin)


def _below(text: str) -> Iterator[pathlib.Path]:
  """A file, the files of a folder (hidden and cached ones aside), or those that a pattern matches."""
  place = pathlib.Path(text).expanduser()
  try:
    if place.is_dir():
      for folder, names, files in os.walk(place):
        names[:] = [name for name in names if not name.startswith((".", "__pycache__"))]
        yield from (pathlib.Path(folder, name) for name in files if not name.startswith((".", "cache-")))
    elif place.is_file():
      yield place
    elif "*" in place.name:
      yield from (file for file in place.parent.glob(place.name) if file.is_file())
  except (OSError, ValueError):
    return  # no path: too long a name, a NUL in it


def rewritten(inputs: dict[str, dict]) -> str:
  """`data.path: FILE` of a file whose contents are no longer those that were recorded; empty where there is none.

  Only files whose size or time of modification changed are read again.
  """
  for key, facts in inputs.items():
    for path, (size, modified, digest) in facts["files"].items():
      try:
        status = os.stat(path)
        if (status.st_size, status.st_mtime_ns) != (size, modified) and _facts(pathlib.Path(path))[2] != digest:
          return f"{key}: {path}"
      except FileNotFoundError:
        return f"{key}: {path}"
  return ""


def other_contents(before: dict[str, dict], now: dict[str, dict]) -> list[str]:
  """What differs between the inputs of two starts, a phrase for each key that both have."""
  found = []
  for key in sorted(before.keys() & now.keys()):
    if before[key]["digest"] == now[key]["digest"]:
      continue
    ours, theirs = ({os.path.basename(path): facts for path, facts in side[key]["files"].items()}
                    for side in (now, before))
    names = [name for name in sorted(ours.keys() | theirs.keys())
             if ours.get(name, [0, 0, ""])[2] != theirs.get(name, [0, 0, ""])[2]]
    name = (names or [""])[0]
    then, today = (f"{side[name][0]} bytes, sha256 {side[name][2][:8]}" if name in side else "not there"
                   for side in (theirs, ours))
    found.append(f"{key}={now[key]['path']!r}: {name} was {then}, is {today}")
  return found

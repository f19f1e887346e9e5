"""Special token ids and generation settings in the JSON files of a Hugging Face directory."""

import os
from pathlib import Path
from typing import Any

from grpo_jax.reading import read_json


def token_ids(file: Path, key: str, value: Any, vocab_size: int | None = None) -> tuple[int, ...]:
  """The token ids under a key of a JSON file; ValueError where they are none, or not below `vocab_size`."""
  ids = tuple(value) if isinstance(value, list) else (value,)
  if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
    raise ValueError(f"{file}: {key} = {value!r:.60} must be a token id, or a list of them; correct it.")
  if vocab_size is not None and max(ids, default=0) >= vocab_size:
    raise ValueError(f"{file}: {key} = {value!r:.60} must be below vocab_size = {vocab_size}; correct it.")
  return ids


def special_ids(path: str | os.PathLike, vocab_size: int | None = None) -> tuple[int | None, tuple[int, ...]]:
  """(bos id or None, eos ids) of a Hugging Face directory: generation_config.json first, then config.json.

  Raises:
    ValueError: as `token_ids`, in either file.
  """
  files = [Path(path) / name for name in ("generation_config.json", "config.json")]
  found = [(file, read_json(file)) for file in files if file.is_file()]

  def first(key):
    given = [token_ids(file, key, data[key], vocab_size) for file, data in found if data.get(key) is not None]
    return given[0] if given else ()

  return next(iter(first("bos_token_id")), None), first("eos_token_id")


def generation_settings(path: str | os.PathLike) -> dict[str, Any]:
  """What generation_config.json of a folder says (temperature, top_p, stop ids, …); empty where there is none."""
  file = Path(path) / "generation_config.json"
  return read_json(file) if file.is_file() else {}

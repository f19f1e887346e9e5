"""A model as an orbax checkpoint: `model.json` (a Hugging Face config), `params/` (arrays), the tokenizer's files.

`digests.json` has the sha256 of each of these files; who reads the folder compares them first.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.hf_config import from_hf, to_hf
from grpo_jax.reading import read_json, reading

SIZES_FILE = "model.json"
DIGESTS_FILE = "digests.json"


def _digests(path: Path) -> dict[str, str]:
  """{file below `path`: sha256} of all but the list itself."""
  found = {}
  for file in sorted(file for file in path.rglob("*") if file.is_file() and file != path / DIGESTS_FILE):
    with file.open("rb") as stream:
      found[str(file.relative_to(path))] = hashlib.file_digest(stream, "sha256").hexdigest()
  return found


def _check_digests(path: Path) -> None:
  """Raises ValueError naming a file that is not as it was written; earlier code wrote no list."""
  if not (path / DIGESTS_FILE).exists():
    return
  try:
    written = json.loads((path / DIGESTS_FILE).read_bytes())
    now = _digests(path)
    wrong = [name for name, digest in written.items() if now.get(name) != digest]
  except (ValueError, AttributeError):
    wrong = [DIGESTS_FILE]
  if wrong:
    raise ValueError(f"{path / wrong[0]} is damaged: it has other bytes than were written; convert the model again.")


def save_orbax(
    path: str | os.PathLike, cfg: ModelConfig, params, *, tokenizer=None,
    generation: Mapping[str, Any] | None = None) -> Path:
  """Writes the folder and returns its path; an earlier one of that name is replaced.

  `generation` is what generation_config.json shall hold: stop ids, temperature and the like.

  Raises:
    ValueError: `path` holds something else.
  """
  path = Path(path).absolute()
  if path.exists() and any(path.iterdir()) and not (path / SIZES_FILE).is_file():
    raise ValueError(f"{path} exists and is no model checkpoint; choose another or remove it.")
  path.mkdir(parents=True, exist_ok=True)
  if tokenizer is not None:
    tokenizer.save_pretrained(path)
  if generation:
    (path / "generation_config.json").write_text(json.dumps(dict(generation), indent=2) + "\n")
  with ocp.StandardCheckpointer() as writer:
    writer.save(path / "params", jax.tree.map(np.asarray, params), force=True)
  (path / DIGESTS_FILE).unlink(missing_ok=True)
  (path / SIZES_FILE).write_text(json.dumps(to_hf(cfg), indent=2) + "\n")
  (path / DIGESTS_FILE).write_text(json.dumps(_digests(path), indent=1) + "\n")
  return path


def open_orbax(path: str | os.PathLike):
  """(ModelConfig, `read`) of a folder that `save_orbax` wrote; `read` as in `load.open_any`."""
  path = Path(path).absolute()
  _check_digests(path)
  with reading(path / SIZES_FILE, "model config"):
    cfg = from_hf(read_json(path / SIZES_FILE))

  def read(dtype=np.float32, shardings=None):
    with reading(path / "params", "orbax checkpoint"), ocp.PyTreeCheckpointer() as reader:
      tree = reader.metadata(path / "params").item_metadata.tree
      if shardings is None:
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray, dtype=dtype), tree)
      else:
        how = jax.tree.map(lambda _, s: ocp.ArrayRestoreArgs(sharding=s, dtype=dtype), tree, shardings)
      return reader.restore(path / "params", args=ocp.args.PyTreeRestore(restore_args=how))

  return cfg, read

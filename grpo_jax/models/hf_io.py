"""Weights in and out of Hugging Face directories: config.json, safetensors, tokenizer files."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  teaches numpy bfloat16, which safetensors returns
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from grpo_jax.models.config import ModelConfig, from_hf, param_shapes, to_hf
from grpo_jax.models.hf_names import HF, HF_RECOMPUTED, TOKENIZER_FILES

FLOATS = ("float16", "bfloat16", "float32", "float64")
SHARD_BYTES = 5 * 10**9


class Place(NamedTuple):
  """Where a tensor of another format lives in our tree."""

  path: tuple[str, ...]  # keys into the tree
  layer: int | None  # index on axis 0, None for whole-model parameters
  transposed: bool
  shape: tuple[int, ...]  # as the other format stores it


def places(cfg: ModelConfig, names) -> dict[str, Place]:
  """Every tensor another format must hold for this model, by its name there; `names`: a table of hf_names."""
  shapes, found = param_shapes(cfg), {}
  for ours, shape in shapes.items():
    if ours != "layers":
      theirs, transposed = names["model"][ours]
      found[theirs] = Place((ours,), None, transposed, shape[::-1] if transposed else shape)
  for layer in range(cfg.num_layers):
    for ours, (_, *shape) in shapes["layers"].items():
      theirs, transposed = names["layers"][ours]
      stored = tuple(shape[::-1] if transposed else shape)
      found[theirs.format(layer)] = Place(("layers", ours), layer, transposed, stored)
  return found


def _leaf(tree, path: tuple[str, ...]):
  for key in path:
    tree = tree[key]
  return tree


def _empty(shapes, dtype):
  if isinstance(shapes, dict):
    return {name: _empty(shape, dtype) for name, shape in shapes.items()}
  return np.empty(shapes, dtype)


def _listed(names: Iterable[str], limit: int = 6) -> str:
  names = sorted(names)
  return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def assemble(cfg: ModelConfig, names, available: Iterable[str], read: Callable[[str], np.ndarray], dtype):
  """Our parameter tree from named tensors, one tensor in memory at a time.

  Each available tensor is used exactly once and each parameter set exactly once.

  Args:
    names: a table of hf_names.
    available: the names to use, in the order to read them.
    read: gives a tensor by name, as the other format stores it.
    dtype: of the resulting numpy arrays.
  Raises:
    ValueError: tensors that are missing, unknown, of another shape or not floating point.
  """
  wanted, available = places(cfg, names), list(available)
  missing, extra = wanted.keys() - set(available), set(available) - wanted.keys()
  if missing:
    shown = _listed(f"{name} {list(wanted[name].shape)}" for name in missing)
    raise ValueError(f"the checkpoint lacks {len(missing)} tensors that its config asks for: {shown}.")
  if extra:
    raise ValueError(f"the checkpoint has {len(extra)} tensors unknown to its config: {_listed(extra)}.")
  params = _empty(param_shapes(cfg), dtype)
  for name in available:
    place, tensor = wanted[name], read(name)
    if tuple(tensor.shape) != place.shape:
      raise ValueError(f"tensor {name} has shape {list(tensor.shape)}; the config wants {list(place.shape)}.")
    if tensor.dtype.name not in FLOATS:
      raise ValueError(f"tensor {name} has dtype {tensor.dtype.name}; supported are {', '.join(FLOATS)}.")
    leaf = _leaf(params, place.path)
    leaf[... if place.layer is None else place.layer] = tensor.T if place.transposed else tensor
  return params


def read_json(path: Path) -> dict[str, Any]:
  """The contents of a JSON file; ValueError names the file where it is absent."""
  if not path.is_file():
    raise ValueError(f"{path} does not exist; a Hugging Face model directory needs it.")
  return json.loads(path.read_text())


def _open_tensors(path: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
  """Name → the open safetensors file that holds it, over all shards; a name in two shards is an error."""
  index = path / "model.safetensors.index.json"
  if (path / "model.safetensors").is_file():
    files = ["model.safetensors"]
  elif index.is_file():
    files = sorted(set(read_json(index)["weight_map"].values()))
  else:
    raise ValueError(f"{path} has neither model.safetensors nor model.safetensors.index.json.")
  holders: dict[str, Any] = {}
  for file in files:
    if not (path / file).is_file():
      raise ValueError(f"{path}: shard {file} is in the index but not in the directory.")
    opened = stack.enter_context(safe_open(path / file, framework="np"))
    for name in opened.keys():  # noqa: SIM118  not a dict
      if name in holders:
        raise ValueError(f"{path}: tensor {name} is in two shards.")
      holders[name] = opened
  return holders


def load_hf(path: str | os.PathLike, *, dtype=np.float32) -> tuple[ModelConfig, dict[str, Any]]:
  """Reads a Hugging Face directory: `config.json` and one or several safetensors files.

  Returns:
    The ModelConfig and the tree of `config.param_shapes` as numpy arrays of `dtype`.
  Raises:
    ValueError: an unsupported config, or tensors that do not match it one to one.
  """
  path = Path(path)
  cfg = from_hf(read_json(path / "config.json"))
  with contextlib.ExitStack() as stack:
    holders = _open_tensors(path, stack)
    names = [name for name in holders if not name.endswith(HF_RECOMPUTED)]
    copied_head = cfg.tie_embeddings and "lm_head.weight" in names
    if copied_head:
      names.remove("lm_head.weight")
    params = assemble(cfg, HF, names, lambda name: holders[name].get_tensor(name), dtype)
    if copied_head:
      head = holders["lm_head.weight"].get_tensor("lm_head.weight").astype(dtype)
      if not np.array_equal(head, params["embed"]):
        raise ValueError(
          f"{path}: lm_head.weight differs from the embedding, but config.json has tie_word_embeddings = "
          "true; set that to false.")
  return cfg, params


def special_ids(path: str | os.PathLike) -> tuple[int | None, tuple[int, ...]]:
  """(bos id or None, eos ids) of a Hugging Face directory: generation_config.json first, then config.json."""
  files = [Path(path) / name for name in ("generation_config.json", "config.json")]
  found = [read_json(file) for file in files if file.is_file()]

  def first(key):
    return next((data[key] for data in found if data.get(key) is not None), None)

  eos = first("eos_token_id")
  return first("bos_token_id"), tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)


def _host_leaves(cfg: ModelConfig, params) -> dict[tuple[str, ...], np.ndarray]:
  """Path → numpy array, after checking that the tree is the one of `param_shapes`."""
  def flat(tree):
    layers = {("layers", name): leaf for name, leaf in tree["layers"].items()}
    return layers | {(name,): leaf for name, leaf in tree.items() if name != "layers"}

  shapes, leaves = flat(param_shapes(cfg)), flat(params)
  if shapes.keys() != leaves.keys():
    different = _listed("/".join(path) for path in shapes.keys() ^ leaves.keys())
    raise ValueError(f"params is not the tree of param_shapes(cfg); only one of them has: {different}.")
  for path, shape in shapes.items():
    if tuple(leaves[path].shape) != shape:
      found = tuple(leaves[path].shape)
      raise ValueError(f"params {'/'.join(path)} has shape {found}; the config asks for {shape}.")
  return {path: np.asarray(leaf) for path, leaf in leaves.items()}


def _shards(sizes: dict[str, int], max_shard_bytes: int) -> list[list[str]]:
  """Names cut, in order, into runs of at most `max_shard_bytes` (a larger tensor has a shard of its own)."""
  shards: list[list[str]] = []
  room = -1
  for name, size in sizes.items():
    if not shards or size > room:
      shards.append([])
      room = max_shard_bytes
    shards[-1].append(name)
    room -= size
  return shards


def _save_weights(path: Path, cfg: ModelConfig, leaves, max_shard_bytes: int) -> None:
  """Writes model.safetensors, or shards and their index; one shard in memory at a time."""
  wanted = places(cfg, HF)
  sizes = {name: leaves[p.path].itemsize * int(np.prod(p.shape)) for name, p in wanted.items()}
  shards = _shards(sizes, max_shard_bytes)
  weight_map = {}
  for number, names in enumerate(shards, 1):
    file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
    tensors = {}
    for name in names:
      place = wanted[name]
      leaf = leaves[place.path] if place.layer is None else leaves[place.path][place.layer]
      tensors[name] = np.ascontiguousarray(leaf.T if place.transposed else leaf)
      weight_map[name] = file
    save_file(tensors, path / file, metadata={"format": "pt"})
    (path / file).chmod((path / "config.json").stat().st_mode)  # safetensors lets only the owner read
  if len(shards) > 1:
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    _write_json(path / "model.safetensors.index.json", index)


def _write_json(path: Path, data) -> None:
  path.write_text(json.dumps(data, indent=2) + "\n")


def _save_tokenizer(path: Path, tokenizer) -> None:
  if hasattr(tokenizer, "save_pretrained"):
    tokenizer.save_pretrained(path)
    return
  found = [Path(tokenizer) / name for name in TOKENIZER_FILES if (Path(tokenizer) / name).is_file()]
  if not found:
    raise ValueError(f"tokenizer = {str(tokenizer)!r} holds none of {', '.join(TOKENIZER_FILES)}.")
  for file in found:
    shutil.copyfile(file, path / file.name)


@contextlib.contextmanager
def _appearing(path: Path):
  """Yields a hidden sibling directory that becomes `path` if the block ends well and vanishes if not."""
  foreign = path.is_dir() and any(path.iterdir()) and not (path / "config.json").is_file()
  if foreign or (path.exists() and not path.is_dir()):
    raise ValueError(f"{path} exists and is not a model directory; choose another or remove it.")
  temporary, old = (path.with_name(f".{path.name}.{word}-{os.getpid()}") for word in ("new", "old"))
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir(parents=True)
  try:
    yield temporary
    if path.exists():
      path.rename(old)
    temporary.rename(path)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    if old.exists() and not path.exists():
      old.rename(path)
    raise
  shutil.rmtree(old, ignore_errors=True)


def save_hf(
    path: str | os.PathLike, cfg: ModelConfig, params, *, tokenizer=None, bos_id: int | None = None,
    eos_ids: Sequence[int] = (), max_shard_bytes: int = SHARD_BYTES) -> Path:
  """Writes a directory that `load_hf` reads back bit for bit and that transformers loads; returns its path.

  The directory appears whole or not at all; an earlier model directory of that name is replaced.

  Args:
    params: the tree of `config.param_shapes`, numpy or jax arrays, saved in the type they have.
    tokenizer: an object with `save_pretrained`, or a directory whose tokenizer files are copied, or None.
    bos_id, eos_ids: for config.json and generation_config.json; those of a tokenizer object where not given.
    max_shard_bytes: weights above this are split over several files.
  Raises:
    ValueError: a tree that does not fit `cfg`, or a `path` that holds something else.
  """
  path = Path(path).resolve()
  leaves = _host_leaves(cfg, params)
  if bos_id is None:
    bos_id = getattr(tokenizer, "bos_token_id", None)
  eos = list(eos_ids) or [i for i in [getattr(tokenizer, "eos_token_id", None)] if i is not None]
  ids = {"bos_token_id": bos_id, "eos_token_id": eos[0] if len(eos) == 1 else eos or None}
  with _appearing(path) as temporary:
    _write_json(temporary / "config.json", to_hf(cfg, leaves[("embed",)].dtype.name) | ids)
    _write_json(temporary / "generation_config.json", {k: v for k, v in ids.items() if v is not None})
    if tokenizer is not None:
      _save_tokenizer(temporary, tokenizer)
    _save_weights(temporary, cfg, leaves, max_shard_bytes)
  return path

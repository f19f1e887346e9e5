"""Weights in and out of Hugging Face directories: config.json, safetensors, tokenizer files."""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  teaches numpy bfloat16, which safetensors returns
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.models.hf_config import from_hf, to_hf
from grpo_jax.models.hf_names import HF_RECOMPUTED, TOKENIZER_FILES
from grpo_jax.models.tensors import Tensor, assemble, check_tensors, hf_table, listed, places
from grpo_jax.reading import read_json, reading
from grpo_jax.text.special import special_ids

SHARD_BYTES = 5 * 10**9
COMPARED_ROWS = 4096  # of a copied output matrix at a time


def _shard_files(path: Path) -> list[str]:
  """Names of the weight files, all inside the folder: an index is a stranger's text and may name any path."""
  index = path / "model.safetensors.index.json"
  if (path / "model.safetensors").is_file():
    return ["model.safetensors"]
  if not index.is_file():
    raise ValueError(f"{path} has neither model.safetensors nor {index.name}; save the weights as safetensors.")
  shards = read_json(index).get("weight_map")
  if not isinstance(shards, dict) or not shards or not all(isinstance(file, str) for file in shards.values()):
    raise ValueError(f"{index} has no weight_map of tensor names to file names; fetch the index again.")
  for name, file in shards.items():
    inside = file and not Path(file).is_absolute() and ".." not in Path(file).parts and Path(file).name
    if not inside or "\0" in file:
      raise ValueError(f"{index}: weight_map gives {file!r:.80} for {name}, must name a file inside the folder.")
    if not (path / file).is_file():
      raise ValueError(f"{path}: shard {file} is in the index but not in the directory; fetch it.")
  return sorted(set(shards.values()))


def _open_tensors(path: Path) -> dict[str, Tensor]:
  """Name → tensor, over all shards, only headers read; a name in two shards is an error."""
  tensors: dict[str, Tensor] = {}
  for file in _shard_files(path):
    with reading(path / file, "safetensors file", "it is cut off or damaged: fetch it again"):
      opened = safe_open(path / file, framework="np")  # a memory map, closed when its tensors are forgotten
      for name in opened.keys():  # noqa: SIM118  not a dict
        if name in tensors:
          raise ValueError(f"{path}: tensor {name} is in two shards; fetch the index and its shards again.")
        stored = opened.get_slice(name)
        tensors[name] = Tensor(tuple(stored.get_shape()), stored.get_dtype(), stored.__getitem__)
  return tensors


def _without_copied_head(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
  """The tensors of a tied model without a second copy of the embedding, which must be just that."""
  head, embed = tensors.get("lm_head.weight"), tensors.get("model.embed_tokens.weight")
  if head is None or embed is None:
    return tensors
  V = embed.shape[0]
  rows = (slice(i, min(i + COMPARED_ROWS, V)) for i in range(0, V, COMPARED_ROWS))
  if head.shape != embed.shape or not all(np.array_equal(head.read((r,)), embed.read((r,))) for r in rows):
    raise ValueError(
      f"{path}: lm_head.weight differs from the embedding, but config.json has tie_word_embeddings = "
      "true; set that to false.")
  return {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}


def open_hf(path: str | os.PathLike) -> tuple[ModelConfig, dict[str, Tensor]]:
  """The config and the tensors of a Hugging Face directory, not read yet but checked: for `tensors.assemble`.

  Raises:
    ValueError: an unsupported config, or tensors that do not match it one to one.
  """
  path = Path(path)
  with reading(path, "model folder"):
    cfg = from_hf(read_json(path / "config.json"))
    special_ids(path, cfg.vocab_size)
    tensors = {name: t for name, t in _open_tensors(path).items() if not name.endswith(HF_RECOMPUTED)}
    if cfg.tie_embeddings:
      tensors = _without_copied_head(path, tensors)
    check_tensors(cfg, hf_table(cfg), tensors)
  return cfg, tensors


def load_hf(path: str | os.PathLike, *, dtype=np.float32, shardings=None) -> tuple[ModelConfig, dict[str, Any]]:
  """Reads a Hugging Face directory: `config.json` and one or several safetensors files.

  Returns:
    The ModelConfig and the tree of `config.param_shapes`: numpy arrays of `dtype`, or jax arrays with `shardings`
    (a tree like it) of which each process reads only its slices.
  Raises:
    ValueError: as `open_hf`.
  """
  cfg, tensors = open_hf(path)
  return cfg, assemble(cfg, hf_table(cfg), tensors, dtype, shardings)


def _host_leaves(cfg: ModelConfig, params) -> dict[tuple[str, ...], np.ndarray]:
  """Path → numpy array, after checking that the tree is the one of `param_shapes`."""
  def flat(tree):
    layers = {("layers", name): leaf for name, leaf in tree["layers"].items()}
    return layers | {(name,): leaf for name, leaf in tree.items() if name != "layers"}

  shapes, leaves = flat(param_shapes(cfg)), flat(params)
  if shapes.keys() != leaves.keys():
    different = listed("/".join(path) for path in shapes.keys() ^ leaves.keys())
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
  wanted = places(cfg, hf_table(cfg))
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


def kept_generation(generation: Mapping[str, Any] | None, ids: Mapping[str, Any]) -> dict[str, Any]:
  """The contents of generation_config.json: what it said before, with the special ids that are known now."""
  return {**(generation or {}), **{key: value for key, value in ids.items() if value is not None}}


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
    eos_ids: Sequence[int] = (), generation: Mapping[str, Any] | None = None,
    max_shard_bytes: int = SHARD_BYTES) -> Path:
  """Writes a directory that `load_hf` reads back bit for bit and that transformers loads; returns its path.

  The directory appears whole or not at all; an earlier model directory of that name is replaced.

  Args:
    params: the tree of `config.param_shapes`, numpy or jax arrays, saved in the type they have.
    tokenizer: an object with `save_pretrained`, or a directory whose tokenizer files are copied, or None.
    bos_id, eos_ids: for config.json and generation_config.json; those of a tokenizer object where not given.
    generation: what else generation_config.json says, such as temperature and top_p of the model it came from.
    max_shard_bytes: weights above this are split over several files.
  Raises:
    ValueError: a tree that does not fit `cfg`, or a `path` that holds something else.
  """
  path = Path(path).resolve()
  leaves = _host_leaves(cfg, params)
  if bos_id is None:
    bos_id = getattr(tokenizer, "bos_token_id", None)
  own = [getattr(tokenizer, name, None) for name in ("eos_token_id", "eot_token_id")]  # end of text, end of turn
  eos = list(eos_ids) or [i for i in own if i is not None]
  ids = {"bos_token_id": bos_id, "eos_token_id": eos[0] if len(eos) == 1 else eos or None}
  with _appearing(path) as temporary:
    _write_json(temporary / "config.json", to_hf(cfg, leaves[("embed",)].dtype.name) | ids)
    _write_json(temporary / "generation_config.json", kept_generation(generation, ids))
    if tokenizer is not None:
      _save_tokenizer(temporary, tokenizer)
    _save_weights(temporary, cfg, leaves, max_shard_bytes)
  return path

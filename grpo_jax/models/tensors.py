"""Named tensors of another format to our parameter tree, whole or only the slices that this host's devices hold."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.models.hf_names import HF, HF_SANDWICH

FLOATS = ("F16", "BF16", "F32", "F64")


class Tensor(NamedTuple):
  """A tensor that has not been read. `read` takes a tuple of slices and returns that part as a numpy array."""

  shape: tuple[int, ...]
  dtype: str  # as safetensors calls it
  read: Callable[[tuple[slice, ...]], np.ndarray]


class Place(NamedTuple):
  """Where a tensor of another format lives in our tree."""

  path: tuple[str, ...]  # keys into the tree
  layer: int | None  # index on axis 0, None for whole-model parameters
  transposed: bool
  shape: tuple[int, ...]  # as the other format stores it
  name: str  # in the other format


def hf_table(cfg: ModelConfig):
  """The Hugging Face name table of this model's family."""
  return HF_SANDWICH if cfg.sandwich_norms else HF


def places(cfg: ModelConfig, names) -> dict[str, Place]:
  """Every tensor another format must hold for this model, by its name there; `names`: a table of hf_names."""
  shapes, found = param_shapes(cfg), {}
  for ours, shape in shapes.items():
    if ours != "layers":
      theirs, transposed = names["model"][ours]
      found[theirs] = Place((ours,), None, transposed, shape[::-1] if transposed else shape, theirs)
  for layer in range(cfg.num_layers):
    for ours, (_, *shape) in shapes["layers"].items():
      theirs, transposed = names["layers"][ours]
      stored = tuple(shape[::-1] if transposed else shape)
      found[theirs.format(layer)] = Place(("layers", ours), layer, transposed, stored, theirs.format(layer))
  return found


def listed(names: Iterable[str], limit: int = 6) -> str:
  """Names for an error message, the first few and how many more."""
  names = sorted(names)
  return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def check_tensors(cfg: ModelConfig, names, tensors: Mapping[str, Tensor]) -> None:
  """Raises ValueError unless the tensors are exactly those of this model, in name, shape and kind of number."""
  wanted = places(cfg, names)
  missing, extra = wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys()
  if missing:
    shown = listed(f"{name} {list(wanted[name].shape)}" for name in missing)
    raise ValueError(f"the checkpoint lacks {len(missing)} tensors that its config asks for: {shown}.")
  if extra:
    raise ValueError(f"the checkpoint has {len(extra)} tensors unknown to its config: {listed(extra)}.")
  for name, tensor in tensors.items():
    if tuple(tensor.shape) != wanted[name].shape:
      raise ValueError(f"tensor {name} has shape {list(tensor.shape)}; the config wants {list(wanted[name].shape)}.")
    if tensor.dtype not in FLOATS:
      raise ValueError(f"tensor {name} has dtype {tensor.dtype}; supported are {', '.join(FLOATS)}.")


def _part(tensor: Tensor, place: Place, index: tuple[slice, ...]) -> np.ndarray:
  """A slice of one tensor in our order of axes; ValueError where a number in it is not finite."""
  part = tensor.read(index[::-1] if place.transposed else index)
  if not np.isfinite(np.asarray(part, np.float32)).all():
    where = place.path[-1] if place.layer is None else f"{place.path[-1]} of layer {place.layer}"
    raise ValueError(f"the weights of the model hold numbers that are not finite (NaN or infinity) in {place.name} "
                     f"({where}); take an undamaged copy of the model.")
  return part.T if place.transposed else part


def _block(group: list[tuple[Place, Tensor]], index: tuple[slice, ...], dtype) -> np.ndarray:
  """A slice of one of our parameters; the tensors of a layer stack are read one at a time."""
  place, tensor = group[0]
  if place.layer is None:
    return _part(tensor, place, index).astype(dtype)
  block = None
  for i, (place, tensor) in enumerate(group[index[0]]):
    part = _part(tensor, place, index[1:])
    block = np.empty((len(group[index[0]]), *part.shape), dtype) if block is None else block
    block[i] = part
  return block


def assemble(cfg: ModelConfig, names, tensors: Mapping[str, Tensor], dtype=np.float32, shardings=None):
  """Our parameter tree from exactly the tensors of this model (`check_tensors`), one parameter at a time.

  Args:
    names: a table of hf_names.
    dtype: of the resulting arrays.
    shardings: a tree of shardings like `param_shapes`. Then the result is jax arrays, and each process reads only the
      slices of its own devices, each once. None gives whole numpy arrays.
  Raises:
    ValueError: as `check_tensors`.
  """
  check_tensors(cfg, names, tensors)
  groups: dict[tuple[str, ...], list] = {}
  for name, place in places(cfg, names).items():
    groups.setdefault(place.path, []).append((place, tensors[name]))

  def parameter(path, shape, sharding=None):
    """One parameter, whole or the slices of this process's devices."""
    group, read = groups[tuple(key.key for key in path)], {}
    if sharding is None:
      return _block(group, tuple(slice(None) for _ in shape), dtype)

    def block(index):  # replicas ask for the same slice
      if str(index) not in read:
        read[str(index)] = _block(group, index, dtype)
      return read[str(index)]

    return jax.make_array_from_callback(shape, sharding, block)

  trees: list[Any] = [param_shapes(cfg)] + ([] if shardings is None else [shardings])
  return jax.tree_util.tree_map_with_path(parameter, *trees, is_leaf=lambda x: isinstance(x, tuple))

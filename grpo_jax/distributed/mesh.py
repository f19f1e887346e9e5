"""Mesh and partition rules: where each parameter and each row of a batch lives."""

import math
import re

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

AXES = ("data", "fsdp", "sequence", "tensor")
ROW_AXES = ("data", "fsdp")  # over these a batch is split: its prompts, and where those are too few its members

# First match wins; an unmatched parameter is an error. Layer-stacked parameters have L in front.
RULES = (
  (r"layers/.*(norm)$", P()),
  (r"layers/(q|k|v|gate|up)$", P(None, "fsdp", "tensor")),
  (r"layers/(o|down)$", P(None, "tensor", "fsdp")),
  (r"layers/(q|k|v|gate|up)/a$", P(None, "fsdp", None)),
  (r"layers/(q|k|v|gate|up)/b$", P(None, None, "tensor")),
  (r"layers/(o|down)/a$", P(None, "tensor", None)),
  (r"layers/(o|down)/b$", P(None, None, "fsdp")),
  (r"layers/(q|k|v)_bias$", P(None, "tensor")),
  (r"embed$", P("tensor", "fsdp")),
  (r"lm_head$", P("fsdp", "tensor")),
  (r"final_norm$|value_head$", P()),
  (r"data_state/pass_rates$", P()),
)


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, sequence: int = 1, devices=None) -> Mesh:
  """A mesh over all devices; one axis may be -1 and takes what is left. ValueError when sizes do not fit.

  Devices of several TPU slices are split over `data` first, so that only gradients cross between slices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = dict(zip(AXES, (data, fsdp, sequence, tensor), strict=True))
  known = math.prod(s for s in sizes.values() if s > 0)
  if list(sizes.values()).count(-1) > 1 or any(s == 0 or s < -1 for s in sizes.values()):
    raise ValueError(f"mesh={sizes} is not a mesh: axis sizes must be positive, at most one of them -1.")
  if len(devices) % known or (-1 not in sizes.values() and known != len(devices)):
    asked = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items())
    raise ValueError(
      f"{asked} do not make {len(devices)} devices; choose sizes whose product is the number of devices, or -1 for "
      "one of them."
    )
  return Mesh(_arranged([len(devices) // known if s == -1 else s for s in sizes.values()], devices), AXES)


def sweep_mesh(arms: int, devices=None) -> Mesh:
  """One axis, `sweep`, of as many devices as divide the arms: each arm is whole on one."""
  devices = jax.devices() if devices is None else devices
  size = next(n for n in range(min(arms, len(devices)), 0, -1) if arms % n == 0)
  return Mesh(np.asarray(devices[:size]), ("sweep",))


def _arranged(sizes: list[int], devices) -> np.ndarray:
  """Devices in the shape of the mesh; on TPUs, axes follow the wires between the chips."""
  if devices[0].platform != "tpu":
    return np.asarray(devices).reshape(sizes)
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  if slices == 1:
    return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
  if sizes[0] % slices:
    raise ValueError(f"mesh.data={sizes[0]} must be a multiple of the {slices} slices; raise it.")
  inside, across = [sizes[0] // slices, *sizes[1:]], [slices, 1, 1, 1]
  return mesh_utils.create_hybrid_device_mesh(inside, across, devices, allow_split_physical_axes=True)


def _spec_of(path: str, shape, mesh: Mesh) -> P:
  spec = next((spec for pattern, spec in RULES if re.search(pattern, path)), None)
  if spec is None:
    raise ValueError(f"parameter {path} matches no partition rule; add one to grpo_jax/distributed/mesh.py.")
  for size, axis in zip(shape, spec):  # noqa: B905  trailing axes are whole
    if axis is not None and size % mesh.shape[axis]:
      fits = [n for n in range(1, mesh.size + 1) if size % n == 0]
      raise ValueError(
        f"parameter {path} of shape {tuple(shape)} cannot be split over mesh.{axis}={mesh.shape[axis]}; "
        f"mesh.{axis} must divide {size}: {fits} would."
      )
  return spec


def state_shardings(mesh: Mesh, state):
  """A `NamedSharding` for every leaf of a state or parameter tree: parameters and their moments by rule."""

  def sharding(path, leaf):
    name = "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)
    return NamedSharding(mesh, _spec_of(name, leaf.shape, mesh) if leaf.ndim else P())

  return jax.tree_util.tree_map_with_path(sharding, state)


def without_fsdp(tree):
  """The shardings of arrays, whole along `fsdp`."""

  def whole(a):
    return NamedSharding(a.sharding.mesh, P(*(None if axis == "fsdp" else axis for axis in a.sharding.spec)))

  return jax.tree.map(whole, tree)


def axes_of(mesh: Mesh, B: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """(axes that split B prompts, axes that split the members of each group): as many as divide B, the rest to members.

  DeepSeekMath's 16 prompts of 64 completions on 256 chips are 16 over `data` by 16 over `fsdp`.
  """
  for prompts in (ROW_AXES, ("data",), ("fsdp",), ()):
    if B % math.prod(mesh.shape[axis] for axis in prompts) == 0:
      return prompts, tuple(axis for axis in ROW_AXES if axis not in prompts)
  raise AssertionError("unreachable: no axes divide any number")


def _letters(path, leaf) -> str:
  """The axes of an array of a batch: the suffix of its name, `tokens_BGT`, else prompts, members, tokens."""
  name = next((str(k.name) for k in reversed(path) if hasattr(k, "name")), "")
  suffix = name.rpartition("_")[2]
  return suffix if len(suffix) == leaf.ndim and suffix.isupper() else "BGT"[: leaf.ndim]


def row_spec(mesh, shape, letters: str = "BGT") -> P:
  """The split of an array with these axes: prompts, members, tokens; one that does not divide is whole."""
  prompts, members = axes_of(mesh, shape[0])
  split = {"B": prompts, "G": members, "T": ("sequence",)}
  spec = [split.get(letter, ()) for letter in letters]
  fits = [n % math.prod(mesh.shape[axis] for axis in axes) == 0 for n, axes in zip(shape, spec, strict=False)]
  return P(*(axes if ok else None for axes, ok in zip(spec, fits, strict=True)))


def batch_shardings(mesh: Mesh, batch):
  """Prompts and members over `data` and `fsdp` (see `axes_of`), tokens over `sequence`, scalars everywhere."""

  def sharding(path, leaf):
    letters = _letters(path, leaf)
    if not letters.startswith("B"):
      return NamedSharding(mesh, P())
    return NamedSharding(mesh, row_spec(mesh, leaf.shape, letters))

  return jax.tree_util.tree_map_with_path(sharding, batch)


def stacked_shardings(mesh: Mesh, batches):
  """The same for several batches, one after the other along a first axis that is not split."""
  one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), batches)
  return jax.tree.map(lambda s: NamedSharding(mesh, P(None, *s.spec)), batch_shardings(mesh, one))


def put(mesh: Mesh, batch, shardings=None):
  """Host arrays onto the mesh, split as batches; every process gives the same arrays and keeps its own part."""
  shardings = batch_shardings(mesh, batch) if shardings is None else shardings
  if jax.process_count() == 1:
    return jax.device_put(batch, shardings)
  place = lambda a, s: jax.make_array_from_callback(np.shape(a), s, lambda part: np.asarray(a)[part])  # noqa: E731
  return jax.tree.map(place, batch, shardings)

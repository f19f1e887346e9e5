"""Mesh and partition rules: where each parameter and each row of a batch lives."""

import re

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

AXES = ("data", "fsdp", "tensor")
BATCH = P(("data", "fsdp"))

# First match wins; an unmatched parameter is an error. Layer-stacked parameters have L in front.
RULES = (
  (r"layers/.*(norm)$", P()),
  (r"layers/(q|k|v|gate|up)$", P(None, "fsdp", "tensor")),
  (r"layers/(o|down)$", P(None, "tensor", "fsdp")),
  (r"layers/(q|k|v)_bias$", P(None, "tensor")),
  (r"embed$", P("tensor", "fsdp")),
  (r"lm_head$", P("fsdp", "tensor")),
  (r"final_norm$|value_head$", P()),
  (r"data_state/pass_rates$", P()),
)


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None) -> Mesh:
  """A mesh over all devices; one axis may be -1 and takes what is left. ValueError when sizes do not fit."""
  devices = jax.devices() if devices is None else devices
  sizes = [data, fsdp, tensor]
  known = int(np.prod([s for s in sizes if s > 0]))
  if sizes.count(-1) > 1 or any(s == 0 or s < -1 for s in sizes):
    raise ValueError(f"mesh={tuple(sizes)} is not a mesh: axis sizes must be positive, at most one of them -1.")
  if len(devices) % known or (-1 not in sizes and known != len(devices)):
    raise ValueError(
      f"mesh.data={data}, mesh.fsdp={fsdp}, mesh.tensor={tensor} do not make {len(devices)} devices; "
      "choose sizes whose product is the number of devices, or -1 for one of them."
    )
  sizes = [len(devices) // known if s == -1 else s for s in sizes]
  return Mesh(np.asarray(devices).reshape(sizes), AXES)


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


def batch_shardings(mesh: Mesh, batch):
  """Rows over `data` and `fsdp`, scalars everywhere."""
  return jax.tree.map(lambda a: NamedSharding(mesh, BATCH if a.ndim else P()), batch)


def put(mesh: Mesh, batch):
  """Host arrays onto the mesh, rows split."""
  return jax.device_put(batch, batch_shardings(mesh, batch))

"""TPU chips as published, and the devices of a topology that is not there."""

import importlib.metadata
import importlib.util
import os
import re
from dataclasses import dataclass

# jaxlib -> the libtpu whose compiler was tried with it.
LIBTPU = {"0.10.2": "0.0.42.1"}


@dataclass(frozen=True)
class Chip:
  """Published peaks of what JAX calls a device: a chip, or one of two halves of a TPU7x chip.

  Source: docs.cloud.google.com/tpu/docs, pages v5e, v5p, v6e and tpu7x. `usable_gib` is what the compiler lets a
  program have (libtpu 0.0.42.1); network bandwidths are one way, half of the published bidirectional numbers for ICI.
  """

  name: str
  flops: float  # bfloat16, per second
  hbm_gib: float
  usable_gib: float
  hbm_bandwidth: float  # bytes per second
  ici_bandwidth: float  # bytes per second that leave the device, all links together
  dcn_bandwidth: float  # bytes per second between slices
  per_chip: int = 1  # devices on a chip


CHIPS = {
  "v5e": Chip("TPU v5e", 197e12, 16, 15.75, 819e9, 200e9, 3.125e9),
  "v5p": Chip("TPU v5p", 459e12, 95, 95.74, 2765e9, 600e9, 6.25e9),
  "v6e": Chip("TPU v6e", 918e12, 32, 31.25, 1638e9, 400e9, 12.5e9),
  "tpu7x": Chip("half a TPU7x", 2307e12 / 2, 96, 94.75, 7380e9 / 2, 300e9, 6.25e9, per_chip=2),
}


@dataclass(frozen=True)
class Topology:
  """`v5e:16x16`, or `2xv5e:16x16` for two slices of it."""

  slices: int
  kind: str
  shape: str

  @property
  def chip(self) -> Chip:
    """What its devices are."""
    return CHIPS[self.kind]


def parse_topology(text: str) -> Topology:
  """Raises ValueError for what is not [SLICESx]CHIP:AxB[xC] with a known chip."""
  parts = re.fullmatch(r"(?:(\d+)x)?([a-z]\w*):(\d+(?:x\d+)+)", text)
  if not parts or parts[2] not in CHIPS:
    raise ValueError(
      f"--topology={text!r} is not [SLICESx]CHIP:AxB[xC]; give e.g. v5e:16x16, v5p:2x4x4 or 2xv5e:16x16, with a chip "
      f"of {sorted(CHIPS)}.")
  return Topology(int(parts[1] or 1), parts[2], parts[3])


def topology_devices(topology: Topology) -> list:
  """The devices of a topology, for compiling only; needs libtpu, no TPU.

  Raises:
    ValueError: libtpu is not installed, or knows no such topology.
  """
  if importlib.util.find_spec("libtpu") is None:
    version = LIBTPU.get(importlib.metadata.version("jaxlib"))
    wanted = f"libtpu=={version}" if version else "jax[tpu]"
    raise ValueError(f"planning needs the TPU compiler, but no TPU: pip install {wanted} (700 MB) and run this again.")
  settings = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-16", "TPU_WORKER_HOSTNAMES": "localhost",
              "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
  for name, value in settings.items():  # else libtpu asks a TPU VM's metadata server who it is
    os.environ.setdefault(name, value)
  from jax.experimental import topologies

  several = {"num_slices": topology.slices} if topology.slices > 1 else {}
  name = f"{topology.kind}:{topology.shape}"
  try:
    return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **several).devices)
  except Exception as error:
    reason = str(error).splitlines()[0]
    raise ValueError(f"libtpu makes no topology {name} of {topology.slices} slices: {reason}") from error

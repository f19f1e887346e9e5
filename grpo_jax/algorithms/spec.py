"""An algorithm is a row of a table: advantage × ratio × surrogate × KL × reduction.

Choices are static (another choice is another program); numbers are array leaves, so changing one compiles nothing.
To add a cell: write the function beside its relatives, add its name to their dict, name it in a preset here.
"""

from flax import struct

from grpo_jax.algorithms.advantages import ADVANTAGES
from grpo_jax.algorithms.kl import KL
from grpo_jax.algorithms.reductions import REDUCTIONS
from grpo_jax.algorithms.surrogates import RATIOS, SURROGATES


def choice(default):
  """A static field."""
  return struct.field(pytree_node=False, default=default)


@struct.dataclass
class AlgorithmSpec:
  """One row. See `PRESETS` for the named ones and docs/algorithms.md for the equations."""

  advantage: str = choice("group_normalized")
  ddof: int = choice(1)
  ratio: str = choice("token")
  surrogate: str = choice("clipped")
  kl: str = choice("k3")  # "off" runs no reference pass
  reduction: str = choice("sequence_mean")
  shuffle_advantages: bool = choice(False)  # control: permute the advantages within each group
  beta: float = 0.04
  epsilon_low: float = 0.2
  epsilon_high: float = 0.2
  advantage_epsilon: float = 1e-6
  reduction_divisor: float = 1.0  # for reduction "constant"; 0 in a config means the longest completion


CELLS = {
  "advantage": sorted(ADVANTAGES),
  "ddof": [0, 1],
  "ratio": sorted(RATIOS),
  "surrogate": sorted(SURROGATES),
  "kl": ["off", *sorted(KL)],
  "reduction": sorted(REDUCTIONS),
}

PRESETS = {
  # DeepSeekMath (arXiv 2402.03300), equation 3 with the k3 term of equation 4, one update per rollout.
  "grpo": {},
  # Understanding R1-Zero-like training (arXiv 2503.20783): no std, no length, no KL.
  "dr_grpo": {"advantage": "centered", "kl": "off", "beta": 0.0, "reduction": "constant"},
}


def make_spec(preset: str = "grpo", **overrides) -> AlgorithmSpec:
  """The spec of a preset with single cells or numbers replaced. ValueError names a bad key and the known values."""
  if preset not in PRESETS:
    raise ValueError(f"algorithm.preset={preset!r} is unknown; choose one of {sorted(PRESETS)}.")
  spec = AlgorithmSpec(**{**PRESETS[preset], **overrides})
  for cell, known in CELLS.items():
    if getattr(spec, cell) not in known:
      raise ValueError(f"algorithm.{cell}={getattr(spec, cell)!r} is unknown; choose one of {known}.")
  if spec.kl == "k1":
    raise ValueError(
      "algorithm.kl='k1' has an expected on-policy gradient of zero in the loss, so it would penalize nothing; "
      "use 'k3' (the published GRPO), 'k2' (the exact gradient) or 'off'."
    )
  return spec

"""Rotary positions: wavelengths, their scalings to longer contexts, and the rotation (Su et al. 2021)."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from grpo_jax.types import wide

KINDS = {  # kind → the numbers it needs beyond `factor`, and those it may have
  "linear": ((), ()),
  "llama3": (("low_freq_factor", "high_freq_factor", "original_max_position_embeddings"), ()),
  "yarn": (("original_max_position_embeddings",), ("attention_factor", "beta_fast", "beta_slow")),
}


@dataclasses.dataclass(frozen=True)
class RopeScaling:
  """How rotary frequencies were changed to serve contexts `factor` times longer. Names as in Hugging Face configs.

  Raises ValueError for an unknown kind, and for a number that is missing, not positive or not of that kind.
  """

  kind: str  # linear | llama3 | yarn
  factor: float | None = None  # of the longest wavelengths; every kind needs it
  low_freq_factor: float | None = None  # llama3: wavelengths above original / low are scaled in full
  high_freq_factor: float | None = None  # llama3: and those below original / high not at all
  original_max_position_embeddings: int | None = None  # tokens of context before the change
  beta_fast: float | None = None  # yarn: turns in the original context above which nothing is scaled; None is 32
  beta_slow: float | None = None  # yarn: and below which all is; None is 1
  attention_factor: float | None = None  # yarn: cos and sin are multiplied by it; None is 0.1 ln(factor) + 1

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f"rope type {self.kind!r} is not supported; known are default, {', '.join(KINDS)}.")
    needed, optional = KINDS[self.kind]
    numbers = {k: v for k, v in dataclasses.asdict(self).items() if k != "kind"}
    for name, value in numbers.items():
      if value is None and name in ("factor", *needed):
        raise ValueError(f"rope type {self.kind!r} needs {name}; add what the checkpoint was trained with.")
      if value is not None and name not in ("factor", *needed, *optional):
        raise ValueError(f"rope type {self.kind!r} has no {name}, got {value!r}; leave it out.")
      number = isinstance(value, int | float) and not isinstance(value, bool)
      if value is not None and not (number and 0 < value < 1e300):
        raise ValueError(f"rope scaling {name} = {value!r}; give a positive number.")
    if self.kind == "llama3" and self.high_freq_factor == self.low_freq_factor:
      raise ValueError(f"rope scaling low_freq_factor = high_freq_factor = {self.low_freq_factor}; they must differ.")


def _llama3(frequency, s: RopeScaling):
  """Long waves divided by `factor`, short ones kept, a linear blend in turns per context between (Llama 3.1)."""
  turns = s.original_max_position_embeddings * frequency / (2 * math.pi)
  kept = np.clip((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0, 1)
  return frequency * (kept + (1 - kept) / s.factor)


def _yarn(frequency, s: RopeScaling, theta: float):
  """As llama3, the blend linear in the index of the frequency (Peng et al. 2023, section 3.2)."""
  half = len(frequency)

  def index(turns):  # of the frequency that makes so many turns in the original context
    return half * math.log(s.original_max_position_embeddings / (turns * 2 * math.pi)) / math.log(theta)

  low = max(math.floor(index(s.beta_fast or 32)), 0)
  high = min(math.ceil(index(s.beta_slow or 1)), 2 * half - 1)
  scaled = np.clip((np.arange(half) - low) / ((high - low) or 0.001), 0, 1)
  return frequency * (1 - scaled + scaled / s.factor)


def rope_frequencies(theta: float, scaling: RopeScaling | None, head_width: int, dtype):
  """Radians per position of each pair of a head, `[E/2]`, and the factor of cos and sin."""
  frequency = theta ** (-np.arange(0, head_width, 2, dtype=dtype) / head_width)
  amplitude = 1.0
  if scaling is not None:
    if scaling.kind == "linear":
      frequency = frequency / scaling.factor
    elif scaling.kind == "llama3":
      frequency = _llama3(frequency, scaling)
    else:
      frequency = _yarn(frequency, scaling, theta)
      amplitude = scaling.attention_factor or (0.1 * math.log(scaling.factor) + 1 if scaling.factor > 1 else 1.0)
  return frequency.astype(dtype), amplitude


def rope_tables(positions_BGT, length: int, head_width: int, theta: float, scaling: RopeScaling | None, dtype):
  """cos and sin of the rotary angles, `[B, 1, G, 1, T, E/2]` (half-split layout).

  Looked up in a constant table of `length` positions, else XLA computes them again in every layer.
  """
  frequency, amplitude = rope_frequencies(theta, scaling, head_width, dtype)
  angle = np.arange(length, dtype=dtype)[:, None] * frequency[None]
  tables = (f(angle) * np.asarray(amplitude, dtype) for f in (np.cos, np.sin))
  return tuple(jnp.asarray(table)[positions_BGT][:, None, :, None] for table in tables)


def rotate(x, tables):
  """Applies rotary positions to `[B, K, G, R, T, E]`."""
  cos, sin = tables
  a, b = jnp.split(wide(x), 2, -1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x.dtype)

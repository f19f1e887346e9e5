"""Low-rank adapters as a functional transform: a frozen base and trained (A, B) make the parameters of the decoder.

y = x W + alpha / rank · (x A) B, B = 0 at the start. Hu et al. 2021, arXiv 2106.09685, equation 3.
"""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.models.layers import Adapted

MATRICES = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class LoraSpec:
  """Which matrices get adapters of which rank, as `config.lora` says; `targets` are names of `MATRICES`."""

  rank: int
  alpha: float
  targets: tuple[str, ...]

  @property
  def scale(self) -> float:
    """alpha / rank."""
    return self.alpha / self.rank


def matched(patterns) -> tuple[str, ...]:
  """The matrices that any of some regular expressions matches whole, by our name (q) or Hugging Face's (q_proj).

  Raises:
    ValueError: a pattern matches none.
  """
  for pattern in patterns:
    if not any(_matches(pattern, name) for name in MATRICES):
      known = ", ".join(MATRICES)
      raise ValueError(f"lora.targets={tuple(patterns)!r} has {pattern!r}, which matches none of {known}; correct it.")
  return tuple(name for name in MATRICES if any(_matches(pattern, name) for pattern in patterns))


def _matches(pattern: str, name: str) -> bool:
  return any(re.fullmatch(pattern, text) for text in (name, f"{name}_proj"))


def init_adapters(cfg: ModelConfig, spec: LoraSpec, seed):
  """Adapters of all layers, `{"layers": {name: {"a": [L, in, r], "b": [L, r, out]}}}`: b 0, a uniform ± in^-1/2."""
  key, layers = jax.random.fold_in(jax.random.key(seed), 0x10A), {}
  shapes = param_shapes(cfg)["layers"]
  for index, name in enumerate(spec.targets):
    L, wide, out = shapes[name]
    a = jax.random.uniform(jax.random.fold_in(key, index), (L, wide, spec.rank), jnp.float32, -1, 1) * wide**-0.5
    layers[name] = {"a": a, "b": jnp.zeros((L, spec.rank, out), jnp.float32)}
  return {"layers": layers}


def adapted(base, adapters, scale: float):
  """The parameters the decoder takes: the base with `Adapted` in place of each matrix that has an adapter."""
  changed = {name: Adapted(base["layers"][name], **pair, scale=scale) for name, pair in adapters["layers"].items()}
  return {**base, "layers": {**base["layers"], **changed}}


def merged(base, adapters, scale: float):
  """W + scale · A B in the dtype of the base: one tree of plain parameters, for export."""
  layers = dict(base["layers"])
  for name, pair in adapters["layers"].items():
    change = scale * jnp.einsum("lir,lro->lio", pair["a"], pair["b"])
    layers[name] = (jnp.asarray(layers[name], jnp.float32) + change).astype(base["layers"][name].dtype)
  return {**base, "layers": layers}

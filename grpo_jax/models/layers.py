"""Norm, matrix product, gated unit, output head, and the loop over layers: a scan, or unrolled."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.distributed.mesh import row_spec
from grpo_jax.models.config import ModelConfig
from grpo_jax.types import wide

ACTIVATION = {"silu": jax.nn.silu, "gelu_tanh": partial(jax.nn.gelu, approximate=True)}


def rms_norm(x, weight, epsilon: float, offset: bool = False):
  """x / rms(x) * weight over the last axis, statistics in float32 or wider (Zhang & Sennrich 2019).

  `offset`: the stored weight is the difference from 1, and is applied before rounding to the type of x (Gemma).
  """
  x32, weight = wide(x), weight.reshape((1,) * (x.ndim - 1) + (-1,))
  scaled = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + epsilon)
  return (scaled * (1 + wide(weight))).astype(x.dtype) if offset else scaled.astype(x.dtype) * weight.astype(x.dtype)


@struct.dataclass
class Adapted:
  """A matrix under its adapter, where the decoder would have the matrix: w `[in, out]`, a `[in, r]`, b `[r, out]`."""

  w: jax.Array
  a: jax.Array
  b: jax.Array
  scale: float = struct.field(pytree_node=False)


def product(x, w):
  """x W in the dtype of x, with the adapter's part where W has one."""
  if not isinstance(w, Adapted):
    return x @ w.astype(x.dtype)
  low = x @ w.a.astype(x.dtype)
  return x @ w.w.astype(x.dtype) + w.scale * (low @ w.b.astype(x.dtype))


@partial(jax.checkpoint, static_argnums=2)  # keeps its two inputs for the backward pass and nothing between
def gated(gate, up, activation: str):
  """Gated linear unit: activation(gate) · up (Shazeer 2020)."""
  return ACTIVATION[activation](gate) * up


def soft_capped(x, cap: float):
  """c·tanh(x / c): within ±c, and nearly x where that is small; x itself where c is 0 (Gemma 2)."""
  return cap * jnp.tanh(x / cap) if cap else x


def embedded(params, cfg: ModelConfig, tokens_N):
  """Embeddings `[N, D]` in the compute type; Gemma's are multiplied by sqrt(D), rounded to that type."""
  rows = params["embed"][tokens_N].astype(cfg.compute_dtype)
  return rows * jnp.asarray(cfg.width**0.5, rows.dtype) if cfg.scale_embeddings else rows


def by_rows(x_ND, shape):
  """Hidden states of `[B, G, T]` tokens, on a mesh split by rows and whole in D, so that weights come to the rows.

  Left to itself the compiler splits D over `fsdp` and adds up partial products `[N, F]`, many times the weights' bytes.
  A decoding step has so few rows that this is the cheaper way: it is left as it is.
  """
  mesh, (B, G, T) = jax.sharding.get_abstract_mesh(), shape
  if mesh.empty or mesh.size == mesh.shape.get("sweep", 1) or T == 1:  # an arm of a sweep is whole on its device
    return x_ND
  spec = row_spec(mesh, (B, G, T))
  return jax.lax.with_sharding_constraint(x_ND.reshape(B, G, T, -1), spec).reshape(x_ND.shape)


@struct.dataclass
class Head:
  """What hidden states become logits with. Logits are made here and nowhere else, so no cap can be forgotten."""

  matrix_DV: jax.Array
  cap: float = struct.field(pytree_node=False, default=0.0)  # soft cap of the logits; 0 is none

  def astype(self, dtype) -> "Head":
    """The same with its matrix in another type."""
    return self.replace(matrix_DV=self.matrix_DV.astype(dtype))

  def logits(self, hidden_ND):
    """Logits `[N, V]` in float32 or wider of hidden states `[N, D]`; N may be several axes."""
    return soft_capped(wide(hidden_ND @ self.matrix_DV.astype(hidden_ND.dtype)), self.cap)


def unstacked(cfg: ModelConfig, params):
  """Parameters as the layer loop wants them: untouched for a scan, `layers` a list of L trees when unrolled.

  `decoder` does this itself; the decoding loop does it once, before it.
  """
  if cfg.scan_layers or isinstance(params["layers"], list):
    return params
  leaves, treedef = jax.tree.flatten(params["layers"])
  split = [jax.lax.split(a, (1,) * cfg.num_layers, 0) for a in leaves]  # its gradient is one concatenation
  return {**params, "layers": [treedef.unflatten([a[i][0] for a in split]) for i in range(cfg.num_layers)]}


def over_layers(body, x, layers):
  """Runs `x, y = body(x, layer)` over layers: `lax.scan` on stacked arrays, a Python loop on a list."""
  if not isinstance(layers, list):
    return jax.lax.scan(body, x, layers)
  outputs = []
  for layer in layers:
    x, y = body(x, layer)
    outputs.append(y)
  return x, outputs

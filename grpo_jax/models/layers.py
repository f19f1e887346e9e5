"""Norm, matrix product, gated unit, and the loop over layers: a scan, or unrolled."""

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.models.config import ModelConfig
from grpo_jax.types import wide


def rms_norm(x, weight, epsilon: float):
  """x / rms(x) * weight over the last axis, statistics in float32 or wider (Zhang & Sennrich 2019)."""
  x32 = wide(x)
  scaled = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, -1, keepdims=True) + epsilon)
  return scaled.astype(x.dtype) * weight.reshape((1,) * (x.ndim - 1) + (-1,)).astype(x.dtype)


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


@jax.checkpoint  # keeps its two inputs for the backward pass and nothing between
def gated(gate, up):
  """SwiGLU: silu(gate) · up (Shazeer 2020)."""
  return jax.nn.silu(gate) * up


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

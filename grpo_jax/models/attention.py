"""Attention of G branches over shared and own segments of keys and values, and rotary positions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from grpo_jax.types import wide

MASKED = -1e30  # finite, so that a row with nothing to see stays finite


@struct.dataclass
class KV:
  """Keys and values of S tokens, by layer, with the positions and validity that masks are made from.

  `keys`, `values`: `[L, B, K, G, S, E]`, or a list of L arrays `[B, K, G, S, E]`. G = 1 is a prefix that all
  branches share. `positions`, `valid`: `[B, G, S]`.
  """

  keys: jax.Array | list
  values: jax.Array | list
  positions: jax.Array
  valid: jax.Array

  def selected(self) -> "KV":
    """The same with zeros where not valid, so that padding may hold anything, NaN too."""
    keep = self.valid[:, None, :, :, None]

    def select(a):
      return jnp.where(keep if a.ndim == 5 else keep[None], a, 0)

    keys, values = jax.tree.map(select, (self.keys, self.values))
    return self.replace(keys=keys, values=values)


def visible(query_positions_BGT, positions_BGS, valid_BGS):
  """Causal mask from positions, `[B, 1, G, 1, T, S]`: true where the key is valid and not later than the query."""
  mask = valid_BGS[:, :, None, :] & (positions_BGS[:, :, None, :] <= query_positions_BGT[..., None])
  return mask[:, None, :, None]


def attend(q_BKGRTE, segments):
  """Softmax attention over the union of segments, none of them copied or broadcast over G.

  out = sum_s e_s V_s / sum_s sum(e_s), e_s = exp(q K_s^T / sqrt(E) - max over all segments).

  Args:
    q_BKGRTE: queries; H = K·R query heads grouped by their key/value head.
    segments: list of (keys, values, mask), keys `[B, K, G or 1, S, E]`, mask `[B, 1, G, 1, T, S]`.
  Returns:
    `[B, K, G, R, T, E]` in the dtype of the queries; softmax in float32 or wider.
  """
  scores, wider = [], jnp.promote_types(q_BKGRTE.dtype, jnp.float32)
  for keys, _, mask in segments:
    if keys.shape[3] == 1:  # one token against itself: a product, cheaper than a batch of tiny matmuls
      s = jnp.sum(q_BKGRTE * keys[:, :, :, None], -1, keepdims=True, dtype=wider)
    elif keys.shape[2] == 1:
      s = jnp.einsum("bkgrte,bkse->bkgrts", q_BKGRTE, keys[:, :, 0], preferred_element_type=wider)
    else:
      s = jnp.einsum("bkgrte,bkgse->bkgrts", q_BKGRTE, keys, preferred_element_type=wider)
    scores.append(jnp.where(mask, s * q_BKGRTE.shape[-1] ** -0.5, MASKED))
  top = jax.lax.stop_gradient(jnp.max(jnp.stack([jnp.max(s, -1) for s in scores]), 0))[..., None]
  out, total = 0.0, 0.0
  for s, (_, values, _) in zip(scores, segments, strict=True):
    e = jnp.exp(s - top)
    total = total + jnp.sum(e, -1, keepdims=True)
    e = e.astype(values.dtype)
    if values.shape[3] == 1:
      out = out + e * values[:, :, :, None]
    elif values.shape[2] == 1:
      out = out + jnp.einsum("bkgrts,bkse->bkgrte", e, values[:, :, 0], preferred_element_type=wider)
    else:
      out = out + jnp.einsum("bkgrts,bkgse->bkgrte", e, values, preferred_element_type=wider)
  return (out / total).astype(q_BKGRTE.dtype)


def rope_tables(positions_BGT, length: int, head_width: int, theta: float, dtype):
  """cos and sin of the rotary angles, `[B, 1, G, 1, T, E/2]` (Su et al. 2021, half-split layout).

  Looked up in a constant table of `length` positions, else XLA computes them again in every layer.
  """
  frequency = theta ** (-np.arange(0, head_width, 2, dtype=dtype) / head_width)
  angle = np.arange(length, dtype=dtype)[:, None] * frequency[None].astype(dtype)
  return tuple(jnp.asarray(f(angle))[positions_BGT][:, None, :, None] for f in (np.cos, np.sin))


def rotate(x, tables):
  """Applies rotary positions to `[B, K, G, R, T, E]`."""
  cos, sin = tables
  a, b = jnp.split(wide(x), 2, -1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1).astype(x.dtype)

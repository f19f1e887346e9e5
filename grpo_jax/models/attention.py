"""Attention of G branches over shared and own segments of keys and values; what each kind of layer may see."""

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.layers import soft_capped
from grpo_jax.models.rope import rope_tables

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


def visible(query_positions_BGT, positions_BGS, valid_BGS, window: int = 0):
  """Causal mask from positions, `[B, 1, G, 1, T, S]`: true where the key is valid and not later than the query.

  With a window, also fewer than `window` positions earlier.
  """
  mask = valid_BGS[:, :, None, :] & (positions_BGS[:, :, None, :] <= query_positions_BGT[..., None])
  if window:
    mask = mask & (query_positions_BGT[..., None] - positions_BGS[:, :, None, :] < window)
  return mask[:, None, :, None]


def in_one_kernel(cfg: ModelConfig, T: int, context) -> bool:
  """Whether `tree_attention` serves these queries: whole branches over a shared prefix; decoding steps stay here."""
  return cfg.attention != "xla" and T > 1 and all(kv.positions.shape[1] == 1 for kv in context) and len(context) < 2


def sights(cfg: ModelConfig, positions_BGT, valid_BGT, context, dtype):
  """(rotary tables, own mask, masks of the context), with a leading axis of kinds of layers where there are several.

  A kernel makes its own masks, from what is valid.
  """
  T, kinds = positions_BGT.shape[-1], []
  length = T + sum(kv.positions.shape[-1] for kv in context)
  for window in cfg.windows:
    tables = rope_tables(positions_BGT, length, cfg.head_width, *cfg.rope_of(window), dtype)
    if in_one_kernel(cfg, T, context):
      kinds.append((tables, valid_BGT, [kv.valid for kv in context]))
      continue
    own = visible(positions_BGT, positions_BGT, valid_BGT, window)
    kinds.append((tables, own, [visible(positions_BGT, kv.positions, kv.valid, window) for kv in context]))
  return jax.tree.map(lambda *a: jnp.stack(a), *kinds) if len(kinds) > 1 else kinds[0]


def sight_of(sights, kind):
  """The sight of one layer; `kind`: its index, None where all are alike."""
  return sights if kind is None else jax.tree.map(lambda a: a[kind], sights)


def attend(q_BKGRTE, segments, scale: float, cap: float = 0.0):
  """Softmax attention over the union of segments, none of them copied or broadcast over G.

  out = sum_s e_s V_s / sum_s sum(e_s), e_s = exp(scores_s - max over all segments), scores_s = scale · q K_s^T.

  Args:
    q_BKGRTE: queries; H = K·R query heads grouped by their key/value head.
    segments: list of (keys, values, mask), keys `[B, K, G or 1, S, E]`, mask `[B, 1, G, 1, T, S]`.
    scale: usually 1 / sqrt(E); `cap`: soft cap c of the scores, c·tanh(scores / c); 0 is none.
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
    scores.append(jnp.where(mask, soft_capped(s * scale, cap), MASKED))
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

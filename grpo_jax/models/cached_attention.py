"""Attention of one new token of each row over what is cached: parts that nobody can see are not read."""

from functools import partial

import jax
import jax.numpy as jnp

from grpo_jax.models.attention import MASKED
from grpo_jax.models.layers import soft_capped


def _seen(q_BKGRE, keys, values, mask, *, scale: float, cap: float):
  """One part: the largest score, the sum of exp(score - largest) and their weighted values, `[B, K, G, R, 1 or E]`."""
  wider = jnp.promote_types(q_BKGRE.dtype, jnp.float32)
  if keys.shape[2] == 1:  # shared by the group
    s = jnp.einsum("bkgre,bkes->bkgrs", q_BKGRE, keys[:, :, 0], preferred_element_type=wider)
  else:
    s = jnp.einsum("bkgre,bkges->bkgrs", q_BKGRE, keys, preferred_element_type=wider)
  s = jnp.where(mask[..., 0, :], soft_capped(s * scale, cap), MASKED)
  top = jnp.max(s, -1, keepdims=True)
  e = jnp.exp(s - top)
  total, e = jnp.sum(e, -1, keepdims=True), e.astype(values.dtype)
  if values.shape[2] == 1:
    return top, total, jnp.einsum("bkgrs,bkse->bkgre", e, values[:, :, 0], preferred_element_type=wider)
  return top, total, jnp.einsum("bkgrs,bkgse->bkgre", e, values, preferred_element_type=wider)


def attend_cached(q_BKGRTE, segments, reads, scale: float, cap: float = 0.0):
  """Softmax attention of one token (T = 1) over cached parts and itself.

  out = sum_p w_p V_p / sum_p w_p z_p, w_p = exp(top_p - top): each part brings its largest score top_p, the sum z_p of
  its exp(score - top_p), and its values weighted by those (Milakov & Gimelshein 2018).

  Args:
    q_BKGRTE: queries; H = K·R query heads grouped by their key/value head.
    segments: list of (keys `[B, K, G or 1, E, S]`, values `[B, K, G or 1, S, E]`, mask `[B, 1, G, 1, 1, S]`), and the
      token's own last, `[B, K, G, 1, E]`, which it sees.
    reads: of each part whether any row can see any of it, None where that is so.
    scale, cap: as of `attend`.
  Returns:
    `[B, K, G, R, 1, E]` in the dtype of the queries; softmax in float32 or wider.
  """
  q, (k, v, _) = q_BKGRTE[..., 0, :], segments[-1]
  wider = jnp.promote_types(q.dtype, jnp.float32)
  score = soft_capped(jnp.sum(q * k, -1, keepdims=True, dtype=wider) * scale, cap)
  found = [(score, jnp.ones_like(score), jnp.broadcast_to(v.astype(wider), q.shape))]
  unread = (jnp.full_like(score, MASKED), jnp.zeros_like(score), jnp.zeros_like(q, wider))
  for part, read in zip(segments[:-1], reads, strict=True):
    see = partial(_seen, scale=scale, cap=cap)
    found.append(see(q, *part) if read is None else jax.lax.cond(read, see, lambda *_: unread, q, *part))
  top = jnp.max(jnp.stack([t for t, _, _ in found]), 0)
  weights = [jnp.exp(t - top) for t, _, _ in found]
  total = sum(w * z for w, (_, z, _) in zip(weights, found, strict=True))
  out = sum(w * o for w, (_, _, o) in zip(weights, found, strict=True)) / total
  return out.astype(q.dtype)[..., None, :]

"""Attention of G branches over shared and own segments of keys and values; what each kind of layer may see."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.layers import soft_capped
from grpo_jax.models.packing import Packing, block_of
from grpo_jax.models.rope import rope_tables
from grpo_jax.models.row_attention import Row, row_attention

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


@dataclass(frozen=True)
class Form:
  """How a row of tokens is cut for attention: `prompts` of `length` tokens, then `blocks` of `size` tokens.

  A block sees the prompt of its group, itself and the `back` blocks before it. `kernel`: what one kernel for the whole
  row has to know, in place of cuts.
  """

  blocks: int
  size: int
  prompts: int = 0
  length: int = 0
  back: int = 0
  kernel: Row | None = None

  @property
  def shared(self) -> int:
    """Tokens of all prompts."""
    return self.prompts * self.length

  def blocks_alone(self) -> "Form":
    """The same without the prompts."""
    return replace(self, prompts=0)


def form_of(cfg: ModelConfig, shape, context, packing: Packing | None) -> Form:
  """The form of these tokens: branches `[B, G, T]`, or packed rows `[R, 1, M]`."""
  _, G, T = shape
  own, b = (packing.valid_RN.shape[1], packing.groups) if packing else (0, 1)
  if cfg.attention != "xla" and G == 1 and not context:
    row = Row((T - own) // b, b, packing.longest if packing else 1, packing is None or packing.whole)
    return Form(1, T, kernel=row)
  if not packing:
    return Form(G, T)
  back = 0 if packing.whole else block_of(own, packing.longest)[1]
  return Form(own // packing.block, packing.block, b, (T - own) // b, back)


def parts_of(a_BM, form: Form) -> list:
  """The parts `[B, G, T, …]` of rows `[B, M, …]`: prompts, if there are any, and blocks."""
  B, rest = a_BM.shape[0], a_BM.shape[2:]
  own = a_BM[:, form.shared :].reshape(B, form.blocks, form.size, *rest)
  return [a_BM[:, : form.shared].reshape(B, form.prompts, form.length, *rest), own] if form.prompts else [own]


def looked_back(a, back: int, axis: int):
  """Blocks along `axis`, their tokens along the next, each behind the `back` blocks before it (zeros before all)."""
  if not back:
    return a
  n = a.shape[axis]
  padded = jnp.pad(a, [(back if i == axis else 0, 0) for i in range(a.ndim)])
  return jnp.concatenate([jax.lax.slice_in_dim(padded, j, j + n, axis=axis) for j in range(back + 1)], axis + 1)


def of_owners(a, owners_RN, form: Form, axis: int):
  """What belongs to a prompt, along `axis`, for each block; left as it is where there is one prompt."""
  if form.prompts == 1:
    return a
  owners = owners_RN[:, :: form.size].reshape(-1, *(form.blocks if i == axis else 1 for i in range(1, a.ndim)))
  return jnp.take_along_axis(a, owners, axis)


def _seen_in_blocks(positions, packing: Packing, form: Form, window: int):
  """Which keys of its blocks each packed token sees, `[R, 1, blocks, 1, size, keys]`: key k when k ≤ q < end(k)."""
  blocks = lambda a: looked_back(a.reshape(-1, form.blocks, form.size), form.back, 1)[:, :, None]  # noqa: E731
  q = np.arange(form.blocks * form.size).reshape(1, form.blocks, form.size, 1)
  k = q[:, :, :1] - form.back * form.size + np.arange((form.back + 1) * form.size)[None, None, None]
  mask = blocks(packing.valid_RN) & (k <= q) & (q < blocks(packing.ends_RN))
  if window:
    mask = mask & (positions[..., None] - blocks(positions) < window)
  return mask[:, None, :, None]


def _ids_and_ages(packing: Packing | None, valid_BM):
  """What a kernel makes its masks from: `[B, M]` groups of the row from 1, 0 where not valid; ages, 0 in prompts."""
  if packing is None:
    return valid_BM.astype(jnp.int32), jnp.zeros(valid_BM.shape, jnp.int32)
  M, N = valid_BM.shape[1], packing.ages_RN.shape[1]
  prompts = np.broadcast_to(np.arange(M - N) // ((M - N) // packing.groups), (valid_BM.shape[0], M - N))
  owners = jnp.concatenate([jnp.asarray(prompts, jnp.int32), packing.owners_RN], 1)
  return jnp.where(valid_BM, owners + 1, 0), jnp.pad(packing.ages_RN, ((0, 0), (M - N, 0)))


def sights(cfg: ModelConfig, form: Form, positions_BGT, valid_BGT, context, packing: Packing | None, dtype):
  """(rotary tables of each part, masks), with a leading axis of kinds of layers where there are several.

  Masks: of what each segment of keys shows to the blocks, then of the prompts to themselves. A kernel makes its own.
  """
  B, G, T = positions_BGT.shape
  length = (T - packing.valid_RN.shape[1]) // packing.groups + packing.longest if packing else T
  length += sum(kv.positions.shape[-1] for kv in context)
  at, valid = (parts_of(a.reshape(B, G * T), form) for a in (positions_BGT, valid_BGT))
  kinds = []
  for window in cfg.windows:
    tables = [rope_tables(a, length, cfg.head_width, *cfg.rope_of(window), dtype) for a in at]
    if form.kernel:
      kinds.append((tables, _ids_and_ages(packing, valid_BGT[:, 0])))
      continue
    own = _seen_in_blocks(at[-1], packing, form, window) if packing else visible(at[-1], at[-1], valid[-1], window)
    masks = [*(visible(at[-1], kv.positions, kv.valid, window) for kv in context), own]
    if form.prompts:
      mine = [of_owners(a[0], packing.owners_RN, form, 1) for a in (at, valid)]
      masks = [visible(at[1], *mine, window), own, visible(at[0], at[0], valid[0], window)]
    kinds.append((tables, masks))
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


def attention(q, k, v, context, sight, form: Form, cfg: ModelConfig, owners_RN=None, kind=None):
  """Attention of the parts of a row (`parts_of`), each `[B, K, G, R, T, E]`, over their keys `[B, K, G, T, E]`.

  Args:
    q: of all parts, or of the blocks alone. context: (keys, values) of segments that all see.
    sight: masks, as `sights` makes them. owners_RN: of a packing.
  """
  if form.kernel:
    return [row_attention(q[0], k[0], v[0], *sight, form.kernel, cfg, kind)]
  prompts = [[of_owners(a[0], owners_RN, form, 2) for a in (k, v)]] if len(k) > 1 else []
  pairs = [*context, *prompts, [looked_back(a[-1], form.back, 2) for a in (k, v)]]
  run = lambda q, *segments: attend(q, segments, cfg.attention_scale, cfg.attention_cap)  # noqa: E731
  out = [run(q[-1], *((*pair, mask) for pair, mask in zip(pairs, sight, strict=False)))]
  return [run(q[0], (k[0], v[0], sight[-1])), *out] if len(q) > 1 else out

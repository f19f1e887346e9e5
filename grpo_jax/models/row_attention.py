"""Attention of packed rows in one kernel: a prompt and its completions, which may begin anywhere behind it.

Splash attention (Pallas, in jax) on TPUs, where the scores never reach memory; cuDNN's through `jax.nn` on GPUs.
"""

import functools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernels,
  splash_attention_mask_info as tables,
)
from jax.sharding import PartitionSpec as P

from grpo_jax.distributed.mesh import row_spec
from grpo_jax.models.config import ModelConfig

LANES = 128  # tokens of the smallest block
BLOCKS = (512, 256, LANES)  # tokens of a block of the kernel


@dataclass(frozen=True)
class Row:
  """Who sees whom in a row of prompts of `length` tokens and then completions of at most T: one's prompt, one's own.

  A query is known by its code, which tells its index and its age in its completion; groups are kept apart by ids.
  `window`: tokens that it looks back over, its own included; 0 is all. `whole`: completions begin at multiples of T,
  else anywhere.
  """

  length: int
  prompts: int
  T: int
  whole: bool
  window: int = 0
  front: int = 0  # tokens of padding before the first prompt

  @property
  def shared(self) -> int:
    """Tokens before the first completion."""
    return self.front + self.prompts * self.length

  @property
  def _bits(self) -> int:
    return (self.T - 1).bit_length()

  def codes(self, ages_RM):
    """index · 2^bits + age of the tokens of a row; ages in prompts are 0. ValueError where that is too large."""
    M = ages_RM.shape[1]
    if M << self._bits >= 2**31:
      raise ValueError(f"a row of {M} tokens with completions of at most {self.T} is too long for model.attention="
                       "'splash'; lower train.micro_members, or set model.attention='xla'.")
    return (np.arange(M, dtype=np.int32)[None] << self._bits) + ages_RM

  def __call__(self, codes, k):
    """Whether queries see keys, numpy or jax integers that broadcast."""
    q, age = codes >> self._bits, codes & ((1 << self._bits) - 1)
    sees = (k <= q) & ((k < self.shared) | (k >= q - age))
    if self.window:  # positions: a prompt ends right before the first token of each of its completions
      left = (self.shared - 1 - k) % self.length if self.prompts > 1 else self.shared - 1 - k  # of the key's prompt
      distance = jnp.where((k < self.shared) & (q >= self.shared), age + left + 1, q - k)
      sees = sees & (distance < self.window)
    return sees

  def seen(self, q0: int, q1: int, k0: int, k1: int) -> tuple[bool, bool]:
    """(whether any of the queries from q0 to q1 may see any of the keys from k0 to k1, whether all see all of them)."""
    if k0 > q1:
      return False, False
    near = lambda distance: not self.window or distance < self.window  # noqa: E731
    if k0 < self.shared:
      distance = (q0 if q0 < self.shared else self.shared) - min(k1, self.shared - 1)
      some = k1 >= self.shared or self.prompts > 1 or near(distance)  # each of several prompts has its own end
      return some, k1 < self.shared and k1 <= q0 and not self.window
    key, first = min(k1, q1), self._first
    query = max(q0, key)
    all_see = self.whole and k1 <= q0 and first(q1) <= k0 and not self.window
    return first(query) <= key and near(query - key), all_see

  def _first(self, q: int) -> int:
    """Index of the first token of the completion of a query, the least that it may be where it is not known."""
    own = q - self.shared
    return self.shared + (own // self.T * self.T if self.whole else max(0, own - self.T + 1))


class _Mask(splash.Mask):
  """A `Row` as the kernel asks for it: looked up by blocks on the host, computed in place on the device.

  The host only asks whether any and whether all of a block is true, so a block is told as these two.
  """

  def __init__(self, row: Row, M: int):
    self.mask_function, self._shape = row, (M, M)
    self.q_sequence = np.arange(M, dtype=np.int32)  # the codes take its place

  @property
  def shape(self):
    return self._shape

  def __getitem__(self, blocks):
    q, k = (block.indices(size) for block, size in zip(blocks, self._shape, strict=True))
    return np.array(self.mask_function.seen(q[0], q[1] - 1, k[0], k[1] - 1))

  def __eq__(self, other):
    return isinstance(other, _Mask) and (self.mask_function, self._shape) == (other.mask_function, other._shape)

  def __hash__(self):
    return hash((self.mask_function, self._shape))


@functools.lru_cache(maxsize=64)
def _kernel(row: Row, heads: int, M: int, block: int, cap: float, interpret: bool):
  """The kernel for rows of this form, its tables as host arrays, so that it serves any mesh and any trace."""
  mask, one = splash.MultiHeadMask([_Mask(row, M)] * heads), {"head_shards": 1, "q_seq_shards": 1}
  forward, function = tables.process_mask(mask, (block, block), **one)
  back, _ = tables.process_mask_dkv(mask, (block, block), **one)
  sizes = ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")
  return functools.partial(
    kernels.SplashAttentionKernel, block_sizes=kernels.BlockSizes(**dict.fromkeys(sizes, block)), is_mqa=False,
    save_residuals=False, mask_function=function, mask_value=kernels.DEFAULT_MASK_VALUE,
    attn_logits_soft_cap=cap or None, residual_checkpoint_name=None, interpret=interpret), forward, back


def _by_splash(row: Row, q_RHME, k_RKME, v_RKME, ids_RM, codes_RM, block: int, scale: float, cap: float, interpret):
  make, forward, back = _kernel(row, q_RHME.shape[1], q_RHME.shape[2], block, cap, interpret)

  def attend(q, k, v, ids, codes):
    forward_of, back_of = (info._replace(q_sequence=codes) for info in (forward, back))
    return make(forward_of, forward_of, back_of)(q, k, v, splash.SegmentIds(ids, ids))

  return jax.vmap(attend)((q_RHME * scale).astype(q_RHME.dtype), k_RKME, v_RKME, ids_RM, codes_RM)


def by_nn(row: Row, q_RHME, k_RKME, v_RKME, ids_RM, codes_RM, scale: float, implementation: str = "cudnn"):
  """The same through `jax.nn.dot_product_attention`, the mask of the rows as an array `[R, 1, M, M]`."""
  q, k, v = (jnp.swapaxes(a, 1, 2) for a in (q_RHME, k_RKME, v_RKME))
  sees = row(codes_RM[:, :, None], jnp.arange(codes_RM.shape[1])[None, None])
  mask = (sees & (ids_RM[:, :, None] == ids_RM[:, None]))[:, None]
  out = jax.nn.dot_product_attention(q, k, v, mask=mask, scale=scale, implementation=implementation)
  return jnp.swapaxes(out, 1, 2)


def _laid_out(row: Row, M: int) -> tuple[int, int, int]:
  """(tokens of a block, padding in front, padding behind): the largest blocks that pad a row by an eighth at most.

  Completions begin where a block does, and end there too if they are whole and T allows it.
  """
  for block in BLOCKS:
    front = -row.shared % block
    behind = -(front + M) % block
    fits = not row.whole or row.shared == M or row.T % LANES or row.T % block == 0
    if fits and (front + behind <= M // 8 or block == LANES):
      return block, front, behind
  raise AssertionError("unreachable: the smallest block always fits")


def _here(q_RKRME, k_RKME, v_RKME, ids_RM, ages_RM, *, row: Row, cfg: ModelConfig):
  """The attention of one device."""
  R, K, _, repeats, M, E = q_RKRME.shape
  block, front, behind = _laid_out(row, M)
  row = replace(row, front=front)
  pad = lambda a, axis: jnp.pad(a, [(front, behind) if i == axis else (0, 0) for i in range(a.ndim)])  # noqa: E731
  q, k, v = pad(q_RKRME.reshape(R, K * repeats, M, E), 2), pad(k_RKME[:, :, 0], 2), pad(v_RKME[:, :, 0], 2)
  # Tokens see those of their id only. Padding sees padding, itself at least, so that no row of the softmax is empty.
  arrays = (row, q, k, v, pad(ids_RM, 1), row.codes(pad(ages_RM, 1)))
  if cfg.attention == "cudnn":
    out = by_nn(*arrays, cfg.attention_scale)
  else:
    out = _by_splash(*arrays, block, cfg.attention_scale, cfg.attention_cap, cfg.attention == "splash_interpreted")
  return out[:, :, front : front + M].reshape(q_RKRME.shape)


def row_attention(q_RKRME, k_RKME, v_RKME, ids_RM, ages_RM, row: Row, cfg: ModelConfig, kind=None):
  """Softmax attention of the tokens of rows, `[R, K, 1, H/K, M, E]`, over keys and values `[R, K, 1, M, E]`.

  Args:
    ids_RM: groups of the row from 1, 0 for padding; no id sees another. ages_RM: places in completions, 0 in prompts.
    kind: index into `cfg.windows` of this layer; None where there is one kind.
  Returns:
    The shape of the queries, on a mesh computed where rows and heads are. What invalid tokens get means nothing.
  """
  run = [functools.partial(_here, row=replace(row, window=window), cfg=cfg) for window in cfg.windows]
  choose = lambda kind, *arrays: run[0](*arrays) if kind is None else jax.lax.switch(kind, run, *arrays)  # noqa: E731
  arrays, mesh = (q_RKRME, k_RKME, v_RKME, ids_RM, ages_RM), jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return choose(kind, *arrays)
  rows = row_spec(mesh, (q_RKRME.shape[0], 1, 1))[0]
  heads = "tensor" if k_RKME.shape[1] % mesh.shape["tensor"] == 0 else None
  mine = P(rows, heads)
  place = jax.shard_map(choose, mesh=mesh, in_specs=(P(), mine, mine, mine, P(rows), P(rows)), out_specs=mine,
                        check_vma=False)
  return place(kind, *arrays)

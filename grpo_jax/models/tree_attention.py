"""Attention of a whole group in one kernel: its branches and their prefix are one packed row under the mask of a tree.

Splash attention (Pallas, in jax) on TPUs, where the scores never reach memory; cuDNN's through `jax.nn` on GPUs.
"""

import functools
from dataclasses import dataclass

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

LANES = 128  # lengths of packed rows are padded to multiples of it
BLOCKS = (512, 256, 128)  # tokens of a block of the kernel: the first that divides all lengths, so that none is mixed


@dataclass(frozen=True)
class Tree:
  """Who sees whom in a packed row, from indices alone: all of it but padding is known before the run.

  Queries are branches of T tokens, one after the other; keys are `shared` of the prefix, its last token last, and then
  the queries' own. A token sees the prefix and its own branch up to itself; with a window, only the last of those.
  """

  shared: int
  T: int
  window: int = 0

  def __call__(self, q, k):
    """Whether query q sees key k, numpy or jax integers that broadcast."""
    own, prefix = k - self.shared, k < self.shared
    start = self._branch(q)
    sees = prefix | ((self._branch(own) == start) & (own <= q))
    if self.window:  # positions: the prefix ends right before the first token of every branch
      back = prefix * (self.shared - start - k) + (1 - prefix) * -own + q
      sees = sees & (back < self.window)
    return sees

  def _branch(self, i):
    """Index of the first token of the branch of token i."""
    if self.T & (self.T - 1) == 0:
      return i & -self.T  # the kernel has no quick division
    return i // self.T * self.T


class _TreeMask(splash.Mask):
  """A `Tree` as the kernel asks for it: looked up by blocks on the host, computed in place on the device."""

  def __init__(self, tree: Tree, queries: int, keys: int):
    self.mask_function, self._shape = tree, (queries, keys)
    self.q_sequence = np.arange(queries, dtype=np.int32)

  @property
  def shape(self):
    return self._shape

  def __getitem__(self, blocks):
    q, k = (np.arange(*block.indices(size)) for block, size in zip(blocks, self._shape, strict=True))
    return self.mask_function(q[:, None], k[None])

  def __eq__(self, other):
    return isinstance(other, _TreeMask) and (self.mask_function, self._shape) == (other.mask_function, other._shape)

  def __hash__(self):
    return hash((self.mask_function, self._shape))


def _block(*lengths: int) -> int:
  return next(size for size in BLOCKS if not any(n % size for n in lengths))


@functools.lru_cache(maxsize=64)
def _kernel(tree: Tree, heads: int, queries: int, keys: int, cap: float, interpret: bool):
  """The kernel for a row of this form, its tables as host arrays, so that it serves any mesh and any trace."""
  branch = 0 if tree.T % LANES else tree.T
  q, k = _block(queries, branch), _block(keys, branch, tree.shared)
  mask, one = splash.MultiHeadMask([_TreeMask(tree, queries, keys)] * heads), {"head_shards": 1, "q_seq_shards": 1}
  forward, function = tables.process_mask(mask, (q, k), **one)
  back, _ = tables.process_mask_dkv(mask, (q, k), **one)
  blocks = kernels.BlockSizes(
    block_q=q, block_kv=k, block_q_dkv=q, block_kv_dkv=k, block_q_dq=q, block_kv_dq=k)
  return kernels.SplashAttentionKernel(
    forward, forward, back, block_sizes=blocks, is_mqa=False, save_residuals=False, mask_function=function,
    mask_value=kernels.DEFAULT_MASK_VALUE, attn_logits_soft_cap=cap or None, residual_checkpoint_name=None,
    interpret=interpret)


def _by_splash(tree: Tree, q_BHQE, k_BKSE, v_BKSE, ids_BQ, ids_BS, scale: float, cap: float, interpret: bool):
  kernel = _kernel(tree, q_BHQE.shape[1], q_BHQE.shape[2], k_BKSE.shape[2], cap, interpret)
  segments = splash.SegmentIds(ids_BQ, ids_BS)
  return jax.vmap(kernel)((q_BHQE * scale).astype(q_BHQE.dtype), k_BKSE, v_BKSE, segments)


def by_nn(tree: Tree, q_BHQE, k_BKSE, v_BKSE, ids_BQ, ids_BS, scale: float, implementation: str = "cudnn"):
  """The same through `jax.nn.dot_product_attention`, the mask of the tree as an array `[B, 1, Q, S]`."""
  q, k, v = (jnp.swapaxes(a, 1, 2) for a in (q_BHQE, k_BKSE, v_BKSE))
  sees_QS = tree(jnp.arange(ids_BQ.shape[1])[:, None], jnp.arange(ids_BS.shape[1])[None])
  mask = sees_QS[None] & (ids_BQ[:, :, None] == ids_BS[:, None])
  out = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None], scale=scale, implementation=implementation)
  return jnp.swapaxes(out, 1, 2)


def _padded(a, axis: int, front: bool = False):
  """Zeros up to a multiple of `LANES`, behind or in front."""
  missing = -a.shape[axis] % LANES
  return jnp.pad(a, [((missing, 0) if front else (0, missing)) if i == axis else (0, 0) for i in range(a.ndim)])


def _packed(q_BKGRTE, own, prefix, *, cfg: ModelConfig, window: int):
  """The attention of one device: packs its branches, runs the kernel, and takes the row apart again."""
  B, K, G, R, T, E = q_BKGRTE.shape
  row = q_BKGRTE.transpose(0, 1, 3, 2, 4, 5).reshape(B, K * R, G * T, E)
  k, v, ids = own[0].reshape(B, K, G * T, E), own[1].reshape(B, K, G * T, E), own[2].reshape(B, G * T)
  q, ids_Q, shared = _padded(row, 2), _padded(ids, 1), 0
  keys = (_padded(k, 2), _padded(v, 2), ids_Q)
  if prefix is not None:
    first = (*(_padded(a[:, :, 0], 2, front=True) for a in prefix[:2]), _padded(prefix[2][:, 0], 1, front=True))
    shared, keys = first[2].shape[1], tuple(jnp.concatenate(pair, -1 if pair[0].ndim == 2 else 2)
                                            for pair in zip(first, keys, strict=True))
  # Valid tokens see valid ones only. Others see others, themselves at least, so that no row is empty.
  ids_Q, ids_S = ids_Q.astype(jnp.int32), keys[2].astype(jnp.int32)
  tree = Tree(shared, T if G > 1 else q.shape[2], window)
  arrays = (tree, q, keys[0], keys[1], ids_Q, ids_S, cfg.attention_scale)
  if cfg.attention == "cudnn":
    out = by_nn(*arrays)
  else:
    out = _by_splash(*arrays, cfg.attention_cap, cfg.attention == "splash_interpreted")
  return out[:, :, : G * T].reshape(B, K, R, G, T, E).transpose(0, 1, 3, 2, 4, 5)


def tree_attention(q_BKGRTE, segments, cfg: ModelConfig, kind=None):
  """Softmax attention of G branches of T tokens over a prefix that they share and over themselves.

  Positions must count up along T from the end of the prefix, whose padding is on its left.

  Args:
    segments: (keys `[B, K, G, S, E]`, values, valid `[B, G, S]`) of the prefix (G = 1), where there is one, and of the
      branches themselves, last.
    kind: index into `cfg.windows` of this layer; None where there is one kind.
  Returns:
    `[B, K, G, R, T, E]`, on a mesh computed where the rows and heads are. Rows of invalid tokens mean nothing.
  """
  *before, own = segments
  prefix = before[0] if before else None
  run = [functools.partial(_packed, cfg=cfg, window=window) for window in cfg.windows]
  choose = lambda kind, *arrays: run[0](*arrays) if kind is None else jax.lax.switch(kind, run, *arrays)  # noqa: E731
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return choose(kind, q_BKGRTE, own, prefix)
  B, K, G, _, T, _ = q_BKGRTE.shape
  rows, members, _ = row_spec(mesh, (B, G, T))
  heads = "tensor" if K % mesh.shape["tensor"] == 0 else None
  mine, shared = P(rows, heads, members), P(rows, heads)
  specs = (P(), mine, (mine, mine, P(rows, members)), (shared, shared, P(rows)) if prefix else None)
  place = jax.shard_map(choose, mesh=mesh, in_specs=specs, out_specs=mine, check_vma=False)
  return place(kind, q_BKGRTE, own, prefix)

"""Packed rows: the real tokens of completions, one behind the other, behind the prompts of their groups."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from grpo_jax.distributed.mesh import ROW_AXES, axes_of
from grpo_jax.types import Prompts

SMALLEST = 32  # tokens of a block of a packed row: below, products are too small to be fast


@struct.dataclass
class Packing:
  """Where the tokens of `[B, G, T]` stand in rows `[R, N]`.

  A row holds equally many groups, each a part of the members of one where a mesh splits those. Groups begin where a
  block does. Key n is visible to query m when n ≤ m < `ends_RN[n]`: to the rest of its own completion.
  """

  ages_RN: jax.Array  # t of the token
  ends_RN: jax.Array  # index after the last token of its completion
  valid_RN: jax.Array  # false behind the last completion of a group
  owners_RN: jax.Array  # which group of the row it belongs to
  sources_RN: jax.Array | None  # index into the row's own part of `[B, G, T]`; None where `whole`
  places_BGT: jax.Array | None  # n of the token; None where `whole`
  mask_BGT: jax.Array  # the tokens there are
  groups: int = struct.field(pytree_node=False)  # of a row
  block: int = struct.field(pytree_node=False)  # tokens of a block
  whole: bool = struct.field(pytree_node=False)  # a row is one group whose completions have room for all T tokens

  @property
  def longest(self) -> int:
    """T."""
    return self.mask_BGT.shape[-1]

  def take(self, a_BGT):
    """The same numbers in rows, `[B, G, T, …]` → `[R, N, …]`; whatever it may be where not valid."""
    R, rest = self.valid_RN.shape[0], a_BGT.shape[3:]
    flat = a_BGT.reshape(R, -1, *rest)
    return flat if self.whole else jnp.take_along_axis(flat, self.sources_RN.reshape(R, -1, *(1 for _ in rest)), 1)

  def back(self, a_RN):
    """Rows back to `[B, G, T, …]`, 0 where the mask is false, NaN for a token that the rows had no room for."""
    (R, N), rest, found = a_RN.shape[:2], a_RN.shape[2:], a_RN
    if not self.whole:
      places = self.places_BGT.reshape(R, -1, *(1 for _ in rest))
      found = jnp.where(places < N, jnp.take_along_axis(a_RN, jnp.minimum(places, N - 1), 1), jnp.nan)
    mask = self.mask_BGT.reshape(*self.mask_BGT.shape, *(1 for _ in rest))
    return jnp.where(mask, found.reshape(*self.mask_BGT.shape, *rest), 0)

  def chunk(self, tokens: int) -> int:
    """Tokens of a row in a chunk that holds at most `tokens` of each completion; 0 stays 0."""
    (B, G, _), (R, N) = self.mask_BGT.shape, self.valid_RN.shape
    return tokens and next(n for n in range(min(N, tokens * B * G // R), 0, -1) if N % n == 0)


def block_of(N: int, T: int) -> tuple[int, int]:
  """(size of the blocks of N packed tokens, blocks to look back): fewest keys, where completions have at most T."""
  sizes = [size for size in range(min(N, SMALLEST), N + 1) if N % size == 0]
  look_back = lambda size: min(-(-(T - 1) // size), N // size - 1)  # noqa: E731
  size = min(sizes, key=lambda size: (size * (1 + look_back(size)), -size))
  return size, look_back(size)


def split_of(mesh, B: int, G: int) -> tuple[int, int]:
  """(rows that B groups of G are packed into, parts that the members of each are split into first).

  One row for each device, see `axes_of`.
  """
  if mesh.empty or not set(ROW_AXES) <= set(mesh.axis_names):
    return 1, 1
  prompts, members = (math.prod(mesh.shape[axis] for axis in axes) for axes in axes_of(mesh, B))
  return (prompts * members, members) if G % members == 0 else (prompts, 1)


def starts_of(lengths_RbG, block: int):
  """Where each completion begins in its row, and where each ends; groups `[R, b, G]` begin where a block does."""
  xp = np if isinstance(lengths_RbG, np.ndarray) else jnp
  ends = xp.cumsum(lengths_RbG, 2)
  rounded = -(-ends[:, :, -1:] // block) * block
  before = xp.cumsum(rounded, 1) - rounded
  return before + ends - lengths_RbG, before + ends


def packed(mask_BGT, N: int = 0) -> Packing:
  """The packing of completions whose tokens the mask counts from the front; N: tokens of a row, 0 is room for all."""
  B, G, T = mask_BGT.shape
  rows, parts = split_of(jax.sharding.get_abstract_mesh(), B, G)
  if not N:
    R, N = B * parts, G // parts * T
    n = np.arange(N)[None]
    full = lambda a: jnp.broadcast_to(a, (R, N))  # noqa: E731
    return Packing(full(n % T), full((n // T + 1) * T), mask_BGT.reshape(R, N), full(0 * n), None, None, mask_BGT, 1, T,
                   True)
  b, G, block = B * parts // rows, G // parts, block_of(N, T)[0]
  lengths = jnp.sum(mask_BGT.reshape(rows, b, G, T), -1, dtype=jnp.int32)
  starts, ends = (a.reshape(rows, b * G) for a in starts_of(lengths, block))
  n = jnp.arange(N)[None]
  which = jnp.sum(n[..., None] >= starts[:, None], -1) - 1
  start, end = (jnp.take_along_axis(a, which, 1) for a in (starts, ends))
  ages = jnp.minimum(n - start, T - 1)
  places = (starts[..., None] + jnp.arange(T)[None, None]).reshape(mask_BGT.shape)
  return Packing(ages, end, n < end, which // G, which * T + ages, places, mask_BGT, b, block, False)


def fed(prompts: Prompts, tokens_BGT, packing: Packing):
  """Tokens, positions and validity `[R, 1, M]` of the packed rows of some groups, as the decoder takes them.

  A row is its groups' prompts without their last tokens, `[b, P-1]`, and then the completions, each as `[last prompt
  token, c_0 … c_{len-2}]`: the token at place t of a completion predicts c_t, so the shift by one is here and nowhere
  else.
  """
  B, G, _ = tokens_BGT.shape
  mesh, (R, b) = jax.sharding.get_abstract_mesh(), (packing.valid_RN.shape[0], packing.groups)
  each = lambda a: jnp.repeat(a, R * b // B, 0) if R * b > B else a  # noqa: E731
  last = jnp.broadcast_to(prompts.tokens_BP[:, -1:, None], (B, G, 1))
  own, mask = packing.take(jnp.concatenate([last, tokens_BGT[..., :-1]], -1)), each(prompts.mask_BP)
  positions = jnp.maximum(jnp.cumsum(mask, 1, dtype=jnp.int32) - 1, 0)
  first = jnp.take_along_axis(positions[:, -1].reshape(R, b), packing.owners_RN, 1)
  room = -(mask.shape[1] - 1) % dict(mesh.shape).get("sequence", 1)  # so that rows can be split over it
  before = (jnp.pad(a[:, :-1], ((0, 0), (room, 0))).reshape(R, -1) for a in (each(prompts.tokens_BP), positions, mask))
  behind = (own, first + packing.ages_RN, packing.valid_RN)
  return tuple(jnp.concatenate(row, 1)[:, None] for row in zip(before, behind, strict=True))

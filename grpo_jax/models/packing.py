"""Packed rows: the real tokens of a group's completions, one completion behind the other, behind their prompt."""

import math

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.distributed.mesh import ROW_AXES, axes_of
from grpo_jax.types import Prompts


@struct.dataclass
class Packing:
  """Where the tokens of `[B, G, T]` stand in rows `[R, N]`.

  A group is one row (R = B), or several of equal numbers of members where a mesh splits groups. Key n is visible to
  query m when n ≤ m < `ends_RN[n]`: the rest of its own completion and nothing of the others.
  """

  ages_RN: jax.Array  # t of the token
  ends_RN: jax.Array  # index after the last token of its completion
  valid_RN: jax.Array  # false behind the last completion
  members_RN: jax.Array | None  # g of the token, within its row; None where `whole`
  places_BGT: jax.Array | None  # n of the token; None where `whole`
  mask_BGT: jax.Array  # the tokens there are
  whole: bool = struct.field(pytree_node=False)  # every completion has room for all T tokens: nothing moves

  @property
  def longest(self) -> int:
    """T."""
    return self.mask_BGT.shape[-1]

  def take(self, a_BGT):
    """The same numbers in rows, `[B, G, T, …]` → `[R, N, …]`; whatever it may be where not valid."""
    R, rest = self.valid_RN.shape[0], a_BGT.shape[3:]
    flat = a_BGT.reshape(R, -1, *rest)
    if self.whole:
      return flat
    source_RN = self.members_RN * self.longest + self.ages_RN
    return jnp.take_along_axis(flat, source_RN.reshape(*source_RN.shape, *(1 for _ in rest)), 1)

  def back(self, a_RN):
    """Rows back to `[B, G, T, …]`, 0 where the mask is false, NaN for a token that the rows had no room for."""
    B, G, T = self.mask_BGT.shape
    R, N, rest = *a_RN.shape[:2], a_RN.shape[2:]
    found = a_RN
    if not self.whole:
      places = self.places_BGT.reshape(R, -1, *(1 for _ in rest))
      found = jnp.take_along_axis(a_RN, jnp.minimum(places, N - 1), 1)
      found = jnp.where(places < N, found, jnp.nan)
    mask = self.mask_BGT.reshape(B, G, T, *(1 for _ in rest))
    return jnp.where(mask, found.reshape(B, G, T, *rest), 0)

  def chunk(self, tokens: int) -> int:
    """Tokens of a row in a chunk that holds at most `tokens` of each completion; 0 stays 0."""
    (B, G, _), (R, N) = self.mask_BGT.shape, self.valid_RN.shape
    return tokens and next(n for n in range(min(N, tokens * B * G // R), 0, -1) if N % n == 0)


def rows_per_group(mesh, B: int, G: int) -> int:
  """Into how many rows a group is cut: one for each device that its members are split over, see `axes_of`."""
  if mesh.empty or not set(ROW_AXES) <= set(mesh.axis_names):
    return 1
  parts = math.prod(mesh.shape[axis] for axis in axes_of(mesh, B)[1])
  return parts if G % parts == 0 else 1


def packed(mask_BGT, N: int = 0) -> Packing:
  """The packing of completions whose tokens the mask counts from the front; N: tokens of a row, 0 is room for all."""
  B, G, T = mask_BGT.shape
  parts = rows_per_group(jax.sharding.get_abstract_mesh(), B, G)
  R, G = B * parts, G // parts
  N = min(N or G * T, G * T)
  n = jnp.arange(N)[None]
  if N == G * T:
    rows = lambda a: jnp.broadcast_to(a, (R, N))  # noqa: E731
    return Packing(rows(n % T), rows((n // T + 1) * T), mask_BGT.reshape(R, N), None, None, mask_BGT, True)
  lengths_RG = jnp.sum(mask_BGT.reshape(R, G, T), -1, dtype=jnp.int32)
  ends_RG = jnp.cumsum(lengths_RG, 1)
  starts_RG = ends_RG - lengths_RG
  members = jnp.minimum(jnp.sum(n[..., None] >= ends_RG[:, None], -1), G - 1)
  start, end = (jnp.take_along_axis(a, members, 1) for a in (starts_RG, ends_RG))
  places = (starts_RG[..., None] + jnp.arange(T)[None, None]).reshape(mask_BGT.shape)
  return Packing(jnp.minimum(n - start, T - 1), end, n < ends_RG[:, -1:], members, places, mask_BGT, False)


def fed(prompts: Prompts, tokens_BGT, packing: Packing):
  """Tokens, positions and validity `[R, 1, P-1+N]` of the packed rows of some groups, as the decoder takes them.

  A row is the prompt without its last token, and then each completion's `[last prompt token, c_0 … c_{len-2}]`: the
  token at place t of a completion predicts c_t, so the shift by one is here and nowhere else.
  """
  B, G, _ = tokens_BGT.shape
  mesh, (R, N), P = jax.sharding.get_abstract_mesh(), packing.valid_RN.shape, prompts.tokens_BP.shape[1]
  each = lambda a: jnp.repeat(a, R // B, 0) if R > B else a  # noqa: E731
  last = jnp.broadcast_to(prompts.tokens_BP[:, -1:, None], (B, G, 1))
  own, mask = packing.take(jnp.concatenate([last, tokens_BGT[..., :-1]], -1)), each(prompts.mask_BP)
  positions = jnp.maximum(jnp.cumsum(mask, 1, dtype=jnp.int32) - 1, 0)
  rows = ((each(prompts.tokens_BP)[:, :-1], own), (positions[:, :-1], positions[:, -1:] + packing.ages_RN),
          (mask[:, :-1], packing.valid_RN))
  room = -(P - 1 + N) % dict(mesh.shape).get("sequence", 1)  # so that rows can be split over it
  return tuple(jnp.pad(jnp.concatenate(row, 1), ((0, 0), (room, 0)))[:, None] for row in rows)

"""Which completions share a packed row: prompts and members are dealt out so that rows have about equally many tokens.

Their order means nothing to a loss, which is a sum over tokens; the uid of a prompt names its samples.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from grpo_jax.models.packing import block_of, split_of, starts_of


@dataclass(frozen=True)
class Cut:
  """How a minibatch is cut to save memory and time; never changes a result. 0 is the whole axis."""

  prompts: int = 0  # prompts per microbatch
  members: int = 0  # completions of each prompt per microbatch
  logit_chunk: int = 0  # tokens of T per chunk of logits; 0 chooses
  row: int = 0  # tokens of a packed row (models/packing.py), as many as any has at most; 0 is room for all
  named: bool = False  # members are told apart by their places (chosen, rejected), so these are kept

  def sizes(self, B: int, G: int) -> tuple[int, int]:
    """(prompts, members) of a microbatch of `[B, G]`."""
    return self.prompts or B, self.members or G


def dealt(tokens, bins: int):
  """Indices `[…, bins, n / bins]` of the last axis: the fullest first, to one bin after the other and back again."""
  xp = np if isinstance(tokens, np.ndarray) else jnp
  ranks = xp.argsort(-tokens, axis=-1, stable=True).reshape(*tokens.shape[:-1], -1, bins)
  back = (np.arange(ranks.shape[-2]) % 2 == 1).reshape(*(1 for _ in tokens.shape[:-1]), -1, 1)
  return xp.swapaxes(xp.where(back, ranks[..., ::-1], ranks), -1, -2)


def member_order(lengths_BG, cut: Cut, mesh):
  """The members of each group in the order in which they are cut into rows, `[B, G]`; None where that is their own."""
  (B, G), (b, g) = lengths_BG.shape, cut.sizes(*lengths_BG.shape)
  parts = G // g * split_of(mesh, b, g)[1]
  if parts == 1 or cut.named:
    return None
  return dealt(lengths_BG, parts).reshape(B, G)


def group_order(tokens_B, microbatches: int, cut: Cut, mesh, G: int):
  """The order of groups (or parts of groups of G members) from which every `microbatches`-th one makes a microbatch.

  Devices take contiguous parts of a microbatch.
  """
  micro = tokens_B.shape[0] // microbatches
  rows, parts = split_of(mesh, micro, G)
  bins = dealt(tokens_B, rows // parts * microbatches)  # device, microbatch
  return bins.reshape(rows // parts, microbatches, -1).swapaxes(1, 2).reshape(-1)


def fullest_row(lengths_BG: np.ndarray, T: int, cut: Cut, mesh) -> int:
  """Tokens of the fullest row when completions of these lengths are packed into rows of `cut.row`, on the host."""
  B, G = lengths_BG.shape
  b, g = cut.sizes(B, G)
  members = member_order(lengths_BG, cut, mesh)
  lengths = (lengths_BG if members is None else np.take_along_axis(lengths_BG, members, 1)).reshape(-1, g)
  microbatches = len(lengths) // b
  lengths = lengths[group_order(lengths.sum(1), microbatches, cut, mesh, g)]
  rows, parts = split_of(mesh, b, g)
  micro = lengths.reshape(b, microbatches, g).swapaxes(0, 1).reshape(microbatches * rows, -1, g // parts)
  return int(starts_of(micro, block_of(cut.row, g // parts, T)[0])[1].max())

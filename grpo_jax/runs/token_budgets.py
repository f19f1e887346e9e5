"""How many tokens packed rows have: a few sizes are compiled, and the host takes the smallest that holds a rollout."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from jax.sharding import Mesh

from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.algorithms.table import Signals
from grpo_jax.distributed.multihost import fetch
from grpo_jax.models.packing import split_of
from grpo_jax.training.dealing import Cut, fullest_row
from grpo_jax.types import Rollout

USUAL = (0.3, 0.6)
LONG = 64  # tokens; below, a program more costs more than it saves


@dataclass(frozen=True)
class Budgets:
  """The sizes of packed rows that are compiled, as shares of the padded tokens, the smallest first and 1 last."""

  shares: tuple[float, ...]
  mesh: Mesh

  @classmethod
  def of(cls, shares, T: int, mesh: Mesh) -> "Budgets":
    """Those of `train.token_budgets`; None are the usual ones, where completions may be so long that they pay."""
    shares = (USUAL if T >= LONG else ()) if shares is None else shares
    return cls((*sorted(set(shares)), 1.0), mesh)

  def cut(self, cut: Cut, share: float, B: int, G: int, T: int) -> Cut:
    """The cut of `[B, G, T]` whose rows hold this share of the tokens they have room for, rounded up; 1 is all."""
    b, g = cut.sizes(B, G)
    rows, parts = split_of(self.mesh, b, g)
    most = b * parts // rows * (g // parts) * T
    unit = min(128, 2 ** max(0, int(math.log2(most / 16))))  # so that rows are cut into blocks of any size
    row = math.ceil(share * most / unit) * unit
    return dataclasses.replace(cut, row=row if row < most else 0)

  def least(self, cut: Cut, lengths_BG: np.ndarray, T: int) -> Cut:
    """The cut with the smallest rows that hold completions of these lengths (tokens)."""
    for share in self.shares:
      packed = self.cut(cut, share, *lengths_BG.shape, T)
      if not packed.row or fullest_row(lengths_BG, T, packed, self.mesh) <= packed.row:
        return packed
    return cut


def learned_lengths(lengths_BG: np.ndarray, rollout: Rollout, signals: Signals, spec: AlgorithmSpec) -> np.ndarray:
  """Tokens of each completion in the mask of `make_experience`, which leaves some completions out."""
  if spec.truncated == "mask":
    lengths_BG = lengths_BG * ~fetch(rollout.truncated_BG)
  return lengths_BG if signals.present_BG is None else lengths_BG * signals.present_BG

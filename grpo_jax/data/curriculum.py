"""A curriculum by pass rates: problems that are too hard or too easy now are passed over, by a table in the state."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from grpo_jax.data.example import Example
from grpo_jax.data.hashing import unit_hash
from grpo_jax.data.order import Stream

UNSEEN = -1.0  # in the table, for a problem without a rollout


@dataclass(frozen=True)
class Curriculum:
  """`config.curriculum`."""

  low: float
  high: float
  revisit: float
  skips: int
  momentum: float


@dataclass(frozen=True)
class Banded:
  """A stream that passes over problems whose running pass rate lies outside [low, high].

  What stands at a position does not change, only which positions are drawn: a pure function of (position, `rates`),
  so the table is all that a restart needs. Problems without a rollout are drawn; of the others outside the band the
  share `revisit` is drawn all the same, or their rates would never change again.
  """

  stream: Stream
  rates: np.ndarray  # by row of the source; UNSEEN where there is none
  low: float
  high: float
  revisit: float
  skips: int  # most positions passed over in a row

  def __getitem__(self, position: int) -> Example:
    return self.stream[position]

  def next(self, position: int) -> int:
    """The first position from this one on that is drawn."""
    for candidate in range(position, position + self.skips):
      rate = self.rates[self.stream.row(candidate)]
      if rate < 0 or self.low <= rate <= self.high or unit_hash("revisit", candidate) < self.revisit:
        return candidate
    return position + self.skips


def updated(rates: np.ndarray, rows: Iterable[int], passed: Iterable[float], momentum: float) -> np.ndarray:
  """The table after rollouts: r' = momentum · r + (1 - momentum) · passed, and `passed` itself the first time.

  Args:
    rates: `[rows of the source]`, float32.
    rows: the problem of each group.
    passed: share of right completions in each group.
  """
  rates = np.array(rates)
  for row, share in zip(rows, passed, strict=True):
    old = rates[row]
    rates[row] = share if old < 0 else momentum * old + (1 - momentum) * share
  return rates

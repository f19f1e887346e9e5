"""The order of the data: a pure function of (seed, position), so that a restart needs one integer.

Within one source, epoch e is a permutation of its rows that depends on (seed, e) alone. In a mixture, a fixed
periodic pattern says which source a position draws from and how often that source was drawn from before.
"""

import dataclasses
import functools

import numpy as np

from grpo_jax.data.example import Example
from grpo_jax.data.hashing import stable_hash
from grpo_jax.data.sources import MixtureSource, Source

PERIOD = 4096  # positions in a mixture's pattern; shares are exact to 1 / PERIOD


@functools.lru_cache(maxsize=64)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
  """Rows 0 … n-1 sorted by raw Philox draws: the same in every numpy, unlike `Generator.permutation`."""
  draws = np.random.Philox(key=stable_hash("order", seed, epoch)).random_raw(n)
  return np.argsort(draws, kind="stable")


def index_at(seed: int, position: int, n: int) -> int:
  """The row of an n-row source at a position; every row comes once in each epoch of n positions.

  Args:
    seed: any integer.
    position: draws before this one, >= 0.
    n: rows of the source, >= 1.

  Raises:
    ValueError: position or n is out of range.
  """
  if position < 0 or n < 1:
    raise ValueError(
      f"index_at: position={position} must be >= 0 and n={n} >= 1; check the data position and source."
    )
  epoch, offset = divmod(position, n)
  return int(_permutation(seed, epoch, n)[offset])


@functools.lru_cache(maxsize=64)
def _pattern(weights: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Source of each position of a period [PERIOD]; draws of each before it [PERIOD + 1, sources]."""
  shares = np.asarray(weights, np.float64) / np.sum(weights)
  counts = np.floor(shares * PERIOD).astype(np.int64)
  left = PERIOD - counts.sum()
  counts[np.argsort(counts - shares * PERIOD, kind="stable")[:left]] += 1
  chosen = np.zeros(PERIOD, np.int64)
  before = np.zeros((PERIOD + 1, len(weights)), np.int64)
  if counts.min() == 0:
    raise ValueError(
      f"mixture weights={weights}: each must be at least 1/{PERIOD} of their sum; drop the small one."
    )
  for t in range(PERIOD):  # the source furthest behind its share comes next
    chosen[t] = np.argmax(counts * (t + 1) - before[t] * PERIOD)
    before[t + 1] = before[t]
    before[t + 1, chosen[t]] += 1
  return chosen, before


def choice_at(weights: tuple[float, ...], position: int) -> tuple[int, int]:
  """(which source, how often it was chosen before) at a position of a mixture, in constant time."""
  chosen, before = _pattern(weights)
  period, offset = divmod(position, PERIOD)
  source = int(chosen[offset])
  return source, int(period * before[PERIOD, source] + before[offset, source])


@dataclasses.dataclass(frozen=True)
class Stream:
  """An endless, random-access sequence of examples: `stream[position]`. It has no state."""

  source: Source
  seed: int

  def row(self, position: int) -> int:
    """The row of the source that stands at a position; of a mixture, counted over its parts one after the other."""
    source, seed, before = self.source, self.seed, 0
    while isinstance(source, MixtureSource):
      choice, position = choice_at(source.weights, position)
      before += sum(map(len, source.sources[:choice]))
      source, seed = source.sources[choice], stable_hash("part", seed, choice)
    return before + index_at(seed, position, len(source))

  def __getitem__(self, position: int) -> Example:
    return self.source[self.row(position)]

  def next(self, position: int) -> int:
    """The first position from this one on that is drawn: this one, unless something is passed over."""
    return position

  def batch(self, position: int, n: int) -> list[Example]:
    """The n examples from `position` on."""
    return [self[position + i] for i in range(n)]

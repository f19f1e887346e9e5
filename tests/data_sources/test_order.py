"""Order is a pure function of (seed, position)."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest

from grpo_jax.data.example import Example
from grpo_jax.data.order import PERIOD, Stream, choice_at, index_at
from grpo_jax.data.sources import MixtureSource


@dataclasses.dataclass(frozen=True)
class Count:
  name: str
  n: int

  def __len__(self):
    return self.n

  def __getitem__(self, i):
    assert 0 <= i < self.n
    return Example(f"{self.name}{i}", str(i), source=self.name)


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_every_epoch_is_a_permutation_of_its_own(n):
  epochs = [[index_at(3, epoch * n + i, n) for i in range(n)] for epoch in range(3)]
  assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
  if n > 7:
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != [index_at(4, i, n) for i in range(n)]


def test_rows_are_evenly_mixed():
  firsts = np.bincount([index_at(seed, 0, 5) for seed in range(1000)], minlength=5)
  assert firsts.min() > 150 and firsts.max() < 250


def test_order_is_pinned_and_the_same_in_another_process():
  here = [index_at(7, i, 10) for i in range(12)]
  assert here == [8, 5, 4, 6, 0, 9, 2, 1, 3, 7, 4, 5]
  code = "from grpo_jax.data.order import index_at; print([index_at(7, i, 10) for i in range(11, -1, -1)])"
  environment = {**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": os.pathsep.join(sys.path)}
  out = subprocess.run(
    [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
  )
  assert out.stdout.strip() == str(here[::-1])


def test_position_out_of_range():
  with pytest.raises(ValueError, match="position=-1"):
    index_at(0, -1, 5)
  with pytest.raises(ValueError, match="n=0"):
    index_at(0, 0, 0)


@pytest.mark.parametrize(
  "weights", [(1.0,), (1.0, 1.0), (0.5, 0.3, 0.2), (7.0, 1.0, 0.01), (1.0, 2.0, 3.0, 4.0)]
)
def test_mixture_shares_are_close_at_every_position(weights):
  taken = np.zeros(len(weights), int)
  shares = np.asarray(weights) / sum(weights)
  for position in range(2 * PERIOD + 50):
    source, visit = choice_at(weights, position)
    assert visit == taken[source]  # so a source is read in its own order, without gaps
    taken[source] += 1
    assert np.abs(taken - shares * (position + 1)).max() < 2
  far = 10**12
  assert choice_at(weights, far * PERIOD)[0] == choice_at(weights, 0)[0]


def test_a_share_too_small_for_the_pattern_is_refused():
  with pytest.raises(ValueError, match="at least 1/4096"):
    choice_at((1.0, 1e-6), 0)


def test_stream_of_a_nested_mixture():
  inner = MixtureSource((Count("b", 5), Count("c", 4)), (1.0, 1.0))
  stream = Stream(MixtureSource((Count("a", 6), inner), (1.0, 2.0)), seed=1)
  batch = stream.batch(0, 36)
  assert batch == [stream[i] for i in range(36)] == [Stream(stream.source, 1)[i] for i in range(36)]
  assert [sum(e.source == name for e in batch) for name in "abc"] == [12, 12, 12]
  for name, n in (("a", 6), ("b", 5), ("c", 4)):
    rows = [e.prompt for e in batch if e.source == name]
    assert len(set(rows[:n])) == n == len(set(rows[n : 2 * n]))  # every row once in each pass
  assert stream.batch(5, 4) == batch[5:9]
  assert Stream(stream.source, 2).batch(0, 36) != batch

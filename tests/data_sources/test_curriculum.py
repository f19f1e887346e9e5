"""A curriculum is a pure function of (position, table): by hand, bounded, and off where everything is in the band."""

import dataclasses

import numpy as np
import pytest
from test_order import Count

from grpo_jax.data.curriculum import UNSEEN, Banded, updated
from grpo_jax.data.order import Stream
from grpo_jax.data.sources import MixtureSource

STREAM = Stream(MixtureSource((Count("a", 30), Count("b", 10)), (3.0, 1.0)), seed=2)


def banded(rates, **options):
  options = {"low": 0.2, "high": 0.8, "revisit": 0.0, "skips": 100} | options
  return Banded(STREAM, np.asarray(rates, np.float32), **options)


def drawn(stream, count, position=0):
  positions = []
  for _ in range(count):
    positions.append(stream.next(position))
    position = positions[-1] + 1
  return positions


def test_rows_name_what_stands_at_a_position():
  assert all(STREAM[p] == STREAM.source[STREAM.row(p)] for p in range(80))
  assert {STREAM.row(p) for p in range(40)} == set(range(40))


def test_problems_outside_the_band_are_passed_over_and_unseen_ones_are_not():
  rates = np.full(40, UNSEEN)
  rates[:20] = np.tile([0.0, 0.1, 0.2, 0.8, 0.9], 4)
  kept = {STREAM.row(p) for p in drawn(banded(rates), 80)}
  assert kept == {row for row in range(40) if rates[row] < 0 or 0.2 <= rates[row] <= 0.8}
  assert drawn(banded(np.full(40, UNSEEN)), 50) == list(range(50)) == drawn(STREAM, 50)


def test_skips_are_bounded_and_some_are_seen_again():
  rates = np.zeros(40)
  assert drawn(banded(rates, skips=7), 3) == [7, 15, 23]
  again = drawn(banded(rates, revisit=0.25), 200)
  assert again == drawn(banded(rates, revisit=0.25), 200) and 3 < np.diff(again).mean() < 5
  assert drawn(banded(rates, revisit=1.0), 9) == list(range(9))


def test_the_table_by_hand():
  table = np.full(4, UNSEEN, np.float32)
  table = updated(table, [2, 0, 2], [1.0, 0.25, 0.0], momentum=0.75)
  np.testing.assert_array_equal(table, np.float32([0.25, UNSEEN, 0.75, UNSEEN]))
  np.testing.assert_array_equal(updated(table, [2], [0.75], momentum=0.0), np.float32([0.25, UNSEEN, 0.75, UNSEEN]))
  assert table.dtype == np.float32


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.5, 0.3, 0.2), (8.0, 1.0, 1.0)])
def test_realized_shares_of_a_mixture_match_its_weights(weights):
  n = 2000
  source = MixtureSource(tuple(Count(f"s{i}", 50 + i) for i in range(len(weights))), weights)
  stream = Stream(source, seed=1)
  names = [stream[p].source for p in range(777, 777 + n)]
  expected = n * np.asarray(weights) / sum(weights)
  observed = np.array([names.count(f"s{i}") for i in range(len(weights))])
  assert ((observed - expected) ** 2 / expected).sum() < 0.1  # far below chance: the stream is balanced, not random
  assert dataclasses.replace(stream, seed=2)[777].source == stream[777].source

"""Means over seeds, their intervals, and differences that are paired by seed."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy.special import stdtrit  # the quantile alone: scipy.stats takes a second to import

METHOD = "Student's t, 95 %, over seeds"


class Mean(NamedTuple):
  """A mean of n values with its interval, None where fewer than two values say nothing of their spread."""

  mean: float
  low: float | None
  high: float | None
  n: int


def t_interval(values: Sequence[float], level: float = 0.95) -> Mean:
  """mean ± t · s / √n with n - 1 degrees of freedom, s with ddof 1 (Student 1908); ValueError without values."""
  n = len(values)
  if not n:
    raise ValueError("an interval of no values was asked for; give at least one.")
  mean = math.fsum(values) / n
  if n == 1:
    return Mean(mean, None, None, 1)
  spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
  half = float(stdtrit(n - 1, 0.5 + level / 2)) * spread / math.sqrt(n)
  return Mean(mean, mean - half, mean + half, n)


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Mean | None:
  """The mean of `values[s] - baseline[s]` over the seeds s that both have, with its t-interval; None without any."""
  seeds = sorted(values.keys() & baseline.keys())
  return t_interval([values[s] - baseline[s] for s in seeds]) if seeds else None

"""Accuracy and pass@k with their intervals, from counts of right completions."""

import math

import numpy as np


def pass_at_k(correct, samples: int, k: int):
  """Unbiased pass@k of each problem: 1 - C(n-c, k) / C(n, k). Chen et al. 2021, arXiv 2107.03374, equation 1.

  Args:
    correct: `[problems]`, right completions c of each; samples: n >= k.
  """
  c = np.asarray(correct)
  if k > samples:
    raise ValueError(f"k={k} is more than the {samples} samples per problem; sample more or lower k.")
  return np.array([1 - math.comb(samples - int(ci), k) / math.comb(samples, k) for ci in c])


def wilson(successes: float, n: int, z: float = 1.96) -> tuple[float, float]:
  """95 % interval of a proportion (Wilson 1927)."""
  p, z2 = successes / n, z * z
  centre, half = p + z2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
  return max(0.0, (centre - half) / (1 + z2 / n)), min(1.0, (centre + half) / (1 + z2 / n))


def bootstrap(values, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
  """95 % percentile interval of the mean over problems (Efron 1979); deterministic."""
  values = np.asarray(values, np.float64)
  rng = np.random.Generator(np.random.Philox(seed))
  means = values[rng.integers(0, len(values), (draws, len(values)))].mean(1)
  return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))

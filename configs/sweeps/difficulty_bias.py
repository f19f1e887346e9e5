"""Difficulty bias: does dividing by the group's standard deviation shift what is learned from easy and hard problems?

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/difficulty_bias.py --vmapped
Runs:      4 arms × 5 seeds, 60 iterations each, on additions that most demonstrations of the SFT stage get right and on
           subtractions that most get wrong, in equal parts.

A group of binary rewards with pass rate p has Σ|A| in proportion to sqrt(p(1-p)) with the division and to p(1-p)
without: the division gives groups that are nearly always right or wrong more weight than they would have had (Liu et
al. 2025, arXiv 2503.20783, section 3.1). Remedies: centre only, one deviation for the batch, or a floor under it.
"""

from grpo_jax.sweeps.spec import Sweep, grid, listed

COLUMNS = {"kind": "columns", "digits": 2, "min_digits": 2, "align": True, "train_size": 3000, "heldout_size": 500}
SOURCES = {"easy": {**COLUMNS, "operations": "+", "slip": 0.3}, "hard": {**COLUMNS, "operations": "-", "slip": 0.9}}


def get_sweep():
  """The advantage cell alone, with accuracy by source."""
  arms = grid(**{"algorithm.advantage": ("group_normalized", "centered", "batch_normalized")})
  arms |= listed({"algorithm.advantage": "group_floored", "algorithm.spread_floor": 1.0})  # the batch's, at least
  common = {"data": {"kind": "mixture", "sources": SOURCES, "weights": dict.fromkeys(SOURCES, 1.0)}}
  return Sweep("difficulty_bias", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60},
               common=common, measures=tuple(f"source/{name}/greedy" for name in SOURCES))

"""Difficulty bias: does dividing by the group's standard deviation shift what is learned from easy and hard problems?

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/difficulty_bias.py --vmapped
Runs:      4 arms × 5 seeds, 60 iterations each, on sums of one, two and three digits in equal parts.

A group of binary rewards with pass rate p has Σ|A| in proportion to sqrt(p(1-p)) with the division and to p(1-p)
without: the division gives groups that are nearly always right or wrong more weight than they would have had (Liu et
al. 2025, arXiv 2503.20783, section 3.1). Remedies: centre only, one deviation for the batch, or a floor under it.
"""

from grpo_jax.sweeps.spec import Sweep, grid

SOURCES = {name: {"kind": "columns", "digits": n, "min_digits": n, "align": True, "slip": 0.65,
                  "train_size": size, "heldout_size": held}
           for n, (name, size, held) in enumerate([("easy", 70, 15), ("medium", 3000, 500), ("hard", 3000, 500)], 1)}


def get_sweep():
  """The advantage cell alone, with accuracy by source."""
  arms = grid(**{"algorithm.advantage": ("group_normalized", "centered", "batch_normalized", "group_floored")})
  common = {"data": {"kind": "mixture", "sources": SOURCES, "weights": dict.fromkeys(SOURCES, 1.0)},
            "prompt_buckets": (8,), "completion_buckets": (12,), "evaluate.problems": 384}
  return Sweep("difficulty_bias", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60},
               common=common, measures=tuple(f"source/{name}/greedy" for name in SOURCES))

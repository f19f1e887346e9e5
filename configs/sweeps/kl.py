"""Beta × KL estimator: k1 in the reward; k2, k3 (the published GRPO) and the exact KL in the loss; against no KL.

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/kl.py
Runs:      9 arms × 5 seeds, 60 iterations each.
"""

from grpo_jax.sweeps.spec import Sweep, crossed, grid, listed


def get_sweep():
  """Two betas, below and above the published .04."""
  estimators = listed(
    {"algorithm.kl": "k1", "algorithm.kl_place": "reward"}, {"algorithm.kl": "k2"}, {"algorithm.kl": "k3"},
    {"algorithm.kl": "exact"})
  arms = listed({"algorithm.kl": "off"}) | crossed(grid(**{"algorithm.beta": (0.01, 0.1)}), estimators)
  return Sweep("kl", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60})

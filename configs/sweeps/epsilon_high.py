"""Clip higher: epsilon_high from the symmetric .2 over DAPO's .28 to almost none, where several updates let it bind.

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/epsilon_high.py
Runs:      4 arms × 5 seeds, 60 iterations of 4 update epochs each.
"""

from grpo_jax.sweeps.spec import Sweep, grid


def get_sweep():
  """With one update per rollout ratios are 1 and nothing is clipped: hence four."""
  arms = grid(**{"algorithm.epsilon_high": (0.2, 0.28, 0.4, 10.0)})
  return Sweep("epsilon_high", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60},
               common={"train.update_epochs": 4})

"""The temperature of training rollouts, and of the log-probabilities learned from.

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/temperature.py
Runs:      4 arms × 5 seeds, 60 iterations each. Held-out samples are drawn at temperature 1 in all of them.
"""

from grpo_jax.sweeps.spec import Sweep, grid


def get_sweep():
  """Sampling temperature alone."""
  arms = grid(**{"sampling.temperature": (0.6, 0.8, 1.0, 1.2)})
  return Sweep("temperature", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60},
               baseline="temperature=1.0")

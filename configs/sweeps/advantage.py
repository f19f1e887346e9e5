"""Divide by the standard deviation of the group (GRPO), of the batch, or centre only (Dr. GRPO)?

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/advantage.py
Runs:      3 arms × 5 seeds, 60 iterations each.
"""

from grpo_jax.sweeps.spec import Sweep, grid


def get_sweep():
  """The advantage cell alone; all else is the grpo row."""
  arms = grid(**{"algorithm.advantage": ("group_normalized", "centered", "batch_normalized")})
  return Sweep("advantage", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60})

"""How many passes over each rollout: more updates from the same samples, further off-policy.

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/update_epochs.py
Runs:      4 arms × 5 seeds, 60 iterations each: the same samples for all, up to eight times the updates.
"""

from grpo_jax.sweeps.spec import Sweep, grid


def get_sweep():
  """Update epochs alone; learning-rate schedules end with the last update of each arm."""
  arms = grid(**{"train.update_epochs": (1, 2, 4, 8)})
  return Sweep("update_epochs", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60})

"""What tokens are summed and divided by: per completion (GRPO), over all tokens (DAPO), a constant (Dr. GRPO), nothing.

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/reduction.py
Runs:      4 arms × 5 seeds, 60 iterations each.

Sums are larger than means by about the length: Adam takes most of that back, `optimizer.clip_norm` the rest.
"""

from grpo_jax.sweeps.spec import Sweep, grid


def get_sweep():
  """The reduction cell alone; all else is the grpo row."""
  arms = grid(**{"algorithm.reduction": ("sequence_mean", "token_mean", "constant", "sequence_sum")})
  return Sweep("reduction", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60})

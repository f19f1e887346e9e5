"""Length bias: does the reduction move lengths that the reward does not look at?

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/length_bias.py --vmapped
Runs:      5 arms × 5 seeds, 100 iterations each of a bandit whose length is free (configs/bandit.py).

Dividing by a completion's own length (the published GRPO) punishes a wrong completion less per token the longer it is,
so that wrong ones grow (Liu et al. 2025, arXiv 2503.20783, section 3.1). Remedies: a divisor that no length enters.
"""

from grpo_jax.sweeps.spec import Sweep, grid, listed


def get_sweep():
  """The four reductions, and the published one with a penalty on length."""
  arms = grid(**{"algorithm.reduction": ("sequence_mean", "token_mean", "constant", "sequence_sum")})
  arms |= listed({"algorithm.reduction": "sequence_mean", "algorithm.length_penalty": 0.5})
  return Sweep("length_bias", base="configs/bandit.py", arms=arms, seeds=5, budget={"steps": 100},
               measures=("length/mean", "length/above", "length/below"))

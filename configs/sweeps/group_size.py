"""Group size G: more completions of each prompt, at the same number of prompts or of completions.

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/group_size.py
           python -m grpo_jax.sweeps.run --sweep=configs/sweeps/group_size.py:completions
Runs:      4 arms × 5 seeds, 60 iterations each. An iteration costs in proportion to G, or with `completions` the same.
"""

from grpo_jax.sweeps.spec import Sweep, grid, zipped

SIZES = (2, 4, 8, 16)


def get_sweep(held="prompts"):
  """`held`: prompts (as many in every arm) or completions (prompts × G the same in every arm)."""
  if held == "completions":
    arms = zipped(**{"sampling.group_size": SIZES, "train.prompts": tuple(128 // G for G in SIZES)})
  else:
    arms = grid(**{"sampling.group_size": SIZES})
  return Sweep(f"group_size_{held}", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={},
               budget={"steps": 60}, baseline=next(arm for arm in arms if "group_size=8" in arm))

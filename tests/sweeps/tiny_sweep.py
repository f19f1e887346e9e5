"""Sweeps over tiny_base.py: `tests/sweeps/tiny_sweep.py:2x3` has two arms and three seeds; `failing` has a bad arm."""

from grpo_jax.sweeps.spec import Sweep, grid

RATES = (1e-2, 0.0, 3e-2, 1e-3)
WRONG = {"rewards.self_test": 4, "rewards.components.correct.options.after": "="}  # gold answers would score 0


def get_sweep(arg="2x2"):
  """The first learning rates, from shared SFT weights."""
  arms, seeds = (2, 2) if arg == "failing" else map(int, arg.split("x"))
  rates = grid(**{"optimizer.learning_rate": RATES[:arms]})
  return Sweep("tiny", base="tests/sweeps/tiny_base.py", seeds=seeds, sft={},
               arms=rates | ({"wrong answers": WRONG} if arg == "failing" else {}))

"""Every preset from the same SFT weights.

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/presets.py
           python -m grpo_jax.sweeps.run --sweep=configs/sweeps/presets.py:full      (docs/results/presets.md)
Runs:      18 arms × 5 seeds, 60 iterations each; `full`: × 3 seeds of configs/arithmetic.py, about an hour.
"""

from grpo_jax.algorithms.spec import PRESETS
from grpo_jax.sweeps.spec import Sweep

EXTRA = {  # keys that a preset wants besides its row
  "grpo_process": {"rewards.step_ends": "]"},  # two steps: the columns, then the number
  "dapo": {"train.resample_attempts": 3},  # its dynamic sampling
  "ppo": {"critic_optimizer.learning_rate": 1e-3},  # the critic starts from zero and must be quick
}
FULL = {"optimizer.schedule": "constant", "train.prompts": 16, "evaluate.every": 0, "evaluate.problems": 256,
        "evaluate.samples": 4, "checkpoint.every": 0, "checkpoint.keep": 1, "log.tensorboard": False}


def get_sweep(size="tiny"):
  """`size`: tiny or full."""
  arms = {preset: {"algorithm.preset": preset, **EXTRA.get(preset, {})} for preset in PRESETS}
  if size == "full":
    return Sweep("presets_full", base="configs/arithmetic.py", arms=arms, seeds=3, sft={}, budget={"steps": 60},
                 common=FULL)
  return Sweep("presets", base="configs/arithmetic.py:tiny", arms=arms, seeds=5, sft={}, budget={"steps": 60})

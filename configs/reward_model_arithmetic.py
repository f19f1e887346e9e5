"""A reward model (Bradley–Terry) on the embedded task: scores of right and sloppy calculations.

Command:   python -m grpo_jax.main --config=configs/reward_model_arithmetic.py
Hardware:  2 CPU cores, 2 GB.
Time:      about 4 minutes.
Expected:  share of 512 held-out pairs whose right completion has the higher score: 0 (a head of zeros: all ties) → 1.00
           (one run, seed 0).
"""

import pathlib
import runpy

ARITHMETIC = str(pathlib.Path(__file__).with_name("arithmetic.py"))


def get_config():
  """The arithmetic config with pairs in place of rewards, and a value head on the SFT trunk."""
  c = runpy.run_path(ARITHMETIC)["get_config"]()
  c.name = "reward_model_arithmetic"
  c.evaluate.every = 50
  c.task = "sft_then_reward_model"
  c.preference.steps = 300
  c.preference.batch = 64
  c.optimizer.learning_rate = 3e-4
  return c

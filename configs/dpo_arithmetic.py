"""DPO on the embedded task, from SFT on sloppy demonstrations: the right calculation against one without carries.

Command:   python -m grpo_jax.main --config=configs/dpo_arithmetic.py
Hardware:  2 CPU cores, 2 GB.
Time:      about 3 minutes.
Expected:  share of 512 held-out pairs in which the policy gives the right completion the higher log-probability:
           0.46 → 1.00 (one run, seed 0).
"""

import pathlib
import runpy

ARITHMETIC = str(pathlib.Path(__file__).with_name("arithmetic.py"))


def get_config():
  """The arithmetic config with pairs in place of rewards."""
  c = runpy.run_path(ARITHMETIC)["get_config"]()
  c.name = "dpo_arithmetic"
  c.evaluate.every = 50
  c.task = "sft_then_dpo"
  c.preference.steps = 150
  c.preference.batch = 64
  c.optimizer.learning_rate = 1e-4
  return c

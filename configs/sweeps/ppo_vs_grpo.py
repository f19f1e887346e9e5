"""Popular claims about PPO and GRPO, measured: the same data, samples and tuning budget for both.

Command:   python -m grpo_jax.sweeps.run --sweep=configs/sweeps/ppo_vs_grpo.py --vmapped
           python -m grpo_jax.sweeps.run --sweep=configs/sweeps/ppo_vs_grpo.py:runs/ppo_vs_grpo_tuning --vmapped
           python benchmarks/claims.py runs/ppo_vs_grpo
Runs:      first 2 sides × 4 learning rates × 2 settings × 2 seeds that are used for nothing else; then the best of each
           side, by held-out pass rate there, × 5 seeds. 60 iterations each.

The settings are one and four passes over each rollout. The critic learns at the policy's rate.
"""

import csv
import pathlib

from grpo_jax.sweeps.spec import Sweep, crossed, zipped

SIDES = {"grpo": {"algorithm.preset": "grpo"}, "ppo": {"algorithm.preset": "ppo"}}
RATES, EPOCHS = (3e-4, 1e-3, 3e-3, 1e-2), (1, 4)
COMMON = {"evaluate.every": 5, "checkpoint.every": 60}


def tuning() -> dict:
  """What is tried: as many settings for each side."""
  rates = zipped(**{"optimizer.learning_rate": RATES, "critic_optimizer.learning_rate": RATES})
  return crossed(SIDES, rates, {f"update_epochs={n}": {"train.update_epochs": n} for n in EPOCHS})


def best(folder: pathlib.Path) -> dict:
  """The best arm of each side by mean held-out pass rate.

  Raises:
    ValueError: there is no table of a finished tuning sweep in the folder.
  """
  table = folder / "table.csv"
  rows = list(csv.DictReader(table.open())) if table.exists() else []
  arms = tuning()
  done = {row["arm"]: float(row["pass_rate"]) for row in rows if row["arm"] in arms and int(row["runs"]) == 2}
  if done.keys() != arms.keys():
    raise ValueError(f"{folder} has {len(done)} of the {len(arms)} arms of the tuning sweep; run it to its end.")
  return {side: arms[max((arm for arm in arms if arm.startswith(side)), key=done.get)] for side in SIDES}


def get_sweep(tuned=""):
  """`tuned`: empty for the tuning sweep, else its folder, whose best arms are compared."""
  if tuned:
    return Sweep("ppo_vs_grpo", base="configs/arithmetic.py:tiny", arms=best(pathlib.Path(tuned)), seeds=5, sft={},
                 budget={"steps": 60}, common=COMMON, baseline="ppo")
  return Sweep("ppo_vs_grpo_tuning", base="configs/arithmetic.py:tiny", arms=tuning(), seeds=(100, 101), sft={},
               budget={"steps": 60}, common=COMMON, baseline=next(iter(tuning())))

"""Trains every preset for a while from the same SFT weights, and prints held-out accuracy before and after.

  python -m grpo_jax.tools.presets --workdir runs/presets [--presets grpo rloo …] [--iterations 60] [--seeds 3]

The task is the embedded one (configs/arithmetic.py). Run again, it does what is missing. Writes presets.json and
presets.md into the workdir.
"""

import argparse
import json
import pathlib

import numpy as np

# Config keys that a preset wants besides its row, with the reason.
EXTRA = {
  "grpo_process": {"rewards.step_ends": "]"},  # two steps: the columns, then the number
  "dapo": {"train.resample_attempts": 3},  # its dynamic sampling
  "ppo": {"critic_optimizer.learning_rate": 1e-3},  # the critic starts from zero and must be quick
}


def preset_config(preset: str, seed: int, iterations: int):
  """The embedded config for a short run of a preset; every arm differs in the row, its extra keys and the seed only."""
  import runpy

  config = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "configs" / "arithmetic.py"))["get_config"]()
  config.name, config.task, config.seed = f"{preset}-{seed}", "rl", seed
  config.algorithm.preset = preset
  config.train.iterations, config.evaluate.every = iterations, 0
  config.optimizer.schedule = "constant"
  config.train.prompts, config.evaluate.problems, config.evaluate.samples = 16, 256, 4
  config.checkpoint.every, config.checkpoint.keep, config.log.tensorboard = 0, 1, False
  with config.unlocked():
    config.update_from_flattened_dict(EXTRA.get(preset, {}))
  return config


def train_preset(folder: pathlib.Path, config, sft_params) -> dict:
  """One short run; its first and last evaluation."""
  from grpo_jax.metrics import read_rows
  from grpo_jax.rewards.combine import Rewards
  from grpo_jax.runs.rl import run_rl
  from grpo_jax.runs.setup import make_setup
  from grpo_jax.runs.stage import claim

  r = config.rewards
  with Rewards(r.components.to_dict(), workers=r.workers, deadline_seconds=r.deadline_seconds,
               max_error_rate=r.max_error_rate) as rewards:
    setup = make_setup(config)
    claim(folder, config)
    run_rl(setup, folder, rewards, sft_params)
  evals = [row for row in read_rows(folder / "rl" / "metrics.jsonl") if row["kind"] == "eval"]
  return {"before": evals[0]["greedy"], "after": evals[-1]["greedy"], "pass_rate": evals[-1]["pass_rate"]}


def table(results: dict[str, list[dict]]) -> str:
  """A markdown table: mean over seeds and each seed's gain."""
  lines = ["| preset | greedy before | after, mean | gain of each seed | pass rate after |", "|---|---|---|---|---|"]
  for preset, runs in results.items():
    gains = [r["after"] - r["before"] for r in runs]
    after, rate = (np.mean([r[name] for r in runs]) for name in ("after", "pass_rate"))
    each = ", ".join(f"{g:+.3f}" for g in gains)
    lines.append(f"| {preset} | {runs[0]['before']:.3f} | {after:.3f} | {each} | {rate:.3f} |")
  return "\n".join(lines)


def main():
  """Reads the flags and runs."""
  from grpo_jax.algorithms.spec import PRESETS
  from grpo_jax.runs.setup import make_setup
  from grpo_jax.runs.stage import claim
  from grpo_jax.runs.supervised import run_sft

  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/presets"))
  parser.add_argument("--presets", nargs="*", default=list(PRESETS), choices=list(PRESETS))
  parser.add_argument("--iterations", type=int, default=60)
  parser.add_argument("--seeds", type=int, default=3)
  args = parser.parse_args()
  config = preset_config("grpo", 0, args.iterations)
  config.name, config.task = "sft", "sft"
  claim(args.workdir / "sft", config)
  sft_params = run_sft(make_setup(config), args.workdir / "sft")
  results: dict[str, list[dict]] = {}
  for preset in args.presets:
    for seed in range(args.seeds):
      folder, config = args.workdir / f"{preset}-{seed}", preset_config(preset, seed, args.iterations)
      results.setdefault(preset, []).append(train_preset(folder, config, sft_params))
      (args.workdir / "presets.json").write_text(json.dumps(results, indent=1))
    print(table(results), flush=True)
  (args.workdir / "presets.md").write_text(table(results) + "\n")


if __name__ == "__main__":
  main()

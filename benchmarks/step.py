"""Seconds per full GRPO iteration of grpo_jax against TRL and Tunix, in turn, in one run, with the ratios.

  bash benchmarks/peers/setup.sh .bench && python benchmarks/step.py --size small --rounds 3

Each peer runs in its own environment (folder --environments). In every round each program is started anew and times
`--steps` iterations after `--warmup`; the table shows the median over all of them and the ratio of medians.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
PARTS = ("step", "sampling", "reference", "update")


def commands(environments: pathlib.Path, names: list[str]) -> dict[str, list[str]]:
  """The program of each contestant."""
  known = {
    "grpo_jax": [sys.executable, str(HERE / "ours_step.py")],
    "trl": [str(environments / "trl/bin/python"), str(HERE / "peers/trl_step.py")],
    "tunix": [str(environments / "tunix/bin/python"), str(HERE / "peers/tunix_step.py")],
  }
  return {name: known[name] for name in names}


def measure(command: list[str], options: list[str], seconds: float) -> dict:
  """One start of one contestant: its JSON line."""
  done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=seconds)
  if done.returncode:
    raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
  return json.loads(done.stdout.strip().splitlines()[-1])


def summary(runs: list[dict]) -> dict:
  """Medians over all steps of all rounds; the largest peak."""
  parts = {part: statistics.median(s for r in runs for s in r[f"{part}_seconds"]) for part in PARTS}
  return parts | {"peak_mb": max(r["peak_mb"] for r in runs),
                  "startup": statistics.median(r["startup_to_second_step_seconds"] for r in runs)}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--size", choices=("small", "mid", "fewshot"), default="small")
  parser.add_argument("--rounds", type=int, default=2)
  parser.add_argument("--steps", type=int, default=3)
  parser.add_argument("--warmup", type=int, default=1)
  parser.add_argument("--threads", type=int, default=2)
  parser.add_argument("--peers", nargs="*", default=["trl", "tunix"], choices=("trl", "tunix"))
  parser.add_argument("--environments", type=pathlib.Path, default=pathlib.Path(".bench"))
  parser.add_argument("--timeout", type=float, default=1800, help="seconds for one start of one contestant")
  args = parser.parse_args()
  options = [f"--{k}={getattr(args, k)}" for k in ("size", "steps", "warmup", "threads")]
  table = commands(args.environments, ["grpo_jax", *args.peers])
  runs: dict[str, list[dict]] = {name: [] for name in table}
  for round_number in range(args.rounds):
    for name, command in table.items():
      runs[name].append(measure(command, options, args.timeout))
      print(f"round {round_number + 1} {name}: {runs[name][-1]['step_seconds']}", file=sys.stderr, flush=True)
  results = {name: summary(r) for name, r in runs.items()}
  print(f"\nsize {args.size}: seconds per iteration, B 8, G 8, median of {args.rounds} × {args.steps}")
  print(f"{'':10}" + "".join(f"{p:>11}" for p in (*PARTS, "peak MB", "start-up s", "ratio")))
  for name, r in results.items():
    ratio = r["step"] / results["grpo_jax"]["step"]
    cells = [f"{r[p]:11.3f}" for p in PARTS] + [f"{r['peak_mb']:11.0f}", f"{r['startup']:11.1f}", f"{ratio:11.2f}"]
    print(f"{name:10}" + "".join(cells))
  print(json.dumps({"size": args.size, "versions": {n: r[0]["version"] for n, r in runs.items()}, "results": results}))


if __name__ == "__main__":
  main()

"""The timed program runs: a benchmark that no longer starts is found here and not on the day it is needed."""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def test_our_side_of_the_step_benchmark_runs():
  command = [sys.executable, "benchmarks/ours_step.py", "--size", "tiny", "--steps", "1", "--warmup", "1"]
  environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-2000:]
  row = json.loads(done.stdout.strip().splitlines()[-1])
  assert row["size"] == "tiny" and len(row["step_seconds"]) == 1

"""The timed program runs: a benchmark that no longer starts is found here and not on the day it is needed."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from grpo_jax.reports.page import write_page
from grpo_jax.reports.records import collect
from grpo_jax.reports.statistics import Mean

sys.path.insert(0, str(pathlib.Path(__file__).parent / "reports"))

from folders import write_sweep

ROOT = pathlib.Path(__file__).parents[1]


def test_our_side_of_the_step_benchmark_runs():
  command = [sys.executable, "benchmarks/ours_step.py", "--size", "tiny", "--steps", "1", "--warmup", "1"]
  environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-2000:]
  row = json.loads(done.stdout.strip().splitlines()[-1])
  assert row["size"] == "tiny" and len(row["step_seconds"]) == 1


def module(name: str):
  """A file of benchmarks/ as a module."""
  spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
  made = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(made)
  return made


@pytest.mark.parametrize("low, high, words", [
  (30, 35, "more than that"), (20, 30, "as claimed"), (5, 20, "less than that"), (-5, 20, "no difference shown"),
  (-5, 40, "neither shown nor excluded"), (-9, -1, "the opposite")])
def test_a_claim_of_a_quarter_beside_an_interval(low, high, words):
  claims = module("claims")
  assert claims.verdict(Mean((low + high) / 2, low, high, 5), 25.0) == words
  assert claims.verdict(Mean(25.0, None, None, 1), 25.0) == "as claimed"


def test_gains_and_steps_to_a_target_by_hand(tmp_path):
  """Pass rates of PPO .1 → .2 → .3 and .1 → .3 → .2, of GRPO .4 and .5 in the end: all runs reach .3 at some time."""
  claims = module("claims")
  rates = {"ppo": {0: (0.2, 0.4, 0.6), 1: (0.2, 0.6, 0.4)}, "grpo": {0: (0.2, 0.4, 0.8), 1: (0.2, 0.8, 1.0)}}
  arms = {arm: lambda seed, arm=arm: {"greedy": rates[arm][seed]} for arm in rates}
  collection = collect([write_sweep(tmp_path, arms, (0, 1))])  # ten iterations, a pass rate of half the greedy one
  target, first = claims.steps_to_target(collection)
  assert target == pytest.approx(0.3) and first == {"ppo": {0: 10, 1: 5}, "grpo": {0: 10, 1: 5}}
  gain = claims.accuracy(collection)["greedy"]  # .8 - .6 and 1 - .4 in percent of .5
  assert gain.mean == pytest.approx(100 * (0.2 + 0.6) / 2 / 0.5) and gain.n == 2
  assert claims.less_than([3.0, 3.0], [4.0, 4.0]).mean == pytest.approx(25)


def test_findings_are_the_tables_of_the_page(tmp_path):
  """Two arms .2 apart in both seeds: the difference is bold, since its interval leaves out zero."""
  arms = {arm: lambda seed, end=end: {"greedy": (0, end)} for arm, end in (("a", 0.4), ("b", 0.6))}
  folder = write_sweep(tmp_path / "s", arms, (0, 1))
  write_page([folder], folder)
  command = [sys.executable, "benchmarks/findings.py", str(tmp_path), "--out", str(tmp_path / "out")]
  subprocess.run(command, cwd=ROOT, check=True, timeout=120)
  text = (tmp_path / "out/by_hand.md").read_text()
  assert "4 runs: 4 done" in text and "| b | **+0.200 [+0.200, +0.200]** |" in text
  assert (tmp_path / "out/by_hand.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("command", [["findings.py", "--out", "unused"], ["claims.py"]])
def test_a_folder_that_holds_no_sweep_ends_in_a_sentence(command, tmp_path):
  name, *rest = command
  done = subprocess.run([sys.executable, f"benchmarks/{name}", str(tmp_path), *rest], cwd=ROOT, capture_output=True,
                        text=True, timeout=120)
  assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith(f"error: {tmp_path} h")
  assert "Traceback" not in done.stderr and not (ROOT / "unused").exists()

"""Sweeps as their user starts them: killed and started again, with an arm that fails, in shards."""

import csv
import json
import pathlib
import random
import subprocess

import pytest
from killing import ROOT, command, environment, killed, metrics, run, starts

from grpo_jax.sweeps.attempt import batches, one, why_alone
from grpo_jax.sweeps.run import parsed, sweep_main
from grpo_jax.sweeps.spec import expand, load
from grpo_jax.sweeps.status import held

SWEEP = "tests/sweeps/tiny_sweep.py"
FAILING = f"{SWEEP}:failing"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A sweep that nothing disturbed: two arms that work and one that fails, two seeds."""
  folder = tmp_path_factory.mktemp("whole")
  return folder, run(FAILING, folder, status=2)


def test_a_sweep_ends_with_its_page_and_says_what_failed(whole):
  folder, output = whole
  assert "[3/6] wrong answers-s0: failed, Self-test: component 'correct'" in output
  assert output.splitlines()[-1] == f"error: 2 of 6 runs failed; see {folder}"
  rows = {row["arm"]: row for row in csv.DictReader((folder / "table.csv").open())}
  assert {arm: row["runs"] for arm, row in rows.items()} == {
    "learning_rate=0.01": "2", "learning_rate=0.0": "2", "wrong answers": "0"}
  page = (folder / "report.html").read_text()
  assert "6 runs: 4 done, 2 failed" in page and "Self-test: component" in page
  assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
  for arm in ("learning_rate=0.01", "learning_rate=0.0"):
    [log] = folder.glob(f"{arm}-s1-*/log.txt")
    assert "run is done" in log.read_text() and (log.parent / "report.html").exists()


def test_arms_are_paired(whole):
  """Runs of one seed see the same prompts and draw alike: before the first update their samples are the same."""
  folder, _ = whole
  first = {name.split("/")[0].rsplit("-", 1)[0]: rows[1] for name, rows in metrics(folder).items() if "/rl/" in name}
  for seed in (0, 1):
    one, two = (first[f"learning_rate={rate}-s{seed}"] for rate in ("0.01", "0.0"))
    assert all(one[k] == two[k] for k in one if k.startswith(("reward/", "length/", "policy/")))
  assert first["learning_rate=0.0-s0"] != first["learning_rate=0.0-s1"]


def test_killed_and_started_again_it_ends_with_the_same_table(whole, tmp_path):
  killed(FAILING, tmp_path, 4 + 6 + 4, random.random() * 0.2)  # the stage, the first run, and some way into the next
  before = {p.parent.name: p.stat().st_mtime_ns for p in tmp_path.glob("*/status.json")
            if json.loads(p.read_text())["state"] == "done"}
  assert 1 <= len(before) < 5
  run(FAILING, tmp_path, status=2)
  assert (tmp_path / "table.csv").read_bytes() == (whole[0] / "table.csv").read_bytes()
  assert metrics(tmp_path) == metrics(whole[0])
  counted = starts(tmp_path)
  assert all(counted[name] == [0] for name in before), "a run that was done was started again"
  assert sorted(map(len, counted.values())) in ([1] * 5, [1] * 4 + [2])  # at most the one that was killed
  for name, since in before.items():
    assert (tmp_path / name / "status.json").stat().st_mtime_ns == since


def test_a_dry_run_prints_every_run_and_makes_nothing(tmp_path, capsys):
  arguments = parsed([f"--sweep={SWEEP}:2x2", f"--workdir={tmp_path / 'w'}", "--dry-run", "--shard=2/2"])
  assert sweep_main(arguments) == 0
  lines = capsys.readouterr().out.splitlines()[-4:]
  assert lines[0] == "sweep tiny: 2 arms x 2 seeds, 2 of 4 runs in this shard"
  for line, name in zip(lines[1:], ("tiny-sft", "learning_rate=0.0-s0", "learning_rate=0.01-s1"), strict=True):
    found, hashed, state, workdir = line.split()
    assert found == name and state == "missing" and len(hashed) == 8
    assert workdir == f"{tmp_path}/w/{'sft' if name == 'tiny-sft' else name}-{hashed}"
  assert not (tmp_path / "w").exists()


def test_bad_sweeps_end_in_a_sentence(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text("from grpo_jax.sweeps.spec import Sweep, grid\n\n\ndef get_sweep():\n  return Sweep('s', "
                  "base='tests/sweeps/tiny_base.py', arms=grid(**{'sampling.group_size': (1, 2)}))\n")
  output = run(file, tmp_path / "w", status=1)
  assert output.splitlines()[-1].startswith("error: sweep s: run group_size=1-s0: sampling.group_size=1 must be at")
  assert "Traceback" not in output and not (tmp_path / "w").exists()


def test_a_run_that_another_process_has_is_left_to_it(tmp_path):
  run_ = expand(load(f"{SWEEP}:1x1", "get_sweep"), tmp_path).runs[0]
  with held(run_.workdir, wait=False) as mine:
    assert mine and one(run_) == "held"
  assert not (run_.workdir / "status.json").exists()


def test_runs_that_differ_in_numbers_are_one_program(tmp_path):
  """With --vmapped two arms and two seeds are one program; the arm that cannot be one is run alone, seed by seed."""
  sweep = "tests/sweeps/fused_sweep.py"
  plan = expand(load(sweep, "get_sweep"), tmp_path)
  four, *alone = batches(plan.runs, 32)
  assert {run.arm for run in four} == {"beta=0.0", "beta=0.5"} and len(four) == 4
  assert [[run.arm for run in batch] for batch in alone] == [["fused_iterations=0"]] * 2
  assert list(map(len, batches(plan.runs, 3))) == [3, 1, 1, 1] and list(map(len, batches(plan.runs, 0))) == [1] * 6
  assert why_alone(alone[0][0]).startswith("train.fused_iterations=0 must be at least 1") and not why_alone(four[0])
  output = run(sweep, tmp_path, "--vmapped")
  assert output.count("for 4 as one program") == 4 and output.splitlines()[-1].startswith("run is done")
  logged_ = metrics(tmp_path)
  assert {len([row for row in logged_[f"{r.workdir.name}/rl/metrics.jsonl"] if row["kind"] == "train"])
          for r in plan.runs} == {4}
  assert {row["runs"] for row in csv.DictReader((tmp_path / "table.csv").open())} == {"2"}
  assert run(sweep, tmp_path, "--vmapped").count(": done, before") == 6 and metrics(tmp_path) == logged_


@pytest.mark.parametrize("flags", [["--vmapped=-1"], ["--vmapped", "--isolated"]])
def test_bad_flags_end_in_a_sentence(flags, tmp_path):
  with pytest.raises(ValueError, match=r"--vmapped=.* must be a number of arms, without --isolated"):
    sweep_main(parsed([f"--sweep={SWEEP}:1x1", f"--workdir={tmp_path / 'w'}", *flags]))


@pytest.mark.slow
def test_twelve_runs_killed_twice_at_random(tmp_path):
  sweep = f"{SWEEP}:4x3"
  run(sweep, tmp_path / "whole")
  generator = random.SystemRandom()
  for lines in (generator.randrange(8, 30), generator.randrange(8, 30)):
    killed(sweep, tmp_path / "cut", lines, generator.random())
    print(f"killed after {lines} lines, at {starts(tmp_path / 'cut')}")
  run(sweep, tmp_path / "cut")
  assert (tmp_path / "cut/table.csv").read_bytes() == (tmp_path / "whole/table.csv").read_bytes()
  assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
  counted = starts(tmp_path / "cut")
  assert len(counted) == 13 and sum(map(len, counted.values())) <= 13 + 2


@pytest.mark.slow
def test_shards_at_the_same_time_share_the_stage_and_join_into_one_page(tmp_path):
  """Two processes on one folder: one does the stage while the other waits, and no run is done by both."""
  sweep = f"{SWEEP}:2x2"
  processes = [subprocess.Popen(command(sweep, tmp_path, f"--shard={i}/2"), cwd=ROOT, env=environment(),
                                stdout=subprocess.PIPE, text=True) for i in (1, 2)]
  outputs = [p.communicate(timeout=600)[0] for p in processes]
  assert [p.returncode for p in processes] == [0, 0], outputs
  assert list(starts(tmp_path).values()) == [[0]] * 5
  assert "before" not in "".join(outputs)
  run(sweep, tmp_path)
  assert "4 runs: 4 done" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_isolated_runs_are_the_same_runs(tmp_path):
  sweep = f"{SWEEP}:2x1"
  run(sweep, tmp_path / "a")
  output = run(sweep, tmp_path / "b", "--isolated")
  assert metrics(tmp_path / "a") == metrics(tmp_path / "b") and output.splitlines()[-1].startswith("run is done")
  assert pathlib.Path(tmp_path / "b/table.csv").read_bytes() == pathlib.Path(tmp_path / "a/table.csv").read_bytes()

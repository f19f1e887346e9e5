"""A killed run, rerun, ends as if nothing had happened; saving is asynchronous and safe from donation."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from grpo_jax.checkpoint import Checkpoints

ROOT = pathlib.Path(__file__).parents[2]


def command(workdir, config="tiny_run.py"):
  return [sys.executable, "-m", "grpo_jax.main", f"--config=tests/runs/{config}", f"--workdir={workdir}"]


def environment():
  flags = os.environ.get("XLA_FLAGS", "").replace("--xla_force_host_platform_device_count=8", "")
  return {**os.environ, "XLA_FLAGS": flags}


def run(workdir, config="tiny_run.py"):
  options = {"cwd": ROOT, "env": environment(), "capture_output": True, "text": True, "timeout": 300}
  done = subprocess.run(command(workdir, config), **options)
  assert done.returncode == 0, done.stderr[-2000:]
  return done.stdout


def killed_run(workdir, lines: int, config="tiny_run.py"):
  """Starts a run and kills it with SIGKILL once it has printed so many lines; False where it had ended before."""
  process = subprocess.Popen(
    command(workdir, config), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
  for _ in range(lines):
    if not process.stdout.readline():
      break
  time.sleep(random.random() * 0.05)
  process.send_signal(signal.SIGKILL)
  return process.wait(30) == -signal.SIGKILL


def rows(workdir, stage):
  lines = (workdir / stage / "metrics.jsonl").read_text().splitlines()
  return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


def leaves(workdir, stage):
  """Every array of the newest checkpoint, as bytes by name."""
  import orbax.checkpoint as ocp

  steps = sorted(int(p.name) for p in (workdir / stage / "checkpoints").iterdir() if p.name.isdigit())
  tree = ocp.StandardCheckpointer().restore((workdir / stage / "checkpoints" / str(steps[-1]) / "default").absolute())
  return {jax.tree_util.keystr(p): np.asarray(a).tobytes() for p, a in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("whole")
  run(workdir)
  return workdir


def test_killed_three_times_ends_bit_for_bit_the_same(whole, tmp_path):
  moments = random.Random(time.time_ns())
  for first, last in ((4, 8), (3, 8), (3, 6)):  # lines printed: in SFT, around its end, in RL
    assert killed_run(tmp_path, moments.randint(first, last))
  run(tmp_path)
  for stage in ("sft", "rl"):
    assert rows(tmp_path, stage) == rows(whole, stage)
    assert leaves(tmp_path, stage) == leaves(whole, stage)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing(whole, tmp_path):
  """Also while a checkpoint is written: every second step is saved. When one has ended, a new one begins."""
  moments, kills, runs = random.Random(time.time_ns()), 0, 0
  for _ in range(60):
    kills += killed_run(tmp_path / str(runs), moments.randint(2, 9))
    if kills == 20:
      break
    if (tmp_path / str(runs) / "summary.json").exists():
      runs += 1
  assert kills == 20
  for i in range(runs + 1):
    run(tmp_path / str(i))
    for stage in ("sft", "rl"):
      assert rows(tmp_path / str(i), stage) == rows(whole, stage)
      assert leaves(tmp_path / str(i), stage) == leaves(whole, stage)


def killed_and_whole(tmp_path, config):
  """Training rows of an uninterrupted run and its last state, after checking that a killed one ends the same."""
  run(tmp_path / "whole", config)
  assert killed_run(tmp_path / "killed", random.Random(time.time_ns()).randint(4, 8), config)
  run(tmp_path / "killed", config)
  assert rows(tmp_path / "killed", "rl") == rows(tmp_path / "whole", "rl")
  got, want = (leaves(tmp_path / name, "rl") for name in ("killed", "whole"))
  assert got == want
  return [r for r in rows(tmp_path / "whole", "rl") if r["kind"] == "train"], want


def test_critic_adaptive_beta_dynamic_sampling_and_curriculum_survive_a_kill(tmp_path):
  train, state = killed_and_whole(tmp_path, "tiny_rows.py:critic")
  assert {"['algorithm_state']['beta']", "['critic']['params']['value_head']"} <= set(state)
  assert len({r["update/beta"] for r in train}) == 5 and max(r["data/rollouts"] for r in train) == 2
  position = np.frombuffer(state["['data_state']['position']"], np.int32)[0]
  np.testing.assert_allclose(position, sum(8 * r["data/rollouts"] / (1 - r["data/skipped"]) for r in train))
  rates = np.frombuffer(state["['data_state']['pass_rates']"], np.float32)
  assert rates.shape == (24,) and ((rates == -1) | ((rates >= 0) & (rates <= 1))).all() and (rates >= 0).sum() > 8
  assert train[0]["data/skipped"] == 0 < train[-1]["data/skipped"]


def test_dynamic_group_size_survives_a_kill(tmp_path):
  train, state = killed_and_whole(tmp_path, "tiny_rows.py:groups")
  assert "['algorithm_state']['pass_rate']" in state
  assert len({r["groups/size"] for r in train}) > 1


def test_each_step_is_logged_once(whole):
  for stage, total in (("sft", 6), ("rl", 8)):
    assert [r["step"] for r in rows(whole, stage) if r["kind"] == "train"] == list(range(1, total + 1))
  assert [r["step"] for r in rows(whole, "rl") if r["kind"] == "eval"] == [0, 4, 8]


def test_a_finished_run_says_that_it_is_done(whole):
  before = leaves(whole, "rl")
  assert "run is done" in run(whole)
  assert leaves(whole, "rl") == before


def test_another_config_is_refused_in_the_same_workdir(whole):
  done = subprocess.run([*command(whole), "--config.algorithm.beta=0.1"], cwd=ROOT, env=environment(),
                        capture_output=True, text=True, timeout=120)
  assert done.returncode != 0
  assert "algorithm.beta=None" in done.stderr
  assert "--workdir" in done.stderr


def test_the_reference_and_counters_are_in_the_checkpoint(whole):
  names = leaves(whole, "rl")
  for name in ("['step']", "['iteration']", "['seed']", "['ref_params']['embed']", "['data_state']['position']"):
    assert name in names


def test_a_save_in_flight_survives_ten_donated_steps(tmp_path):
  state = {"w": jax.random.normal(jax.random.key(0), (512, 2048)), "n": jax.numpy.int32(0)}
  saved = np.asarray(state["w"]).copy()
  checkpoints = Checkpoints(tmp_path / "c", keep=1)
  checkpoints.warm_up(state)
  step = jax.jit(lambda s: {"w": s["w"] * 1.5 + 1, "n": s["n"] + 1}, donate_argnums=0)
  step.lower(state).compile()
  checkpoints.save(1, state)
  for _ in range(10):
    state = step(state)
  jax.block_until_ready(state)
  checkpoints.wait()
  back = checkpoints.restore(state, 1)
  assert np.asarray(back["w"]).tobytes() == saved.tobytes()
  assert int(back["n"]) == 0
  checkpoints.close()


def test_the_best_and_the_newest_are_kept(tmp_path):
  checkpoints = Checkpoints(tmp_path / "c", keep=2)
  state = {"w": jax.numpy.zeros(3)}
  checkpoints.warm_up(state)
  for step, greedy in enumerate((0.2, 0.9, None, 0.3, 0.4), 1):
    checkpoints.save(step, state, greedy)
    checkpoints.wait()
  checkpoints.close()
  assert sorted(int(p.name) for p in (tmp_path / "c").iterdir() if p.name.isdigit()) == [2, 4, 5]

"""A killed run, rerun, ends as if nothing had happened; saving is asynchronous and safe from donation."""

import random
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from killed import ROOT, command, environment, killed_run, leaves, rows, run

from grpo_jax.checkpoint import Checkpoints


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("whole")
  run(workdir)
  return workdir


def test_killed_three_times_ends_bit_for_bit_the_same(whole, tmp_path):
  moments = random.Random(time.time_ns())
  for first, last in ((4, 8), (3, 8), (3, 6)):  # lines printed: in SFT, around its end, in RL
    assert killed_run(tmp_path, moments.randint(first, last)) == -signal.SIGKILL
  run(tmp_path)
  for stage in ("sft", "rl"):
    assert rows(tmp_path, stage) == rows(whole, stage)
    assert leaves(tmp_path, stage) == leaves(whole, stage)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing(whole, tmp_path):
  """Also while a checkpoint is written: every second step is saved. When one has ended, a new one begins."""
  moments, kills, runs = random.Random(time.time_ns()), 0, 0
  for _ in range(60):
    kills += killed_run(tmp_path / str(runs), moments.randint(2, 9)) == -signal.SIGKILL
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


@pytest.mark.parametrize("by", [
  signal.SIGTERM, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGHUP))])
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_bit_for_bit(whole, tmp_path, by):
  assert killed_run(tmp_path, 5, by=by) == 128 + by
  assert "sft: resumed at" in run(tmp_path)
  for stage in ("sft", "rl"):
    assert rows(tmp_path, stage) == rows(whole, stage)
    assert leaves(tmp_path, stage) == leaves(whole, stage)


def test_a_second_signal_leaves_at_once_and_loses_nothing_that_was_saved(whole, tmp_path):
  assert killed_run(tmp_path, 5, by=signal.SIGINT, times=2) == 128 + signal.SIGINT
  run(tmp_path)
  for stage in ("sft", "rl"):
    assert rows(tmp_path, stage) == rows(whole, stage)
    assert leaves(tmp_path, stage) == leaves(whole, stage)


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

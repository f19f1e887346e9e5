"""Several processes on this machine are one run: same samples, same losses, files once; a dead one ends the others."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from grpo_jax.distributed.multihost import DEADLINE_STATUS

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # each pod takes its processes half a minute
LIMIT = 400  # seconds for any pod


def free_port() -> int:
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


def started(n: int, devices: int, folder, *changes, per_process=None) -> list[subprocess.Popen]:
  """n processes with `devices` fake devices each; n = 1 is an ordinary run."""
  folder.mkdir(parents=True, exist_ok=True)
  address, processes = f"127.0.0.1:{free_port()}", []
  for i in range(n):
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu",
                   "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}"}
    if n > 1:
      environment |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_COORDINATOR_BIND_ADDRESS": address,
                      "JAX_NUM_PROCESSES": str(n), "JAX_PROCESS_ID": str(i)}
    own = (per_process or {}).get(i, [])
    command = [sys.executable, str(ROOT / "tests/runs/pod.py"), str(folder / "run"), str(folder / "first.npz")]
    with (folder / f"process-{i}.log").open("w") as log:
      processes.append(subprocess.Popen([*command, *changes, *own], cwd=ROOT, env=environment, stdout=log, stderr=log,
                                        start_new_session=True))
  return processes


def finish(processes) -> list[int]:
  """Exit statuses; whatever outlives LIMIT is killed, which fails the test."""
  end = time.monotonic() + LIMIT
  try:
    return [p.wait(max(1, end - time.monotonic())) for p in processes]
  finally:
    for p in processes:
      if p.poll() is None:
        os.killpg(p.pid, signal.SIGKILL)


def log(folder, i=0) -> str:
  return (folder / f"process-{i}.log").read_text()


def rows(folder):
  lines = [json.loads(line) for line in (folder / "run/rl/metrics.jsonl").read_text().splitlines()]
  return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in lines]


def same(a, b, tolerance=1e-5):
  """What two runs sampled first is equal; what they made of it is close."""
  with np.load(a / "first.npz") as x, np.load(b / "first.npz") as y:
    assert x.files == y.files
    np.testing.assert_array_equal(x["tokens_BGT"], y["tokens_BGT"])
    for name in x.files:
      gap, size = np.abs(x[name].astype(float) - y[name]).max(initial=0), np.abs(y[name]).max(initial=0)
      if name.startswith("number/"):  # the sampler's gap is rounding itself
        assert gap <= tolerance * max(1, size), name
      else:
        assert gap <= 10 * tolerance * max(size, 1e-6), name


SHORT = ("train.iterations=3", "checkpoint.every=1", "train.minibatch_prompts=0")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """A run of two processes with two devices each."""
  folder = tmp_path_factory.mktemp("two")
  assert finish(started(2, 2, folder, *SHORT)) == [0, 0], log(folder) + log(folder, 1)
  return folder


def test_two_processes_are_one_run(two, tmp_path):
  assert finish(started(1, 4, tmp_path, *SHORT)) == [0], log(tmp_path)
  same(two, tmp_path)
  assert [r["step"] for r in rows(two)] == [r["step"] for r in rows(tmp_path)]
  assert "rl 3/3" in log(two) and "rl 3/3" not in log(two, 1)  # one of them speaks
  assert "run is done" in log(two)


def test_a_dead_process_ends_the_others_and_the_rerun_ends_the_same(two, tmp_path):
  long = ("train.iterations=3", "checkpoint.every=1", "train.minibatch_prompts=0", "distributed.deadline_seconds=20.0")
  pod = started(2, 2, tmp_path, *long)
  end = time.monotonic() + LIMIT
  while "rl 1/3" not in log(tmp_path) and pod[0].poll() is None and time.monotonic() < end:
    time.sleep(0.05)
  os.killpg(pod[1].pid, signal.SIGKILL)
  killed = time.monotonic()
  status = finish(pod)
  assert status[1] == -signal.SIGKILL
  if status[0]:  # else it had nothing left to wait for
    assert time.monotonic() - killed < 120
    assert "error: process 0" in log(tmp_path) or status[0] != DEADLINE_STATUS
  assert finish(started(2, 2, tmp_path, *long)) == [0, 0], log(tmp_path)
  assert rows(tmp_path) == rows(two)


def test_a_process_with_another_config_is_named(tmp_path):
  statuses = finish(started(2, 1, tmp_path, *SHORT, per_process={1: ["algorithm.beta=0.5"]}))
  assert all(statuses)
  assert "differ from process 0: process 1 (" in log(tmp_path) and "in its config" in log(tmp_path)
  assert not (tmp_path / "run").exists()


def test_sigterm_saves_and_the_same_command_continues(two, tmp_path):
  changes = ("train.iterations=3", "checkpoint.every=0", "train.minibatch_prompts=0")
  pod = started(2, 2, tmp_path, *changes)
  end = time.monotonic() + LIMIT
  while "rl 1/3" not in log(tmp_path) and pod[0].poll() is None and time.monotonic() < end:
    time.sleep(0.02)
  for process in pod:
    process.send_signal(signal.SIGTERM)
  assert finish(pod) == [0, 0], log(tmp_path)
  assert "preempted saved rl step" in log(tmp_path) or "run is done" in log(tmp_path)
  assert finish(started(2, 2, tmp_path, *changes)) == [0, 0]
  assert rows(tmp_path) == rows(two)


LAYOUTS = {"1": (1, 1), "4": (1, 4), "8": (1, 8), "2 processes": (2, 2)}


@pytest.mark.parametrize("saved", ["1", "8", "2 processes"])
def test_what_one_layout_saved_continues_on_every_other(saved, tmp_path):
  """Samples of the next iteration are equal, losses and parameters close, wherever the checkpoint came from."""
  changes = ("train.iterations=4", "checkpoint.every=1", "train.minibatch_prompts=0")
  whole = tmp_path / "whole"
  assert finish(started(*LAYOUTS[saved], whole, *changes)) == [0] * LAYOUTS[saved][0], log(whole)
  first = tmp_path / "first"
  assert not any(finish(started(*LAYOUTS[saved], first, "stop=2", *changes))), log(first)
  expected = tmp_path / "expected"
  shutil.copytree(first, expected)
  assert not any(finish(started(*LAYOUTS[saved], expected, *changes))), log(expected)
  for layout, (n, devices) in LAYOUTS.items():
    folder = tmp_path / layout.replace(" ", "-")
    shutil.copytree(first, folder)
    assert not any(finish(started(n, devices, folder, *changes))), log(folder)
    assert "resumed at 2 of 4" in log(folder)
    same(folder, expected)
    assert [r["step"] for r in rows(folder)] == [r["step"] for r in rows(whole)]

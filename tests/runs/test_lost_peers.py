"""Processes that are late, stopped or gone, and a port that is taken: one sentence and exit status 70."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest
from killed import ROOT, command, environment

from grpo_jax.distributed.multihost import DEADLINE_STATUS, peers_lost

LIMIT = 400  # seconds for any pod


def pod(folder, *, members=(0, 1), address=None, join=60, deadline=25.0):
  """Processes of a run of two by the real command; who is in `members` is started."""
  folder.mkdir(parents=True, exist_ok=True)
  if address is None:
    with socket.socket() as s:
      s.bind(("127.0.0.1", 0))
      address = f"127.0.0.1:{s.getsockname()[1]}"
  started = []
  for i in members:
    variables = {"JAX_COORDINATOR_ADDRESS": address, "JAX_COORDINATOR_BIND_ADDRESS": address, "JAX_NUM_PROCESSES": "2",
                 "JAX_PROCESS_ID": str(i), "GRPO_JOIN_SECONDS": str(join), "JAX_PLATFORMS": "cpu"}
    with (folder / f"{i}.log").open("w") as log:
      changes = [f"--config.distributed.deadline_seconds={deadline}", "--config.train.iterations=200"]
      started.append(subprocess.Popen([*command(folder / "run"), *changes], cwd=ROOT, env=environment() | variables,
                                      stdout=log, stderr=log, start_new_session=True))
  return started, address


def said(folder, i):
  return (folder / f"{i}.log").read_text()


def wait(process) -> int:
  try:
    return process.wait(LIMIT)
  finally:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)


def until_training(folder, process):
  end = time.monotonic() + LIMIT
  while not re.search(r"(sft|rl) \d+/", said(folder, 0)) and process.poll() is None and time.monotonic() < end:
    time.sleep(0.1)
  assert process.poll() is None, said(folder, 0)


def test_a_taken_port_is_one_sentence(tmp_path):
  with socket.socket() as busy:
    busy.bind(("127.0.0.1", 0))
    busy.listen()
    (first,), address = pod(tmp_path, members=(0,), address=f"127.0.0.1:{busy.getsockname()[1]}")
    assert wait(first) == DEADLINE_STATUS
  assert said(tmp_path, 0).strip() == (
    f"lost: JAX_COORDINATOR_ADDRESS={address!r}: another process listens at this port; choose another one, in all "
    "processes.")


@pytest.mark.parametrize("error, lost", [
  (ValueError("UNKNOWN: Gloo all-reduce failed: connection closed by peer"), True),
  (RuntimeError("DEADLINE_EXCEEDED: barrier timed out"), True), (ValueError("train.prompts=3 must be 2."), False)])
def test_errors_that_say_that_a_peer_is_gone(error, lost, monkeypatch):
  monkeypatch.setattr("jax.process_count", lambda: 2)
  assert peers_lost(error) == lost


@pytest.mark.slow
@pytest.mark.parametrize("alone", [0, 1])
def test_who_finds_nobody_says_so(tmp_path, alone):
  (process,), _ = pod(tmp_path, members=(alone,), join=8)
  assert wait(process) == DEADLINE_STATUS
  assert "did not find all the others within GRPO_JOIN_SECONDS=8 s" in said(tmp_path, alone)


@pytest.mark.slow
@pytest.mark.parametrize("victim, number", [(1, signal.SIGSTOP), (1, signal.SIGKILL), (0, signal.SIGKILL)])
def test_a_lost_process_ends_the_others_in_a_sentence(tmp_path, victim, number):
  processes, _ = pod(tmp_path)
  until_training(tmp_path, processes[0])
  os.kill(processes[victim].pid, number)
  other = 1 - victim
  try:
    status = wait(processes[other])
  finally:
    os.killpg(processes[victim].pid, signal.SIGKILL)
  text = said(tmp_path, other)
  assert not re.search("^error:", text, re.MULTILINE), text[-3000:]
  # jax's own watch over the coordinator may abort a process before ours speaks: that is retried as well
  assert (status == DEADLINE_STATUS and re.search("^lost: ", text, re.MULTILINE)) or status == -signal.SIGABRT, status


@pytest.mark.slow
def test_a_process_that_starts_late_is_waited_for(tmp_path):
  (first,), address = pod(tmp_path, members=(0,), join=200)
  time.sleep(90)
  (second,), _ = pod(tmp_path, members=(1,), address=address, join=200)
  until_training(tmp_path, first)
  for process in (first, second):
    process.send_signal(signal.SIGTERM)
  assert [wait(first), wait(second)] == [128 + signal.SIGTERM] * 2, said(tmp_path, 0)[-2000:]

"""launch/local_multiprocess.sh: the environment of each process, and how all of them end."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from cloud import ROOT, Cloud, gone

VARIABLES = (
  "JAX_PLATFORMS", "XLA_FLAGS", "JAX_COORDINATOR_ADDRESS", "JAX_COORDINATOR_BIND_ADDRESS", "JAX_NUM_PROCESSES",
  "JAX_PROCESS_ID")


@pytest.fixture
def pod(tmp_path):
  """Starts a pod of so many copies of a bash script."""
  cloud = Cloud(tmp_path)

  def start(processes, script, **more):
    program = tmp_path / "program.sh"
    program.write_text(script)
    command = ["launch/local_multiprocess.sh", str(processes), "2", "--config=x", f"--workdir={tmp_path / 'out'}"]
    environment = cloud.environment(COMMAND=f"bash {program}", GRACE="1", **more)
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment, **options)

  return start


def pids(tmp_path, count) -> list[int]:
  """Process ids that the scripts wrote, once there are so many."""
  for _ in range(400):
    found = [int(word) for p in tmp_path.glob("*.pids") for word in p.read_text().split()]
    if len(found) == count:
      return found
    time.sleep(0.05)
  raise AssertionError(f"{len(found)} of {count} processes started")


SLEEPER = 'sleep 60 & echo $$ $! > {folder}/$JAX_PROCESS_ID.pids; wait'


def test_every_process_has_its_own_environment_and_log(pod, tmp_path):
  process = pod(3, "echo " + " ".join(f"${v}" for v in VARIABLES) + ' "$@"; sleep 0.$JAX_PROCESS_ID')
  assert process.communicate(timeout=20)[0] == "" and process.returncode == 0
  logs = [(tmp_path / f"out/logs/process-{i}.log").read_text().split() for i in range(3)]
  [address] = {address for log in logs for address in log[2:4]}
  host, port = address.split(":")
  assert host == "127.0.0.1" and int(port) > 1023
  for i, log in enumerate(logs):
    assert log[:2] == ["cpu", "--xla_force_host_platform_device_count=2"] and log[4:6] == ["3", str(i)]
    assert log[6:] == ["--config=x", f"--workdir={tmp_path / 'out'}"]


def test_when_one_dies_the_others_and_their_children_are_ended(pod, tmp_path):
  script = f'if [ $JAX_PROCESS_ID = 1 ]; then sleep 0.5; echo no memory; exit 3; fi; {SLEEPER.format(folder=tmp_path)}'
  process = pod(3, script)
  started = pids(tmp_path, 4)
  output = process.communicate(timeout=20)[0]
  assert process.returncode == 3
  assert f"process 1 died with status 3; {tmp_path}/out/logs/process-1.log ends:\nno memory\n" in output
  assert gone(started)


@pytest.mark.parametrize("deaf", ["", "trap '' TERM; "])
def test_sigterm_ends_the_whole_pod_even_where_it_is_ignored(deaf, pod, tmp_path):
  process = pod(2, deaf + SLEEPER.format(folder=tmp_path))
  started = pids(tmp_path, 4)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=20)
  assert process.returncode == 143 and gone(started)


def test_the_time_of_all_is_bounded(pod):
  process = pod(2, "sleep 60", LIMIT="1")
  assert "ended all after LIMIT=1 s" in process.communicate(timeout=20)[0] and process.returncode == 1


@pytest.mark.slow
def test_jax_finds_its_peers(tmp_path):
  """Two processes of two fake devices are one jax of four."""
  program = tmp_path / "peers.py"
  program.write_text(
    "import os, jax\n"
    "jax.distributed.initialize(os.environ['JAX_COORDINATOR_ADDRESS'], int(os.environ['JAX_NUM_PROCESSES']),\n"
    "                           int(os.environ['JAX_PROCESS_ID']))\n"
    "print('devices', jax.device_count(), jax.local_device_count(), flush=True)\n"
    "jax.distributed.shutdown()\n")
  inherited = {k: os.environ[k] for k in ("PYTHONPATH",) if k in os.environ}
  cloud = Cloud(tmp_path)
  command = f"{sys.executable} {program}"
  cloud.run("launch/local_multiprocess.sh", "2", "2", f"--workdir={tmp_path}", COMMAND=command, LIMIT="60", **inherited)
  for i in range(2):
    assert "devices 4 2" in pathlib.Path(tmp_path, f"logs/process-{i}.log").read_text()

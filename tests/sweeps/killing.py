"""The command of a sweep: run to its end, or killed at a random moment; and what it leaves behind."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]


def environment() -> dict:
  """One device, as a laptop has."""
  flags = os.environ.get("XLA_FLAGS", "").replace("--xla_force_host_platform_device_count=8", "")
  return {**os.environ, "XLA_FLAGS": flags}


def command(sweep, workdir, *more) -> list[str]:
  return [sys.executable, "-m", "grpo_jax.sweeps.run", f"--sweep={sweep}", f"--workdir={workdir}", *more]


def run(sweep, workdir, *more, status=0) -> str:
  """Output of the command, which must end with this status."""
  done = subprocess.run(
    command(sweep, workdir, *more), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    text=True, timeout=900)
  assert done.returncode == status, done.stdout[-3000:]
  return done.stdout


def logged(workdir) -> int:
  """Lines of metrics that all runs of a sweep have logged so far."""
  return sum(path.read_bytes().count(b"\n") for path in pathlib.Path(workdir).glob("*/*/metrics.jsonl"))


def killed(sweep, workdir, lines: int, pause: float = 0.0) -> None:
  """Starts the command and kills it, its workers too, a moment after so many more lines of metrics were logged."""
  process = subprocess.Popen(command(sweep, workdir), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
  until = logged(workdir) + lines
  while logged(workdir) < until:
    assert process.poll() is None, "it ended before it could be killed"
    time.sleep(0.02)
  time.sleep(pause)
  os.killpg(process.pid, signal.SIGKILL)
  process.wait(60)


def starts(workdir) -> dict[str, list[int]]:
  """The steps from which each run's stage was started: {run: [0, …]}."""
  return {path.parents[1].name: [json.loads(line)["step"] for line in path.read_text().splitlines()]
          for path in sorted(pathlib.Path(workdir).glob("*/*/starts.jsonl"))}


def metrics(workdir) -> dict[str, list[dict]]:
  """Every logged line of every run, times aside."""
  found = {}
  for path in sorted(pathlib.Path(workdir).glob("*/*/metrics.jsonl")):
    rows = map(json.loads, path.read_text().splitlines())
    found[str(path.relative_to(workdir))] = [
      {k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]
  return found

"""Running the command of a config, killing it, and what it leaves behind."""

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


def killed_run(workdir, lines: int, config="tiny_run.py", by=signal.SIGKILL, times=1) -> int:
  """Starts a run, signals it once (or so many times) it has printed so many lines, and returns its exit status."""
  before = by != signal.SIGKILL and signal.signal(by, signal.SIG_DFL)  # a run ignores what it was started to ignore
  process = subprocess.Popen(
    command(workdir, config), cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
  if by != signal.SIGKILL:
    signal.signal(by, before)
  for _ in range(lines):
    if not process.stdout.readline():
      break
  time.sleep(random.random() * 0.05)
  for _ in range(times):
    process.send_signal(by)
    time.sleep(0.02 if times > 1 else 0)  # two that are pending at once are one
  process.stdout.read()  # what it still says must not fill the pipe
  return process.wait(60)


def rows(workdir, stage):
  lines = (workdir / stage / "metrics.jsonl").read_text().splitlines()
  return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


def leaves(workdir, stage):
  """Every array of the newest checkpoint, as bytes by name."""
  import orbax.checkpoint as ocp

  steps = sorted(int(p.name) for p in (workdir / stage / "checkpoints").iterdir() if p.name.isdigit())
  saved = (workdir / stage / "checkpoints" / str(steps[-1]) / "default").absolute()
  with ocp.PyTreeCheckpointer() as reader:  # as numpy, by name: without it orbax warns of each leaf's sharding
    kinds = reader.metadata(saved).item_metadata.tree
    how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), kinds)
    tree = reader.restore(saved, args=ocp.args.PyTreeRestore(restore_args=how))
  return {jax.tree_util.keystr(p): np.asarray(a).tobytes() for p, a in jax.tree_util.tree_leaves_with_path(tree)}

"""Runs of a sweep: one in this process, one in a process of its own, or several as one program."""

import argparse
import contextlib
import gc
import json
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence

import jax

from grpo_jax import main as trainer
from grpo_jax.distributed.multihost import is_first
from grpo_jax.distributed.preemption import SIGNALS, Preempted
from grpo_jax.reports.records import read_status
from grpo_jax.rewards.self_test import RewardError
from grpo_jax.runs.faults import NothingLearned
from grpo_jax.runs.report import nothing_learned
from grpo_jax.sweeps.spec import Run
from grpo_jax.sweeps.status import held, write_status
from grpo_jax.sweeps.vmapped import check_arms, program_of, run_vmapped


def batches(runs: Sequence[Run], most: int) -> list[tuple[Run, ...]]:
  """Runs in batches of up to `most` that differ in numbers alone; 0 puts each by itself."""
  found: dict[str, list[list[Run]]] = {}
  for run in runs:
    program = json.dumps(program_of(run.config), default=str) if most and not why_alone(run) else run.hash
    some = found.setdefault(program, [[]])
    if len(some[-1]) >= max(most, 1):
      some.append([])
    some[-1].append(run)
  return [tuple(batch) for some in found.values() for batch in some]


def why_alone(run: Run) -> str:
  """Why a run cannot be an arm of one program; empty where it can."""
  try:
    check_arms([run.config])
  except ValueError as error:
    return str(error)
  return ""


def one(run: Run, *, wait: bool = False) -> str:
  """`attempt` of a single run; its state."""
  return attempt(run, wait=wait)[run.name]


def attempt(*runs: Run, wait: bool = False) -> dict[str, str]:
  """Does what is not done in this process, several runs as one program.

  Returns:
    {name: state}, where "held" is a run that another process has.
  """
  states = {run.name: "held" for run in runs}
  with contextlib.ExitStack() as locks:
    single = jax.process_count() == 1  # many processes are one run, and all do it
    mine = [r for r in runs if not single or locks.enter_context(held(r.workdir, wait=wait))]
    left = [r for r in mine if read_status(r.workdir)["state"] != "done"]  # now that nobody else can be at it
    states |= {run.name: "done" for run in mine}
    return states | (_attempt(left) if left else {})


def _attempt(runs: list[Run]) -> dict[str, str]:
  """Their states in the end; what they print goes into the log of the first."""
  started, state, facts = time.time(), "done", {}
  for run in runs:
    run.workdir.mkdir(parents=True, exist_ok=True)
    _note(run, "running")
  with contextlib.ExitStack() as stack:
    if is_first():  # what a run prints is its own affair; the sweep has one line for each
      log = stack.enter_context((runs[0].workdir / "log.txt").open("a", buffering=1))
      stack.enter_context(contextlib.redirect_stdout(log))
    try:
      if len(runs) == 1:
        trainer.run(runs[0].config, runs[0].workdir)
      else:
        run_vmapped([run.config for run in runs], [run.workdir for run in runs])
    except Preempted:
      raise
    except Exception as error:  # whatever it was, the other runs go on
      foreseen = isinstance(error, (ValueError, RewardError, OSError, NothingLearned))
      state, facts = "failed", {"error": str(error) if foreseen else f"{type(error).__name__}: {error}"}
      traceback.print_exc(file=sys.stdout)
  states = {}
  for run in runs:
    own, why = state, facts
    said = nothing_learned(run.workdir, run.config.train.max_skips) if own == "done" and len(runs) > 1 else ""
    if said:  # one arm of many
      own, why = "failed", {"error": said}
    states[run.name] = own
    _note(run, own, seconds=(time.time() - started) / len(runs), **why)
  gc.collect()  # the programs and arrays, before the next one makes its own
  return states


def _note(run: Run, state: str, **facts) -> None:
  if is_first():
    write_status(run.workdir, state, **facts)


def attempt_isolated(run: Run, arguments: argparse.Namespace, *, wait: bool = False) -> str:
  """`attempt` in a process of its own; one that ends without a word of its own has failed."""
  if (state := read_status(run.workdir)["state"]) == "done":
    return state
  command = [sys.executable, "-m", "grpo_jax.sweeps.run", f"--sweep={arguments.sweep}", f"--only={run.hash}"]
  child = subprocess.Popen([*command, f"--workdir={run.workdir.parent}", *["--wait-for-stage"] * wait])
  before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
  status = child.wait()
  signal.signal(signal.SIGTERM, before)
  if status in (*(128 + n for n in SIGNALS), -signal.SIGTERM):
    raise Preempted(f"{run.name}; the same command continues")
  with held(run.workdir, wait=False) as free:
    if free and read_status(run.workdir)["state"] not in ("done", "failed"):
      write_status(run.workdir, "failed", error=f"its process ended with status {status}")
    return read_status(run.workdir)["state"] if free else "held"

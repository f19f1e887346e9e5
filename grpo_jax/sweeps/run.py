"""Runs a sweep: `python -m grpo_jax.sweeps.run --sweep=configs/sweeps/group_size.py [--workdir=…]`.

  --dry-run      prints the runs, each with its hash and folder, and starts nothing
  --shard=i/n    only shard i of n (1 … n); `array` takes both from Slurm's job array
  --isolated     each run in a process of its own, which may crash alone

The same command again does what is missing: a run that is done is left alone, one that was killed resumes bit for bit,
one that failed is tried again. Writes report.html, its tables as CSV and its curves as a PNG into the workdir. The exit
status is the number of runs that failed (100 for more); 143 after SIGTERM, when the same command continues.
"""

import argparse
import contextlib
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback

import jax
from absl import logging

from grpo_jax import main as trainer
from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.distributed.multihost import initialize, is_first
from grpo_jax.distributed.preemption import Preempted
from grpo_jax.metrics import write_whole
from grpo_jax.reports.page import write_page
from grpo_jax.reports.records import read_status
from grpo_jax.rewards.self_test import RewardError
from grpo_jax.runs.validate import validate_devices
from grpo_jax.sweeps.spec import Plan, Run, Sweep, expand, load
from grpo_jax.sweeps.status import held, write_status

MOST = 100  # failures that an exit status tells apart from signals
POLL_SECONDS = 10.0


def parsed(argv=None) -> argparse.Namespace:
  """The flags."""
  parser = argparse.ArgumentParser(
    prog="grpo_jax.sweeps.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sweep", required=True, help="file with get_sweep(), FILE.py or FILE.py:ARG")
  parser.add_argument("--workdir", help="folder of the sweep; default runs/NAME")
  parser.add_argument("--dry-run", action="store_true", help="print the runs and start nothing")
  parser.add_argument("--shard", default="1/1", help="i/n, 1 <= i <= n; or array, for Slurm's")
  parser.add_argument("--isolated", action="store_true", help="a process for each run")
  parser.add_argument("--wait-for-stage", action="store_true", help="the shared stage is another shard's to run")
  parser.add_argument("--only", default="", help=argparse.SUPPRESS)  # the hash of the run that --isolated starts
  return parser.parse_args(argv)


def shard_of(text: str, environment=os.environ) -> tuple[int, int]:
  """(index, count) of `--shard`; ValueError with the form it must have."""
  if text == "array":
    text = "/".join(environment.get(f"SLURM_ARRAY_TASK_{part}", "?") for part in ("ID", "COUNT"))
  index, _, count = text.partition("/")
  if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
    raise ValueError(f"--shard={text!r} must be i/n with 1 <= i <= n, such as 1/4; or array in a Slurm array 1-n.")
  return int(index), int(count)


def declaration(plan: Plan) -> dict:
  """What sweep.json holds for the report: which runs there should be, and which arm is compared with."""
  sweep: Sweep = plan.sweep
  runs = [{"name": r.name, "arm": r.arm, "seed": r.seed, "hash": r.hash, "folder": r.workdir.name} for r in plan.runs]
  return {"name": sweep.name, "base": sweep.base, "baseline": sweep.baseline or next(iter(sweep.arms)),
          "budget": dict(sweep.budget), "stage": plan.stage.workdir.name if plan.stage else "", "runs": runs}


def show(plan: Plan, runs: tuple[Run, ...]) -> None:
  """The dry run: a line for each run."""
  every = [plan.stage, *runs] if plan.stage else list(runs)
  width = max(len(run.name) for run in every)
  print(f"sweep {plan.sweep.name}: {len(plan.sweep.arms)} arms x {len(plan.sweep.seed_list)} seeds, "
        f"{len(runs)} of {len(plan.runs)} runs in this shard")
  for run in every:
    state = {"running": "unfinished"}.get(found := read_status(run.workdir)["state"], found)
    print(f"{run.name:{width}}  {run.hash}  {state:10}  {run.workdir}")


def attempt(run: Run, *, wait: bool = False) -> str:
  """Does a run unless it is done, in this process; its state after that, or "held" where another process has it."""
  if read_status(run.workdir)["state"] == "done":
    return "done"
  with held(run.workdir, wait=wait) if jax.process_count() == 1 else contextlib.nullcontext(True) as mine:
    if not mine:
      return "held"
    if read_status(run.workdir)["state"] == "done":  # while this process waited for the lock
      return "done"
    return _attempt(run)


def _attempt(run: Run) -> str:
  started, state, facts = time.time(), "done", {}
  run.workdir.mkdir(parents=True, exist_ok=True)
  _note(run, "running")
  with contextlib.ExitStack() as stack:
    if is_first():  # what a run prints is its own affair; the sweep has one line for each
      log = stack.enter_context((run.workdir / "log.txt").open("a", buffering=1))
      stack.enter_context(contextlib.redirect_stdout(log))
    try:
      trainer.run(run.config, run.workdir)
    except Preempted:
      raise
    except Exception as error:  # whatever it was, the other runs go on
      foreseen = isinstance(error, (ValueError, RewardError, OSError))
      state, facts = "failed", {"error": str(error) if foreseen else f"{type(error).__name__}: {error}"}
      traceback.print_exc(file=sys.stdout)
  _note(run, state, seconds=time.time() - started, **facts)
  gc.collect()  # the run's programs and arrays, before the next one makes its own
  return state


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
  if status in (trainer.PREEMPTED_STATUS, -signal.SIGTERM):
    raise Preempted(f"{run.name}; the same command continues")
  with held(run.workdir, wait=False) as free:
    if free and read_status(run.workdir)["state"] not in ("done", "failed"):
      write_status(run.workdir, "failed", error=f"its process ended with status {status}")
    return read_status(run.workdir)["state"] if free else "held"


def run_stage(plan: Plan, arguments: argparse.Namespace) -> None:
  """Does the stage that all runs start from, or waits for the process that does; ValueError where it failed."""
  stage = plan.stage
  if arguments.wait_for_stage:
    print(f"waiting for {stage.workdir}", flush=True)
    while (state := read_status(stage.workdir)["state"]) not in ("done", "failed"):
      time.sleep(POLL_SECONDS)
  else:
    state = attempt_isolated(stage, arguments, wait=True) if arguments.isolated else attempt(stage, wait=True)
  if state != "done":
    error = read_status(stage.workdir).get("error", state)
    raise ValueError(f"no run was started, since the stage before them, {stage.workdir}, failed: {error}")
  print(f"stage {stage.name} done: {stage.workdir}", flush=True)


def execute(plan: Plan, runs: tuple[Run, ...], arguments: argparse.Namespace) -> dict[str, str]:
  """Does what is missing, one after another; {name: state}.

  This loop is the place for another way of running: what takes several runs at once takes them out of `runs` here, and
  leaves in each workdir what `trainer.run` would, with `write_status(workdir, "done")`.
  """
  states = {}
  if plan.stage:
    run_stage(plan, arguments)
  for number, run in enumerate(runs, 1):
    before, started = read_status(run.workdir)["state"], time.perf_counter()
    state = attempt_isolated(run, arguments) if arguments.isolated else attempt(run)
    states[run.name] = state
    took = "before" if before == "done" else f"{time.perf_counter() - started:.1f} s"
    facts = {"done": took, "failed": read_status(run.workdir).get("error", ""), "held": "another process has it"}
    print(f"[{number}/{len(runs)}] {run.name}: {state}, {facts.get(state, took)}", flush=True)
  return states


def _check_devices(runs) -> None:
  for run in runs:
    m = run.config.mesh
    validate_devices(run.config, make_mesh(m.data, m.fsdp, m.tensor, m.sequence))


def _cache(workdir: pathlib.Path) -> None:
  """Arms that differ in numbers are the same programs: without a compile cache of the user's, one in the workdir."""
  if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", str(workdir / "xla-cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def sweep_main(arguments: argparse.Namespace) -> int:
  """Everything but the exit; the number of runs that failed. Raises ValueError for what the user must put right."""
  sweep = load(arguments.sweep, "get_sweep")
  if not isinstance(sweep, Sweep):
    raise ValueError(f"get_sweep() of {arguments.sweep} returned a {type(sweep).__name__}; return a Sweep.")
  index, count = shard_of(arguments.shard)
  if arguments.dry_run or arguments.isolated:  # the devices are for the runs' own processes
    jax.config.update("jax_platforms", "cpu")
  else:
    initialize()
  plan = expand(sweep, arguments.workdir or f"runs/{sweep.name}")
  runs = plan.shard(index, count)
  if arguments.dry_run:
    show(plan, runs)
    return 0
  _cache(plan.workdir)
  if arguments.only:
    own = [r for r in (plan.stage, *plan.runs) if r and r.hash == arguments.only]
    return int(attempt(own[0], wait=arguments.wait_for_stage) == "failed")  # a stage waits for who does it
  if not arguments.isolated:
    _check_devices([*([plan.stage] if plan.stage else []), *runs])
  if is_first():
    plan.workdir.mkdir(parents=True, exist_ok=True)
    write_whole(plan.workdir / "sweep.json", json.dumps(declaration(plan), indent=1))
  states = execute(plan, runs, arguments)
  if is_first():
    print("report:", write_page([plan.workdir], plan.workdir), flush=True)
  failed, left = (list(states.values()).count(state) for state in ("failed", "held"))
  if left:
    print(f"{left} of {len(runs)} runs are another process's; the same command does what that leaves", flush=True)
  if failed:
    print(f"error: {failed} of {len(runs)} runs failed; see {plan.workdir}", flush=True)
  elif not left:
    print(f"run is done: {plan.workdir}", flush=True)  # what launch/babysit.sh looks for
  return failed


def main() -> None:
  """Runs the sweep of the flags; bad input ends in `error: …` and exit status 1."""
  logging.set_verbosity(logging.ERROR)
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  try:
    failed = sweep_main(parsed())
  except Preempted as stop:
    print(f"preempted: {stop}", flush=True)
    sys.exit(trainer.PREEMPTED_STATUS)
  except (ValueError, OSError) as error:
    sys.exit(f"error: {error}")
  sys.exit(min(failed, MOST))


if __name__ == "__main__":
  main()

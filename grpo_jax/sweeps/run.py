"""Runs a sweep: `python -m grpo_jax.sweeps.run --sweep=configs/sweeps/group_size.py [--workdir=…]`.

  --dry-run      prints the runs, each with its hash and folder, and starts nothing
  --shard=i/n    only shard i of n (1 … n); `array` takes both from Slurm's job array
  --isolated     each run in a process of its own, which may crash alone
  --vmapped[=n]  runs that differ in numbers alone as one program of up to n arms (32); what cannot be one runs alone

The same command again does what is missing: a run that is done is left alone, one that was killed resumes bit for bit,
one that failed is tried again. Writes report.html, its tables as CSV and its curves as a PNG into the workdir. The exit
status is the number of runs that failed (100 for more); 143 after SIGTERM, when the same command continues.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import jax

from grpo_jax.config.local_paths import check_local
from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.distributed.multihost import LostPeers, initialize, is_first, leave_lost, peers_lost
from grpo_jax.distributed.preemption import Preempted
from grpo_jax.metrics import write_whole
from grpo_jax.quiet import quiet
from grpo_jax.reports.page import write_page
from grpo_jax.reports.records import read_status
from grpo_jax.runs.validate import validate_devices
from grpo_jax.sweeps.attempt import attempt, attempt_isolated, batches, one, why_alone
from grpo_jax.sweeps.spec import Plan, Run, Sweep, expand, load

MOST = 100  # failures that an exit status tells apart from signals
POLL_SECONDS = 10.0
ARMS = 32  # of one program, where --vmapped does not say


def parsed(argv=None) -> argparse.Namespace:
  """The flags."""
  parser = argparse.ArgumentParser(
    prog="grpo_jax.sweeps.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--sweep", required=True, help="file with get_sweep(), FILE.py or FILE.py:ARG")
  parser.add_argument("--workdir", help="folder of the sweep; default runs/NAME")
  parser.add_argument("--dry-run", action="store_true", help="print the runs and start nothing")
  parser.add_argument("--shard", default="1/1", help="i/n, 1 <= i <= n; or array, for Slurm's")
  parser.add_argument("--isolated", action="store_true", help="a process for each run")
  parser.add_argument("--vmapped", type=int, nargs="?", const=ARMS, default=0, metavar="ARMS",
                      help=f"runs that differ in numbers alone as one program of up to ARMS of them; {ARMS}")
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
          "budget": dict(sweep.budget), "measures": list(sweep.measures),
          "stage": plan.stage.workdir.name if plan.stage else "", "runs": runs}


def show(plan: Plan, runs: tuple[Run, ...], most: int) -> None:
  """The dry run: a line for each run, and which of those that are not done would be one program."""
  every = [plan.stage, *runs] if plan.stage else list(runs)
  width = max(len(run.name) for run in every)
  print(f"sweep {plan.sweep.name}: {len(plan.sweep.arms)} arms x {len(plan.sweep.seed_list)} seeds, "
        f"{len(runs)} of {len(plan.runs)} runs in this shard")
  for run in every:
    state = {"running": "unfinished"}.get(found := read_status(run.workdir)["state"], found)
    print(f"{run.name:{width}}  {run.hash}  {state:10}  {run.workdir}")
  missing = [run for run in runs if read_status(run.workdir)["state"] != "done"]
  for batch in batches(missing, most) if most else ():
    why = f": {text}" if len(batch) == 1 and (text := why_alone(batch[0])) else ""
    print(f"one program of {len(batch)}: {', '.join(run.name for run in batch)}{why}")


def run_stage(plan: Plan, arguments: argparse.Namespace) -> None:
  """Does the stage that all runs start from, or waits for the process that does; ValueError where it failed."""
  stage = plan.stage
  if arguments.wait_for_stage:
    print(f"waiting for {stage.workdir}", flush=True)
    while (state := read_status(stage.workdir)["state"]) not in ("done", "failed"):
      time.sleep(POLL_SECONDS)
  else:
    state = attempt_isolated(stage, arguments, wait=True) if arguments.isolated else one(stage, wait=True)
  if state != "done":
    error = read_status(stage.workdir).get("error", state)
    raise ValueError(f"no run was started, since the stage before them, {stage.workdir}, failed: {error}")
  print(f"stage {stage.name} done: {stage.workdir}", flush=True)


def execute(plan: Plan, runs: tuple[Run, ...], arguments: argparse.Namespace) -> dict[str, str]:
  """Does what is missing, one batch after another; {name: state}."""
  states = {}
  if plan.stage:
    run_stage(plan, arguments)
  before = {run.name for run in runs if read_status(run.workdir)["state"] == "done"}
  for run in runs:
    if run.name in before:
      states[run.name] = "done"
      print(f"[{len(states)}/{len(runs)}] {run.name}: done, before", flush=True)
  for batch in batches([run for run in runs if run.name not in before], arguments.vmapped):
    started = time.perf_counter()
    done = {batch[0].name: attempt_isolated(batch[0], arguments)} if arguments.isolated else attempt(*batch)
    took = f"{time.perf_counter() - started:.1f} s" + (f" for {len(batch)} as one program" if len(batch) > 1 else "")
    for run in batch:
      state = states[run.name] = done[run.name]
      facts = {"failed": read_status(run.workdir).get("error", ""), "held": "another process has it"}
      print(f"[{len(states)}/{len(runs)}] {run.name}: {state}, {facts.get(state, took)}", flush=True)
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
  check_local({"--workdir": arguments.workdir})
  index, count = shard_of(arguments.shard)
  if arguments.vmapped < 0 or (arguments.vmapped and arguments.isolated):
    raise ValueError(f"--vmapped={arguments.vmapped} must be a number of arms, without --isolated; leave one out.")
  if arguments.dry_run or arguments.isolated:  # the devices are for the runs' own processes
    jax.config.update("jax_platforms", "cpu")
  else:
    initialize()
  plan = expand(sweep, arguments.workdir or f"runs/{sweep.name}")
  runs = plan.shard(index, count)
  if arguments.dry_run:
    show(plan, runs, arguments.vmapped)
    return 0
  _cache(plan.workdir)
  if arguments.only:
    own = [r for r in (plan.stage, *plan.runs) if r and r.hash == arguments.only]
    return int(one(own[0], wait=arguments.wait_for_stage) == "failed")  # a stage waits for who does it
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
  quiet()
  try:
    failed = sweep_main(parsed())
  except Preempted as stop:
    print(f"preempted: {stop}", flush=True)
    sys.exit(stop.status)
  except LostPeers as error:
    leave_lost(error)
  except (ValueError, OSError, RuntimeError) as error:
    if peers_lost(error):
      leave_lost(error)
    if isinstance(error, RuntimeError):
      raise
    sys.exit(f"error: {error}")
  sys.exit(min(failed, MOST))


if __name__ == "__main__":
  main()

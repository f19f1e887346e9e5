"""Whose folder a workdir is: the config, inputs and environment of its run, recorded at the first start and compared
at each later one."""

import importlib.metadata
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import warnings

import jax
import jaxlib
from ml_collections import ConfigDict

from grpo_jax.config.identity import ENDS, identity_items, resumable
from grpo_jax.config.stages import kind_of, last_stage
from grpo_jax.distributed.multihost import barrier, code_version, is_first
from grpo_jax.distributed.owner import own
from grpo_jax.metrics import backed_up, write_whole
from grpo_jax.reading import read_json
from grpo_jax.runs.inputs import other_contents, read_inputs, rewritten
from grpo_jax.runs.run_files import CONFIG, checked_config, config_text
from grpo_jax.runs.saved import steps_in

ACCEPT = "--config.checkpoint.accept_changes=true"


def environment() -> dict:
  """What bit-for-bit resume depends on besides the config: devices, code, and versions of all packages."""
  device = jax.devices()[0]
  packages = {f"package {d.metadata['Name']}": d.version for d in importlib.metadata.distributions()}
  return {
    "jax": jax.__version__, "jaxlib": jaxlib.__version__, "device": device.device_kind, "devices": jax.device_count(),
    "cores": os.cpu_count(), "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""), "code": code_version(),
    "python": sys.version.split()[0], **commit(), **dict(sorted(packages.items())),
  }


def commit() -> dict:
  """{"commit", "dirty"} of the working copy that this package is in; empty where it is in none."""
  folder = pathlib.Path(__file__).parent

  def git(*arguments):
    how = {"cwd": folder, "capture_output": True, "text": True, "timeout": 20, "check": True}
    return subprocess.run(["git", *arguments], **how).stdout

  try:
    git("ls-files", "--error-unmatch", __file__)
    return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(git("status", "--porcelain", "--", "..").strip())}
  except (OSError, subprocess.SubprocessError):
    return {}


def changed_environment(workdir: pathlib.Path, now: dict | None = None) -> dict:
  """{fact: (when a run in `workdir` last started, now)} of those that changed; empty where none has started."""
  path = workdir / "environment.json"
  if not path.exists():
    return {}
  before = read_json(path, "remove it: the next start writes it anew")
  return {k: (before[k], v) for k, v in (now or environment()).items() if k in before and before[k] != v}


def claim(workdir: pathlib.Path, config: ConfigDict, inputs: dict | None = None, *, extend: bool = True) -> None:
  """Makes the workdir this config's, and records config, inputs, environment and start.

  Args:
    inputs: `read_inputs` from before the first of them was opened: one that was rewritten since is noticed.
    extend: whether a run in it may go on with more iterations and another layout; else only with free keys changed.
  Raises:
    ValueError: the run in it differs from this config, or its inputs had other contents; the sentence names the keys.
    Held: another process has the workdir. Nothing in it was touched.
  """
  if is_first():
    own(workdir)
    _claim(pathlib.Path(workdir), config, inputs, extend)
  barrier("claim")


def _claim(workdir: pathlib.Path, config: ConfigDict, inputs: dict | None, extend: bool) -> None:
  workdir.mkdir(parents=True, exist_ok=True)
  accept = config.checkpoint.accept_changes
  now = read_inputs(config) if inputs is None else inputs
  if name := rewritten(now):
    raise ValueError(f"{name} was rewritten while it was read; start again when it is whole.")
  before = _recorded(workdir / "inputs.json", accept)
  changed = _changes(workdir, config, before, now, accept)
  check_changes(workdir, config, changed, extend)
  other = other_contents(before, now)
  if other and not accept:
    raise ValueError(f"{workdir} holds a run that began with other contents of {'; '.join(other)}; restore them, give "
                     f"another --workdir, or go on all the same with {ACCEPT}.")
  for text in other:
    print(f"warning: going on with other contents of {text}", file=sys.stderr, flush=True)
  around = environment()
  try:
    if facts := changed_environment(workdir, around):
      warnings.warn(f"environment changed since this run began, last bits may differ: {facts}", stacklevel=3)
  except ValueError as error:
    print(f"warning: {error}", file=sys.stderr, flush=True)
  write_whole(workdir / CONFIG, config_text(json.loads(json.dumps(identity_items(config))), config.to_dict()))
  _write(workdir / "inputs.json", now)
  _write(workdir / "environment.json", around)
  start = {"time": time.time(), "host": socket.gethostname(), "command": sys.argv, "changed": changed,
           "commit": around.get("commit"), "dirty": around.get("dirty")}
  with (workdir / "starts.jsonl").open("a") as file:
    file.write(json.dumps(start, default=str) + "\n")


def _recorded(path: pathlib.Path, accept: bool) -> dict:
  """A record of the workdir; empty where there is none, or where it is torn and changes are accepted."""
  if not path.exists():
    return {}
  try:
    fix = f"restore it from a copy, give another --workdir, or have it written anew with {ACCEPT}"
    return checked_config(path, fix) if path.name == CONFIG else read_json(path, fix)
  except ValueError as error:
    if not accept:
      raise
    print(f"warning: {error}; it was kept as {backed_up(path)}", file=sys.stderr, flush=True)
    return {}


def recorded_inputs(workdir: pathlib.Path) -> dict[str, dict]:
  """What `claim` recorded of the inputs of the run in a workdir; empty where it did not."""
  path = workdir / "inputs.json"
  return read_json(path) if path.exists() else {}


def _changes(workdir: pathlib.Path, config: ConfigDict, before: dict, now: dict, accept: bool) -> dict:
  """{key: [value of the run in the workdir, value of this config]}; a path to the same contents is no change."""
  path, mine = workdir / CONFIG, json.loads(json.dumps(identity_items(config)))
  if not path.exists() and not accept and (found := sorted(workdir.glob("*/checkpoints/[0-9]*"))):
    raise ValueError(f"{workdir} holds {found[0].relative_to(workdir)} but no {CONFIG}, so nobody knows whose it is; "
                     f"restore it, give another --workdir, or go on all the same with {ACCEPT}.")
  theirs = _recorded(path, accept).get("identity", mine)
  same = {key for key in before.keys() & now.keys() if before[key]["digest"] == now[key]["digest"]}
  return {k: [theirs.get(k), mine.get(k)] for k in sorted(theirs.keys() | mine.keys())
          if theirs.get(k) != mine.get(k) and k not in same}


def check_changes(workdir: pathlib.Path, config: ConfigDict, changed: dict, extend: bool) -> None:
  """Prints the changes that a run may go on with; ValueError names those that would change its results."""
  trains = kind_of(config.task).trains
  fixed = [k for k in changed if not (extend and (k in ENDS or resumable(k, trains)))]
  if fixed:
    texts = [f"{k}={changed[k][0]!r}, this one has {k}={changed[k][1]!r}" for k in fixed]
    rest = f" ({len(fixed)} keys differ)" if len(fixed) > 5 else ""
    raise ValueError(f"workdir {workdir} holds a run with {'; '.join(texts[:5])}{rest}; give another --workdir or "
                     "delete that one.")
  for key in changed.keys() & ENDS.keys():
    _check_end(workdir, config, key, *changed[key])
  for key, (theirs, mine) in changed.items():
    print(f"changed since the last start: {key} {theirs!r} → {mine!r}", flush=True)


def _check_end(workdir: pathlib.Path, config: ConfigDict, key: str, before: int, now: int) -> None:
  """A stage may end later, or earlier than planned: not before where it is, nor when the next stage began from it."""
  stages, optimizers = ENDS[key]
  done = max([step for stage in stages for step in steps_in(workdir / stage / "checkpoints")], default=0)
  if now < done:
    raise ValueError(f"{key}={now} is below the {done} that the run in {workdir} has done; give {done} or more.")
  last = last_stage(config.task)
  if key == "sft.steps" and last != "sft" and steps_in(workdir / last / "checkpoints"):
    raise ValueError(f"workdir {workdir} holds a run with {key}={before}, this one has {key}={now}, and its {last} "
                     "stage has begun from the end of that; give another --workdir.")
  moved = [f"{name}.schedule={config[name].schedule!r}" for name in optimizers if config[name].schedule != "constant"]
  if moved and done and not config.checkpoint.accept_changes:
    raise ValueError(
      f"{key} {before} → {now} moves the end of {' and '.join(moved)}: learning rates from step {done + 1} on are not "
      f"those of a run that had {now} from the start; go on all the same with {ACCEPT}, or give another --workdir.")


def _write(path: pathlib.Path, data) -> None:
  write_whole(path, json.dumps(data, indent=1, sort_keys=True, default=str))

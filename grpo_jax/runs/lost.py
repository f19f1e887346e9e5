"""A stage's folder that has lost what it had: noticed before anything is written: nothing begins anew unasked."""

import pathlib
import sys

from ml_collections import ConfigDict

from grpo_jax.distributed.multihost import barrier, is_first
from grpo_jax.metrics import read_lines
from grpo_jax.runs.saved import saved_before, steps_in


def check_kept(directory: pathlib.Path, choices: ConfigDict, logs: bool) -> None:
  """Compares the checkpoints and the log of a stage with each other; `choices` is config.checkpoint.

  A run that was killed before its first checkpoint has a log and no checkpoint, and begins again. Where there was a
  checkpoint and none is left, `checkpoint.start_anew` keeps the folder under another name and begins anew.

  Raises:
    ValueError: the checkpoints are gone, or the log of those that are there (with `logs`).
  """
  checkpoints, log = directory / "checkpoints", directory / "metrics.jsonl"
  steps, rows = steps_in(checkpoints), read_lines(log).rows
  damaged = sorted(path.name for path in checkpoints.glob("*.damaged*"))
  last = max((row["step"] for row in rows), default=0)
  reason = ""
  if not steps and damaged:
    reason = f"{checkpoints} has only damaged checkpoints ({', '.join(damaged)})"
  elif not steps and (before := saved_before(checkpoints)):
    reason = f"{checkpoints} has no checkpoint, though {before} was saved there"
  elif not steps and choices.every and last > 2 * choices.every:  # the first was complete before the second was begun
    reason = f"{checkpoints} has no checkpoint, though {log} goes to step {last}"
  barrier(f"kept {directory.name}")  # all have looked before the first one moves anything
  if reason and not choices.start_anew:
    raise ValueError(f"{reason}; restore it, or begin this stage anew with --config.checkpoint.start_anew=true, which "
                     "keeps the folder under another name.")
  if reason:
    keep_aside(directory, reason)
  elif steps and logs and not rows:
    if not choices.accept_changes:
      raise ValueError(f"{log} is {'empty' if log.exists() else 'missing'} beside checkpoint {steps[-1]}; restore it, "
                       "or go on without the earlier lines with --config.checkpoint.accept_changes=true.")
    print(f"warning: going on without the lines of {log} up to {steps[-1]}", file=sys.stderr, flush=True)


def keep_aside(directory: pathlib.Path, reason) -> None:
  """Renames a stage's folder to the first free NAME.before-1, NAME.before-2, …"""
  if is_first():
    number = 1
    while (target := directory.with_name(f"{directory.name}.before-{number}")).exists():
      number += 1
    directory.rename(target)
    print(f"warning: {reason}; beginning anew, what was there is kept in {target}", file=sys.stderr, flush=True)
  barrier(f"aside {directory.name}")

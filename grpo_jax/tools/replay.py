"""Executes an iteration of a run again, bit for bit, and checks it against what the run recorded.

  python -m grpo_jax.tools.replay --workdir WORKDIR --step 40
  python -m grpo_jax.tools.replay --workdir WORKDIR --step 40 --variants dr_grpo,dapo,run:epsilon_high=0.28

From the newest checkpoint before the step, else from the weights that the stage began with, by the run's own code.
Compared are every kept rollout on the way (config.log.rollouts), the state after it, and the lines of metrics.jsonl;
exit status 1 says that something differs. `--variants` asks what other rows would have done on the same tokens.
Of a run that has stopped, on the machine type it ran on; nothing in its folder changes but `rl/rollouts`.
"""

import argparse
import functools
import pathlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from grpo_jax.config.stages import stages_of
from grpo_jax.distributed.multihost import code_version
from grpo_jax.metrics import read_rows
from grpo_jax.quiet import quiet
from grpo_jax.reports.rollouts import KeptRollout, kept_steps, read_rollout, rollout_file
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.self_test import RewardError
from grpo_jax.runs.claim import changed_environment
from grpo_jax.runs.kept import Made, kept_rollout
from grpo_jax.runs.model import run_config
from grpo_jax.runs.ops import OnDemand
from grpo_jax.runs.parts import RLParts
from grpo_jax.runs.rl import iterate
from grpo_jax.runs.saved import bare, read_step, wrong_leaves
from grpo_jax.runs.setup import make_setup
from grpo_jax.runs.signals import Judge
from grpo_jax.runs.supervised import run_sft
from grpo_jax.tools.variants import compare_rows, show_rows
from grpo_jax.training.fingerprint import leaf_fingerprints


@dataclass(frozen=True)
class Replayed:
  """One iteration, executed again: the state before and after it, its numbers, and what it made."""

  step: int
  before: object
  after: object
  numbers: dict
  made: Made


class Replayer:
  """A run whose iterations can be executed again. Makes no directory and no checkpoint."""

  def __init__(self, workdir: pathlib.Path, rewards: Rewards):
    self.workdir, self.config = pathlib.Path(workdir), run_config(workdir)
    self.setup = make_setup(self.config)
    self.parts, self.ops = RLParts.of(self.setup), OnDemand(self.setup.mesh)
    asks, ends = self.parts.choices.asks, self.config.rewards.step_ends
    self.judge = Judge(rewards, self.setup.tokenizer, asks, ends)

  @functools.cached_property
  def begun(self):
    """The state that the stage began with."""
    if "sft" not in stages_of(self.config.task):
      return self.parts.fresh_state()
    folder, steps = self.workdir / "sft" / "checkpoints", self.config.sft.steps
    if not (folder / str(steps)).is_dir():
      raise ValueError(f"{folder} has no checkpoint {steps}, which the RL stage began from; restore it.")
    return self.parts.fresh_state(run_sft(self.setup, self.workdir))

  def state_before(self, step: int):
    """(iteration, state): of the newest checkpoint before `step`, else what the stage began with, as iteration 0."""
    folder = self.workdir / "rl" / "checkpoints"
    found = [int(path.name) for path in folder.glob("*") if path.name.isdigit() and 0 < int(path.name) < step]
    if not found:
      return 0, jax.tree.map(jnp.copy, self.begun)
    like = self.begun if self.setup.lora else self.parts.fresh_state()  # adapters: with the snapshot of SFT's or not
    return max(found), read_step(folder, max(found), like)

  def iterations(self, step: int) -> Iterator[Replayed]:
    """All iterations from the newest checkpoint before `step` to it."""
    at, state = self.state_before(step)
    for i in range(at + 1, step + 1):
      before = jax.tree.map(jnp.copy, state) if i == step else None  # the update donates its buffers
      state, numbers, made = iterate(self.ops, self.parts, self.judge, state, i)
      yield Replayed(i, before, state, numbers, made)


def first_difference(name: str, recorded: np.ndarray, replayed: np.ndarray) -> str:
  """`tokens differ first at prompt 3, completion 1, token 0: 17 recorded, 4 replayed`; empty where they do not."""
  if recorded.shape != replayed.shape:
    return f"{name} have shape {recorded.shape} recorded, {replayed.shape} replayed"
  unequal = np.argwhere(~((recorded == replayed) | ((recorded != recorded) & (replayed != replayed))))
  if not len(unequal):
    return ""
  at = tuple(unequal[0])
  where = ", ".join(f"{axis} {i}" for axis, i in zip(("prompt", "completion", "token"), at, strict=False))
  return f"{name} differ first at {where}: {recorded[at]} recorded, {replayed[at]} replayed ({len(unequal)} differ)"


def differences(recorded: KeptRollout, replayed: KeptRollout, state) -> dict[str, str]:
  """What differs and where, by what is compared and in the order in which it comes about; empty for equal."""
  ours = replayed.compared()
  hashes = replayed.hashes()
  found = {}
  for name, theirs in recorded.compared().items():
    if name not in ours:
      found[name] = f"{name} are recorded, and were not made again"
    elif recorded.facts["hashes"][name] != hashes[name]:
      found[name] = first_difference(name, theirs, ours[name]) or f"{name} have another type or sign of zero"
    else:
      found[name] = ""
  wrong = wrong_leaves(state, recorded.state, jax.jit(leaf_fingerprints)(state))
  found["state"] = f"the state after it differs in {len(wrong)} arrays, first in {wrong[0]}" if wrong else ""
  return found


def line_difference(row: dict, numbers: dict) -> str:
  """How an iteration's numbers differ from its line in the log, times aside."""
  for name, value in row.items():
    if name in ("step", "kind") or name.startswith("time/"):
      continue
    ours = numbers.get(name)
    ours = None if isinstance(ours, float) and not np.isfinite(ours) else ours
    if ours != value:
      return f"{name} is {value} in metrics.jsonl, {ours} replayed"
  return ""


def check(replayer: Replayer, step: int, console: Console) -> tuple[Replayed, list[str]]:
  """Replays up to a step and prints a table of what was compared; the step, and what differs in words."""
  rows = {row["step"]: row for row in read_rows(replayer.workdir / "rl" / "metrics.jsonl") if row["kind"] == "train"}
  kept, wrong, code = set(kept_steps(replayer.workdir)), [], code_version()
  table = Table("iteration", "tokens", "log-probs", "rewards", "advantages", "state", "log line",
                title=f"{replayer.workdir}: executed again, against what was recorded")
  for done in replayer.iterations(step):
    cells, found = ["not kept"] * 5, {}
    if done.step in kept:
      recorded = read_rollout(rollout_file(replayer.workdir, done.step))
      if recorded.facts.get("code") != code:
        warnings.warn(f"iteration {done.step} was kept by other code than this; results may differ", stacklevel=2)
      found = differences(recorded, kept_rollout(done.step, done.made), bare(done.after))
      groups = {"tokens": ("prompts", "uids", "lengths", "tokens", "truncated"), "log-probs": ("log-probs",),
                "advantages": ("advantages",), "state": ("state",)}
      named = {name for names in groups.values() for name in names}
      groups["rewards"] = tuple(name for name in found if name not in named)
      cells = ["DIFFERS" if any(found[n] for n in groups[column.header]) else "same" for column in table.columns[1:6]]
    if done.step in rows:
      found["line"] = line_difference(rows[done.step], done.numbers)
    cells.append("not logged" if "line" not in found else "DIFFERS" if found["line"] else "same")
    wrong += [f"iteration {done.step}: {text}" for text in found.values() if text]
    table.add_row(str(done.step), *cells)
    print(f"replayed {done.step} of {step}", file=sys.stderr, flush=True)
  console.print(table)
  if step not in kept:
    console.print(f"Iteration {step} was not kept (log.rollouts), so only its line in the log could be compared.")
  return done, wrong


def checked_step(workdir: pathlib.Path, config, step: int) -> None:
  """Raises ValueError where there is no such run or no such iteration."""
  if "rl" not in stages_of(config.task):
    raise ValueError(f"{workdir} is a run of task={config.task!r}; only an RL stage can be replayed.")
  rows = read_rows(workdir / "rl" / "metrics.jsonl")
  last = max([row["step"] for row in rows] + kept_steps(workdir), default=0)
  if not 1 <= step <= last:
    raise ValueError(f"--step={step} must be one of the run's iterations, 1 to {last}.")


def parse(arguments):
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--workdir", type=pathlib.Path, required=True, help="folder of a run")
  parser.add_argument("--step", type=int, required=True, help="iteration, from 1")
  parser.add_argument("--variants", nargs="?", const="", help="rows: presets, or run, each with :cell=value …; "
                      "without a value every preset that the run has the signals for")
  return parser.parse_args(arguments)


def main(arguments=None) -> int:
  """Command line; exit status 1 where something differs, or with one sentence where nothing can be replayed."""
  quiet()
  options, console = parse(arguments), Console(width=120)
  try:
    if not (options.workdir / "config.json").is_file():
      raise ValueError(f"--workdir={str(options.workdir)!r} is not the folder of a run: it has no config.json.")
    config = run_config(options.workdir)
    checked_step(options.workdir, config, options.step)
    if changed := changed_environment(options.workdir):
      warnings.warn(f"the run was on another environment, last bits may differ: {changed}", stacklevel=1)
    r = config.rewards
    limits = {"workers": r.workers, "deadline_seconds": r.deadline_seconds, "max_error_rate": r.max_error_rate}
    with Rewards(r.components.to_dict(), **limits) as rewards:
      replayer = Replayer(options.workdir, rewards)
      done, wrong = check(replayer, options.step, console)
    for text in wrong[:20]:
      console.print(text)
    console.print("Something differs." if wrong else "Nothing differs.")
    if options.variants is not None:
      out = rollout_file(options.workdir, options.step).with_suffix("")
      show_rows(compare_rows(replayer, done, options.variants), out, options.step, console)
    return int(bool(wrong))
  except (ValueError, RewardError, OSError, MemoryError) as error:
    print(f"replay: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
  sys.exit(main())

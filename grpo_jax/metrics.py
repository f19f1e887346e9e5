"""Metrics: (sum, count) pairs to numbers, then JSON lines, TensorBoard and, when asked for, Weights & Biases."""

import json
import math
import os
import pathlib
import shutil
import sys
from typing import NamedTuple

from grpo_jax.distributed.multihost import is_first
from grpo_jax.wandb_run import WandbRun


def write_whole(path, text: str) -> None:
  """Writes a file that others see either as it was or whole."""
  path = pathlib.Path(path)
  temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
  temporary.write_text(text)
  os.replace(temporary, path)


def means(metrics: dict) -> dict[str, float]:
  """{name: (sum, count)} as {name: sum / count}; an empty count gives nan."""
  return {name: float(total) / float(count) if count else math.nan for name, (total, count) in metrics.items()}


class MetricsLog:
  """`workdir/metrics.jsonl`, one line a step and kind, and event files beside it.

  After a restart from step s, `resume(s)` drops lines later than s, so that each step stands there once.
  """

  def __init__(self, workdir: pathlib.Path, *, tensorboard: bool, wandb_project: str = "", config: dict | None = None):
    self.path = pathlib.Path(workdir) / "metrics.jsonl"
    self._file = None
    self._tensorboard, self._wandb_project, self._config = tensorboard, wandb_project, config
    self._events = self._wandb = None

  def resume(self, step: int) -> None:
    """Opens for appending after `step`; -1 starts anew. Only the first process writes."""
    if not is_first():
      return
    rows, bad = read_lines(self.path)
    if bad:
      copy = backed_up(self.path)
      print(f"warning: {_unreadable(self.path, bad)}, left out; {len(rows)} others are kept, and the file as it was "
            f"in {copy}", file=sys.stderr, flush=True)
    kept = [row for row in rows if row["step"] <= step]
    write_whole(self.path, "".join(json.dumps(row) + "\n" for row in kept))
    self._file = self.path.open("a")
    if self._tensorboard:
      from tensorboardX import SummaryWriter

      self._events = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=step + 1)
    if self._wandb_project:
      self._wandb = WandbRun(self.path.parent, self._wandb_project, self._config)

  def write(self, step: int, kind: str, values: dict[str, float]) -> None:
    """Appends a line {"step", "kind", …}; not-a-number is written as null."""
    if self._file is None:
      return
    values = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}
    self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
    self._file.flush()
    numbers = {f"{kind}/{name}": v for name, v in values.items() if isinstance(v, int | float)}
    if self._events:
      for name, v in numbers.items():
        self._events.add_scalar(name, v, step)
    if self._wandb:
      self._wandb.write(step, numbers)

  def sync(self) -> None:
    """On disk before a checkpoint says that these steps happened."""
    if self._file is None:
      return
    self._file.flush()
    os.fsync(self._file.fileno())

  def close(self) -> None:
    """Closes all writers."""
    for writer in (self._file, self._events, self._wandb):
      if writer:
        writer.close()


class Lines(NamedTuple):
  """The lines of a log: rows that could be read, and the numbers (from 1) of lines that could not."""

  rows: list[dict]
  bad: list[int]


def read_lines(path, *, kinds: bool = True) -> Lines:
  """All lines of a JSON-lines log that are objects with a whole number `step` and, with `kinds`, a text `kind`.

  None where there is no file.

  A last line that a kill cut off is neither a row nor bad.
  """
  path, found = pathlib.Path(path), Lines([], [])
  text = path.read_bytes() if path.exists() else b""
  for number, line in enumerate(text.splitlines(keepends=True), 1):
    try:
      row = json.loads(line)
      good = isinstance(row, dict) and isinstance(row.get("step"), int)
      good = good and (not kinds or isinstance(row.get("kind"), str))
    except ValueError:
      good = False
    if good:
      found.rows.append(row)
    elif line.endswith(b"\n"):
      found.bad.append(number)
  return found


def read_rows(path, *, kinds: bool = True) -> list[dict]:
  """The rows of a log such as metrics.jsonl; lines that cannot be read are left out, with one warning."""
  rows, bad = read_lines(path, kinds=kinds)
  if bad:
    print(f"warning: {_unreadable(path, bad)}, left out; {len(rows)} others are read", file=sys.stderr, flush=True)
  return rows


def _unreadable(path, bad: list[int]) -> str:
  some = ", ".join(map(str, bad[:5])) + (" …" if len(bad) > 5 else "")
  return f"{path}: {len(bad)} lines cannot be read ({some})" if len(bad) > 1 else f"{path}: line {some} cannot be read"


def backed_up(path: pathlib.Path) -> pathlib.Path:
  """Copies a file to the first free name `NAME.1.bak`, `NAME.2.bak`, …, and returns that."""
  number = 1
  while (copy := path.with_name(f"{path.name}.{number}.bak")).exists():
    number += 1
  shutil.copy2(path, copy)
  return copy

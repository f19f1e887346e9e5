"""The clerk of one stage of a run: resume, log lines, checkpoints."""

import json
import pathlib
import signal
import time

import jax
from ml_collections import ConfigDict

from grpo_jax.distributed.multihost import Deadline, barrier, is_first
from grpo_jax.distributed.owner import check_owned
from grpo_jax.distributed.preemption import Preempted, Preemption
from grpo_jax.metrics import MetricsLog, read_rows, write_whole
from grpo_jax.runs.claim import recorded_inputs
from grpo_jax.runs.doctor import Doctor, Unhealthy, compilations
from grpo_jax.runs.faults import NothingLearned, NothingWhole
from grpo_jax.runs.inputs import rewritten
from grpo_jax.runs.lost import check_kept, keep_aside
from grpo_jax.runs.memory import forget_peak, peak_memory
from grpo_jax.runs.saved import Saved


class Stage:
  """One stage (sft or rl) in `workdir/name`: where it starts, what it logs, when it saves.

  Raises:
    ValueError: the folder has lost its checkpoints or its log; see `runs/lost.py`.
  """

  def __init__(self, workdir, config: ConfigDict, *, total: int, name: str, logs: bool = True):
    self.name, self.total, self.every, self.log_every = name, total, config.checkpoint.every, config.log.every
    self.directory, self._choices = pathlib.Path(workdir) / name, config.checkpoint
    forget_peak()
    check_kept(self.directory, config.checkpoint, logs)
    self._open()
    self._inputs = recorded_inputs(pathlib.Path(workdir)) if is_first() else {}
    log = config.log
    self._metrics = MetricsLog(
      self.directory, tensorboard=log.tensorboard, wandb_project=log.wandb_project, config=config.to_dict())
    self._clock, self._preemption, self._compiled = None, Preemption(), 0
    self._strict, self._doctor = config.doctor.strict, Doctor(config.doctor, config.evaluate.component)
    self._max_skips, self._skips, self._updates, self._all_skips = config.train.max_skips, 0, 0, 0
    self._deadline = Deadline(config.distributed.deadline_seconds if jax.process_count() > 1 else 0)

  def _open(self) -> None:
    if is_first():
      self.directory.mkdir(parents=True, exist_ok=True)
    barrier(self.name)
    self.saved = Saved(self.directory / "checkpoints", keep=self._choices.keep)
    self.start, self._newest = self.saved.latest(), None

  @property
  def done(self) -> bool:
    """Whether the newest checkpoint is the last one."""
    return self.start >= self.total

  def warm_up(self, state) -> None:
    """Compiles what saving needs, and reads the newest checkpoint that is whole: where this stage starts."""
    self.saved.warm_up(state)
    check_owned(self.directory)
    try:
      if self.start:
        self.start, self._newest = self.saved.newest(state)
    except NothingWhole as error:
      if not self._choices.start_anew:
        raise
      self.saved.close()
      keep_aside(self.directory, error)
      self._open()
      self.saved.warm_up(state)

  def resume(self, state):
    """The newest checkpoint's state, else the given one; log lines later than it are dropped."""
    if self.start:
      state, self._newest = self._newest, None
      print(f"{self.name}: resumed at {self.start} of {self.total} from {self.directory}", flush=True)
    check_owned(self.directory)
    if not self.done:
      self._metrics.resume(self.start if self.start else -1)
      for row in read_rows(self._metrics.path):
        self._doctor.see(row)
      if is_first():
        with (self.directory / "starts.jsonl").open("a") as file:
          file.write(json.dumps({"step": self.start, "time": time.time()}) + "\n")
    self._clock = (time.perf_counter(), self.start)
    self._deadline.wind(f"{self.name} step {self.start + 1}")
    self._preemption.listen()
    self._compiled = compilations()["count"]
    return state

  def log(self, step: int, kind: str, values: dict, line: str) -> None:
    """One line of metrics.jsonl and one of the terminal, every `log.every` steps and at the last.

    Raises:
      Unhealthy: the doctor finds something, and the run is strict.
    """
    self._deadline.wind(f"what follows {self.name} step {step}")
    if kind == "train":
      self._count_skips(step, values)
    if kind == "train" and step % self.log_every and step != self.total:
      return
    if kind == "train":
      values = values | {"time/compilations": compilations()["count"] - self._compiled}
      self._compiled = compilations()["count"]
    self._metrics.write(step, kind, values)
    started, first = self._clock
    left = (time.perf_counter() - started) / max(step - first, 1) * (self.total - step)
    eta = f"  eta {int(left) // 60}:{int(left) % 60:02d}" if kind == "train" else ""
    print(f"{self.name} {step}/{self.total}  {line}{eta}", flush=True)
    for finding in self._doctor.see({"step": step, "kind": kind, **values}):
      print(finding, flush=True)
      if self._strict:
        self._metrics.sync()
        self.saved.wait()
        self._leave()
        raise Unhealthy(f"{self.name} step {step}: {finding} (doctor.strict; what was saved before stays)")

  def _count_skips(self, step: int, values: dict) -> None:
    """Raises NothingLearned after `train.max_skips` steps in a row, or at the end of a run, without any update."""
    all_skipped = values.get("update/applied", 1) == 0
    self._skips = self._skips + 1 if all_skipped else 0
    self._updates, self._all_skips = self._updates + 1, self._all_skips + all_skipped
    ended = step == self.total and self.start == 0 and self._all_skips == self._updates
    if ended or (self._max_skips and self._skips >= self._max_skips):
      self._metrics.sync()
      self.saved.wait()
      self._leave()
      raise NothingLearned(
        f"{self.name} step {step}: every update of the last {self._skips} step(s) was refused, because its gradient or "
        "the parameters it would leave were not finite; what was saved before is whole: lower the learning rate or "
        "look at the rewards and the model (train.max_skips is how many are borne).")

  def maybe_save(self, step: int, state, greedy: float | None = None) -> None:
    """Saves every `checkpoint.every` steps and at the last, after the log lines up to here are on disk.

    Raises:
      Preempted: the run was asked to stop, and this step is on disk.
    """
    leave = self._preemption.reached() and step < self.total
    if leave or step == self.total or (self.every and step % self.every == 0):
      self._metrics.sync()
      check_owned(self.directory)
      if name := rewritten(self._inputs):
        raise ValueError(f"{name} was rewritten while this run reads it, so {self.name} step {step} is not saved; "
                         "restore it and run the same command, which goes on from the last checkpoint.")
      self.saved.save(step, state, greedy)
    if leave:
      self.saved.wait()
      self._leave()
      said = f"saved {self.name} step {step} of {self.total}; the same command continues from there"
      raise Preempted(said, self._preemption.asked or signal.SIGTERM)

  def _leave(self) -> None:
    self._deadline.stop()
    self._preemption.close()

  def finish(self, notes: dict) -> None:
    """Waits for the last save and closes the files."""
    self.saved.close()
    self._leave()
    if not self.done and is_first():
      self._metrics.close()
      text = json.dumps(notes | peak_memory(), indent=1, sort_keys=True, default=str)
      write_whole(self.directory / "notes.json", text)

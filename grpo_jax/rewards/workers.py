"""A pool of worker processes for rules that may hang, crash or eat memory; no threads, sockets or signals."""

import collections
import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing import connection

from grpo_jax.rewards.calls import Call, Outcome, RewardError
from grpo_jax.rewards.worker import receive, send

START_SECONDS = 120.0  # to import the rules on a busy machine
DYING_SECONDS = 1.0  # between a worker's closing its pipe and its exit


class _Worker:
  """One process. It is starting until `ready`; then `item` is the index of its call, None when idle."""

  def __init__(self, arguments: Sequence[str]):
    environment = os.environ | {
      "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
      "JAX_PLATFORMS": "cpu",  # a rule that touches JAX must not claim the parent's accelerator
    }
    self.process = subprocess.Popen(
      [sys.executable, "-m", "grpo_jax.rewards.worker", *arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=environment,
      start_new_session=True,  # a group of its own, so that what a rule started dies with it
    )
    self.ready, self.item = False, None
    self.due = time.monotonic() + START_SECONDS

  def give(self, item: int, call: Call, deadline_seconds: float) -> None:
    send(self.process.stdin, pickle.dumps(call))
    self.item, self.due = item, time.monotonic() + deadline_seconds

  def stop(self, grace_seconds: float = 0.0) -> int:
    """Kills the process and what it started; returns its status, for which a dying one may need time."""
    if self.process.stdin.closed:
      return self.process.returncode
    with contextlib.suppress(subprocess.TimeoutExpired):
      self.process.wait(grace_seconds)
    with contextlib.suppress(OSError):
      os.killpg(self.process.pid, signal.SIGKILL)
    status = self.process.wait()
    for stream in (self.process.stdin, self.process.stdout):
      with contextlib.suppress(OSError):  # unsent bytes
        stream.close()
    return status


class WorkerPool:
  """`size` processes that evaluate calls one at a time, each within `deadline_seconds`.

  The processes start with the first `run`, serve all later ones, and end with `close` or with this process.
  `rules` are imported before any deadline starts; `memory_gib` limits the address space of each (0: off).
  """

  def __init__(self, size: int, rules: Sequence[str], *, deadline_seconds: float, memory_gib: float = 4.0):
    self._size, self._deadline_seconds = size, deadline_seconds
    self._arguments = [str(deadline_seconds), str(int(memory_gib * 2**30)), *rules]
    self._workers: list[_Worker] = []

  def run(self, calls: Sequence[Call]) -> list[Outcome]:
    """The outcomes, in the order of the calls; one that hangs or crashes costs its own outcome and no other.

    Raises:
      RewardError: a worker could not start.
    """
    outcomes: dict[int, Outcome] = {}
    waiting = collections.deque(enumerate(calls))
    try:
      while len(self._workers) < self._size:
        self._workers.append(_Worker(self._arguments))
      while len(outcomes) < len(calls):
        self._hand_out(waiting)
        outcomes.update(self._collect())
    except BaseException:  # an interrupt, say: an outcome still under way must not reach the next run
      self.close()
      raise
    return [outcomes[item] for item in range(len(calls))]

  def close(self) -> None:
    """Ends all processes; a later `run` starts new ones."""
    while self._workers:
      self._workers.pop().stop()

  def _hand_out(self, waiting: collections.deque) -> None:
    for worker in list(self._workers):
      if waiting and worker.ready and worker.item is None:
        try:
          worker.give(*waiting[0], self._deadline_seconds)
          waiting.popleft()
        except OSError:  # it died while idle, which is no fault of this call
          worker.stop()
          self._replace(worker)

  def _collect(self) -> dict[int, Outcome]:
    """Waits until a worker answers, dies or is overdue."""
    busy = [worker for worker in self._workers if not worker.ready or worker.item is not None]
    patience = max(0.0, min(worker.due for worker in busy) - time.monotonic())
    readable = connection.wait([worker.process.stdout for worker in busy], patience)
    outcomes = {}
    for worker in busy:
      answered, overdue = worker.process.stdout in readable, time.monotonic() >= worker.due
      if not answered and not overdue:
        continue
      message = receive(worker.process.stdout) if answered else None
      if message is None:
        outcomes[worker.item] = self._bury(worker, overdue)
      elif worker.ready:
        outcomes[worker.item] = Outcome(**json.loads(message))
        worker.item = None
      elif message:
        raise RewardError(f"A reward worker did not start: {message.decode()}")
      else:
        worker.ready = True
    return outcomes

  def _replace(self, worker: _Worker) -> None:
    self._workers[self._workers.index(worker)] = _Worker(self._arguments)

  def _bury(self, worker: _Worker, overdue: bool) -> Outcome:
    """Ends and replaces a worker that gave no answer, by its deadline or at all."""
    status = worker.stop(0.0 if overdue else DYING_SECONDS)
    if not worker.ready:
      raise RewardError(f"A reward worker did not start (exit status {status}); its stderr says why.")
    self._replace(worker)
    if overdue:
      return Outcome(failure="deadline", message=f"no score within {self._deadline_seconds} s")
    return Outcome(failure="error", message=f"the worker died (exit status {status})")

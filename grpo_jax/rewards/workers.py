"""A pool of worker processes for rules that may hang, crash, leak or eat memory; no threads or sockets."""

import collections
import contextlib
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing import connection

from grpo_jax.rewards.calls import Call, Outcome, RewardError
from grpo_jax.rewards.rules import MOST, RULES
from grpo_jax.rewards.worker import HEADER

START_SECONDS = 120.0  # to import the rules on a busy machine
STOP_SECONDS = 10.0  # for a keeper to kill what a rule started
MOST_BYTES = 1 << 20  # of a worker's message
_PIECE = 1 << 16


class _Worker:
  """One process and its keeper. It is starting until `ready`; then `item` is its call's index, None when idle."""

  def __init__(self, arguments: Sequence[str]):
    environment = os.environ | {
      "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
      "JAX_PLATFORMS": "cpu",  # a rule that touches JAX must not claim the parent's accelerator
    }
    self.process = subprocess.Popen(
      [sys.executable, "-m", "grpo_jax.rewards.keeper", str(os.getpid()), *arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      bufsize=0,
      env=environment,
      start_new_session=True,
    )
    # Neither a worker that reads nothing nor one that writes half a message may hold us up.
    for stream in (self.process.stdin, self.process.stdout):
      os.set_blocking(stream.fileno(), False)
    self.ready, self.item, self.number, self.call = False, None, 0, None
    self.due = time.monotonic() + START_SECONDS
    self._read = b""

  def give(self, item: int, call: Call, deadline_seconds: float) -> None:
    """Hands a call over; OSError where the process is gone."""
    self.item, self.call, self.number = item, call, self.number + 1
    self.due = time.monotonic() + deadline_seconds
    message = pickle.dumps((self.number, call))
    left = memoryview(HEADER.pack(len(message)) + message)
    while left and (patience := self.due - time.monotonic()) > 0:
      if select.select([], [self.process.stdin], [], patience)[1]:
        with contextlib.suppress(BlockingIOError):
          left = left[os.write(self.process.stdin.fileno(), left[:_PIECE]) :]

  def receive(self) -> bytes | None:
    """A whole message; None where there is none yet. EOFError where the process is gone, ValueError where a message is
    longer than any that a worker sends.
    """
    with contextlib.suppress(BlockingIOError):
      piece = os.read(self.process.stdout.fileno(), _PIECE)
      if not piece:
        raise EOFError
      self._read += piece
    if len(self._read) < HEADER.size:
      return None
    (size,) = HEADER.unpack_from(self._read)
    if size > MOST_BYTES:
      raise ValueError(f"it announced a message of {size} bytes, and {MOST_BYTES} are the most")
    end = HEADER.size + size
    if len(self._read) < end:
      return None
    message, self._read = self._read[HEADER.size : end], self._read[end:]
    return message

  @property
  def unread(self) -> bool:
    """Whether there is something beyond the last message, or the process is gone."""
    return bool(self._read or connection.wait([self.process.stdout], 0))

  def stop(self) -> int:
    """Kills the process and all that it started; returns its status."""
    if self.process.stdin.closed:
      return self.process.returncode
    self.process.terminate()  # the keeper, which kills the rest
    try:
      status = self.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
      with contextlib.suppress(OSError):
        os.killpg(self.process.pid, signal.SIGKILL)
      status = self.process.wait()
    for stream in (self.process.stdin, self.process.stdout):
      stream.close()
    return status


def _read_answer(message: bytes, number: int) -> tuple[Outcome, bool]:
  """The outcome, and whether the worker wants to be replaced; ValueError where it is no answer to this call."""
  try:
    answer = json.loads(message)
    outcome = Outcome(**answer["outcome"])
    fits = answer["number"] == number and outcome.failure in ("", "error", "bounded")
    fits = fits and abs(float(outcome.score)) <= MOST and not (outcome.failure and outcome.score)
    fits = fits and isinstance(outcome.message, str) and isinstance(outcome.trace, str)
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    raise ValueError(f"it sent no answer: {type(error).__name__}") from error
  if not fits:
    raise ValueError("it sent an answer that fits no call")
  return outcome, bool(answer["old"])


class WorkerPool:
  """`size` processes that evaluate calls one at a time, each within `deadline_seconds`.

  The processes start with the first `run`, serve all later ones, and end with `close` or with this process.
  `rules` are imported before any deadline starts; `memory_gib` limits the address space of each (0: off). A worker is
  replaced after worker.MOST_CALLS calls, or when it has grown; what a rule started ends with its worker at the latest.
  """

  def __init__(self, size: int, rules: Sequence[str], *, deadline_seconds: float, memory_gib: float = 4.0):
    self._size, self._deadline_seconds = size, deadline_seconds
    self._arguments = [str(int(memory_gib * 2**30)), *rules]
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
          if worker.unread or worker.process.poll() is not None:
            raise ConnectionError
          worker.give(*waiting[0], self._deadline_seconds)
          waiting.popleft()
        except OSError:  # it died or wrote while idle, which is no fault of this call
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
      item = worker.item
      try:
        message = worker.receive() if answered else None
        if message is not None and worker.ready:
          outcomes[item] = self._finish(worker, message)
        elif message:
          raise RewardError(f"A reward worker did not start: {message.decode('utf-8', 'replace')}")
        elif message is not None:
          worker.ready = True
        elif overdue:
          outcomes[item] = self._bury(worker, "")
      except EOFError:
        outcomes[item] = self._bury(worker, "the worker died")
      except ValueError as error:
        outcomes[item] = self._bury(worker, f"the worker was stopped: {error}")
    return outcomes

  def _finish(self, worker: _Worker, message: bytes) -> Outcome:
    outcome, old = _read_answer(message, worker.number)
    if worker.unread:
      raise ValueError("it sent more than its answer")
    worker.item = worker.call = None
    if old:
      worker.stop()
      self._replace(worker)
    return outcome

  def _replace(self, worker: _Worker) -> None:
    self._workers[self._workers.index(worker)] = _Worker(self._arguments)

  def _bury(self, worker: _Worker, why: str) -> Outcome:
    """Ends and replaces a worker that gave no answer, by its deadline where there is no other reason."""
    if why == "the worker died":
      with contextlib.suppress(subprocess.TimeoutExpired):  # its keeper leaves with its status
        worker.process.wait(STOP_SECONDS)
    status = worker.stop()
    if not worker.ready:
      raise RewardError(f"A reward worker did not start (exit status {status}); its stderr says why.")
    self._replace(worker)
    if not why:
      return Outcome(failure="deadline", message=f"no score within {self._deadline_seconds} s")
    # Of a rule of ours it is the text that is to blame: the start has shown that the rule works.
    failure = "bounded" if worker.call.rule in RULES else "error"
    return Outcome(failure=failure, message=f"{why} (exit status {status})")

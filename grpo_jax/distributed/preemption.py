"""SIGTERM, Ctrl-C and SIGHUP as a request to save and leave, at a step that all processes agree on."""

import os
import signal
import sys

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Preempted(Exception):
  """The run was asked to stop, and has saved; `status` is the exit status that says by which signal."""

  def __init__(self, message: str, asked: int = signal.SIGTERM):
    super().__init__(message)
    self.status = 128 + asked


class Preemption:
  """Notes a signal; `reached()`, asked whenever a run could save, says in every process at the same time that it must.

  A second signal ends the process at once: what is on disk is whole, a save under way is as if it had not begun. With
  several processes jax's own coordination listens to SIGTERM from the start and decides when: a time that none has
  passed. The other signals are handed on as SIGTERM.
  """

  def __init__(self):
    self.asked, self._before, self._calls = 0, {}, 0

  def listen(self) -> None:
    """From here on a signal is a request; before, as after `close`, it ends the process at once."""
    for number in SIGNALS:
      alone = jax.process_count() == 1
      ignored = signal.getsignal(number) in (signal.SIG_IGN, None)  # nohup; None: not set by Python
      if not ignored and (alone or number != signal.SIGTERM):
        self._before[number] = signal.signal(number, self._note)

  def close(self) -> None:
    """Signals mean again what they did."""
    for number, before in self._before.items():
      signal.signal(number, before)
    self._before = {}

  def _note(self, number, _) -> None:
    if self.asked:
      os.write(sys.stderr.fileno(), b"leaving at once; the last complete checkpoint is whole\n")
      os._exit(128 + number)
    self.asked = number
    os.write(sys.stderr.fileno(), b"saving at the end of this step, then leaving; once more leaves at once\n")
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)

  def reached(self) -> bool:
    """Whether to save now and leave."""
    if jax.process_count() == 1:
      return bool(self.asked)
    self._calls += 1
    return multihost_utils.reached_preemption_sync_point(self._calls)

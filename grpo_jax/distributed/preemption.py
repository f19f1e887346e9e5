"""SIGTERM as a request to save and leave, at a step that all processes agree on."""

import signal

import jax
from jax.experimental import multihost_utils


class Preempted(Exception):
  """The run was asked to stop, and has saved."""


class Preemption:
  """Notes a SIGTERM; `reached()`, asked whenever a run could save, says in every process at the same time that it must.

  With several processes jax's own coordination listens from the start and decides when: a time that none has passed.
  """

  def __init__(self):
    self._asked, self._before, self._calls = False, None, 0

  def listen(self) -> None:
    """From here on a SIGTERM is a request; before, as after `close`, it ends the process at once."""
    if jax.process_count() == 1:
      self._before = signal.signal(signal.SIGTERM, self._note)

  def close(self) -> None:
    """SIGTERM means again what it did."""
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)
      self._before = None

  def _note(self, *_) -> None:
    self._asked = True

  def reached(self) -> bool:
    """Whether to save now and leave."""
    if jax.process_count() == 1:
      return self._asked
    self._calls += 1
    return multihost_utils.reached_preemption_sync_point(self._calls)

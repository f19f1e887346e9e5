"""SIGTERM as a request to save and leave, at a step that all processes agree on."""

import signal

import jax
from jax.experimental import multihost_utils


class Preempted(Exception):
  """The run was asked to stop, and has saved."""


class Preemption:
  """Notes a SIGTERM; `reached(step)` says in every process at the same step that it is time to save.

  With several processes jax's own coordination listens from the start and decides the step, one that none has passed.
  """

  def __init__(self):
    self._asked, self._before = False, None

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

  def reached(self, step: int) -> bool:
    """Whether to save after this step and leave."""
    return self._asked if jax.process_count() == 1 else multihost_utils.reached_preemption_sync_point(step)

"""Keeps a reward worker: python -m grpo_jax.rewards.keeper PARENT MEMORY_BYTES RULE….

The keeper starts the worker as its child and waits, with nothing imported. When the worker ends, when the run's
process does (however it was killed), or when that asks by SIGTERM, it kills all that the worker started and its
children's children, those included that took a session of their own: the kernel gives it every orphan below it.
"""

import contextlib
import ctypes
import os
import pathlib
import signal
import sys
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LOOK_SECONDS = 0.5  # between two looks whether the run is still there
_KILLING_SECONDS = 5.0
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM)


def _descendants(root: int) -> list[int]:
  """All living processes below one."""
  children = {}
  for folder in pathlib.Path("/proc").iterdir():
    with contextlib.suppress(OSError, ValueError, IndexError):
      pid = int(folder.name)
      state, parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
      if state not in (b"Z", b"X"):
        children.setdefault(int(parent), []).append(pid)
  found, waiting = [], [root]
  while waiting:
    below = children.get(waiting.pop(), [])
    found += below
    waiting += below
  return found


def _reap(worker: int) -> int | None:
  """Buries the dead; the worker's exit status, where it is among them."""
  status = None
  with contextlib.suppress(ChildProcessError):
    while (dead := os.waitpid(-1, os.WNOHANG))[0]:
      if dead[0] == worker:
        status = os.waitstatus_to_exitcode(dead[1])
  return status


def _kill_all(worker: int) -> int | None:
  """Kills what is below us until nothing is; the worker's exit status, where it dies now."""
  status, give_up = None, time.monotonic() + _KILLING_SECONDS
  while (alive := _descendants(os.getpid())) and time.monotonic() < give_up:
    for pid in alive:
      with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.001)
    ended = _reap(worker)
    status = ended if status is None else status
  return status


def keep(parent: int) -> None:
  """Returns in the worker, a child of the process that called, which becomes its keeper and ends with its status."""
  libc = ctypes.CDLL(None)
  libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
  signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
  keeper = os.getpid()
  worker = os.fork()
  if not worker:
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if os.getppid() != keeper:
      os._exit(1)
    return
  os.dup2(os.open(os.devnull, os.O_RDWR), 0)  # so that worker and run see each other's end
  os.dup2(0, 1)
  status = None
  while status is None and os.getppid() == parent:
    received = signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS)
    status = _reap(worker)
    if received and received.si_signo == signal.SIGTERM:
      break
  ended = _kill_all(worker)
  status = ended if status is None else status
  os._exit(1 if status is None else status % 256 if status >= 0 else 128 - status)


if __name__ == "__main__":
  if sys.platform == "linux":
    keep(int(sys.argv[1]))
  from grpo_jax.rewards.worker import main

  main(int(sys.argv[2]), sys.argv[3:])

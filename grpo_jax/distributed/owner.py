"""Who owns a workdir: one process at a time, so no two write one log or rename each other's checkpoints.

`owner.json` names host, process, since when, and the last heartbeat. Two means keep a second process out: flock,
which the kernel releases with its process, and, where that does not hold (other hosts, buckets), the heartbeat.
An owner that has not beaten for `LEASE` seconds, or whose process is gone from this host, is dead, and its folder is
taken over.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator

LEASE = 120.0  # seconds without a heartbeat after which an owner on another host is taken for dead
SETTLE = 0.5  # seconds, where there is no flock, in which two that begin at once see each other


class Held(ValueError):
  """Another process has the workdir."""


class _Owner:
  """This process's hold on a workdir."""

  def __init__(self, workdir: pathlib.Path):
    self.path, self.token = workdir / "owner.json", secrets.token_hex(8)
    self.facts = {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "token": self.token,
                  "since": time.time()}
    self._stop = threading.Event()
    self.file = (workdir / ".owner.lock").open("a")
    try:
      self._take(workdir)
    except BaseException:
      self.file.close()
      raise
    threading.Thread(target=self._beat, daemon=True).start()

  def _take(self, workdir: pathlib.Path) -> None:
    locked = True
    try:
      fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise Held(_sentence(workdir, _read(self.path))) from None
    except OSError:  # this file system has no locks
      locked = False
    other = _read(self.path)
    if _alive(other):
      raise Held(_sentence(workdir, other))
    if other:
      print(f"{workdir}: its last owner, process {other.get('pid')} on {other.get('host')}, is gone; taken over",
            file=sys.stderr, flush=True)
    self.write()
    if not locked:
      time.sleep(SETTLE)
      if not self.mine():
        raise Held(_sentence(workdir, _read(self.path)))

  def write(self) -> None:
    """Writes who owns the folder, and that it lives."""
    fresh = self.path.with_name(f"owner.{self.token}")
    fresh.write_text(json.dumps(self.facts | {"beat": time.time()}))
    fresh.replace(self.path)

  def mine(self) -> bool:
    """Whether the folder still says that it is this process's."""
    return _read(self.path).get("token") == self.token

  def _beat(self) -> None:
    while not self._stop.wait(LEASE / 4):
      with contextlib.suppress(OSError):
        if self.mine():
          self.write()

  def release(self) -> None:
    """Lets go of the folder."""
    self._stop.set()
    with contextlib.suppress(OSError):
      if self.mine():
        self.path.unlink()
    self.file.close()


_OWNED: dict[pathlib.Path, _Owner] = {}


def _read(path: pathlib.Path) -> dict:
  """Who owns the folder; empty where nobody does, or where the file was torn."""
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _born(pid) -> str:
  """When a process of this host began, in ticks since the host did; empty where that is not known."""
  try:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
  except (OSError, IndexError):
    return ""


def _alive(other: dict) -> bool:
  if not other:
    return False
  beat = other.get("beat", 0)
  fresh = isinstance(beat, int | float) and time.time() - beat < LEASE
  if other.get("host") == socket.gethostname() and other.get("born"):  # a process id alone may be another's by now
    return fresh and _born(other.get("pid")) == other["born"]
  return fresh


def _sentence(workdir: pathlib.Path, other: dict) -> str:
  if not other:
    return f"workdir {workdir} is held by another process; wait for it or give another --workdir."
  since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(other.get("since", 0)))
  return (f"workdir {workdir} is held by process {other.get('pid')} on {other.get('host')} since {since}; wait for it"
          f" or end it, or give another --workdir (a dead process's hold ends by itself, on another host after"
          f" {LEASE:g} s).")


def own(workdir) -> None:
  """Makes this process the owner of a workdir, which it may be already.

  Raises:
    Held: another process is.
  """
  path = pathlib.Path(workdir).absolute()
  path.mkdir(parents=True, exist_ok=True)
  if path not in _OWNED:
    _OWNED[path] = _Owner(path)


def check_owned(path) -> None:
  """Before anything in a folder is written or renamed: is what this process took still its own?

  Raises:
    Held: another process took it over, so nothing more is written.
  """
  path = pathlib.Path(path).absolute()
  for folder, owner in _OWNED.items():
    if folder in (path, *path.parents) and not owner.mine():
      raise Held(f"{_sentence(folder, _read(owner.path))} This process had it before and writes no more.")


def release(workdir) -> None:
  """Lets go of a workdir."""
  if owner := _OWNED.pop(pathlib.Path(workdir).absolute(), None):
    owner.release()


@contextlib.contextmanager
def released(*workdirs) -> Iterator[None]:
  """A block after which these workdirs are nobody's."""
  try:
    yield
  finally:
    for workdir in workdirs:
      release(workdir)

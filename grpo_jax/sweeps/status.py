"""What a run of a sweep leaves about itself: `status.json`, and a lock that dies with the process that holds it."""

import contextlib
import fcntl
import json
import pathlib
from collections.abc import Iterator

from grpo_jax.metrics import write_whole


def write_status(workdir: pathlib.Path, state: str, **facts) -> None:
  """States: running, done, failed; a killed run stays "running"."""
  write_whole(workdir / "status.json", json.dumps({"state": state, **facts}, indent=1))


@contextlib.contextmanager
def held(workdir: pathlib.Path, *, wait: bool) -> Iterator[bool]:
  """Holds a run's folder, which is made where it is missing; False at once (or, with `wait`, never) if another does.

  The lock is of processes that see one file system with flock: hosts that share a bucket do not see each other's.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  with (workdir / "lock").open("a") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
      yield False
    else:
      yield True

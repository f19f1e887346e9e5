"""A worker process: reads pickled calls from stdin and writes JSON outcomes to stdout, until stdin ends.

  python -m grpo_jax.rewards.worker DEADLINE_SECONDS MEMORY_BYTES RULE…

The parent keeps the deadline (workers.py) and unpickles nothing that a worker wrote.
"""

import contextlib
import dataclasses
import faulthandler
import json
import os
import pickle
import resource
import struct
import sys
from typing import BinaryIO

from grpo_jax.rewards import rules

_HEADER = struct.Struct("<Q")  # the message's length in bytes
ORPHAN_SECONDS = 1.0  # past the deadline, where no parent is left to kill the worker


def send(stream: BinaryIO, message: bytes) -> None:
  """Writes one message, its length first."""
  stream.write(_HEADER.pack(len(message)) + message)
  stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
  """Reads one message; None where the other end is gone."""
  header = stream.read(_HEADER.size)
  if len(header) < _HEADER.size:
    return None
  (size,) = _HEADER.unpack(header)
  message = stream.read(size)
  return message if len(message) == size else None


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
  """Our own copies of stdin and stdout; what a library prints goes to stderr, and it has nothing to read."""
  calls, outcomes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  os.dup2(2, 1)
  return calls, outcomes


def main(deadline_seconds: float, memory_bytes: int, names: list[str]) -> None:
  """Prepares the rules, says so with an empty message (or ends with what went wrong), then answers call by call."""
  calls, outcomes = _claim_pipes()
  if memory_bytes:
    with contextlib.suppress(ValueError, OSError):  # not every system limits address space
      resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
  try:
    for name in names:
      rules.find_rule(name).prepare()
  except Exception as error:
    return send(outcomes, str(error).encode("utf-8", "replace"))
  send(outcomes, b"")
  while (message := receive(calls)) is not None:
    # A watchdog that needs neither the GIL nor a signal; it fires only where the parent died before us.
    faulthandler.dump_traceback_later(deadline_seconds + ORPHAN_SECONDS, exit=True)
    outcome = rules.evaluate(pickle.loads(message))
    faulthandler.cancel_dump_traceback_later()
    send(outcomes, json.dumps(dataclasses.asdict(outcome)).encode())


if __name__ == "__main__":
  main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

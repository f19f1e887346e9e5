"""A worker process: reads pickled calls from stdin and writes JSON outcomes to stdout, until stdin ends.

keeper.py starts it. The parent keeps the deadline (workers.py) and trusts nothing that a worker writes.
"""

import contextlib
import dataclasses
import json
import os
import pickle
import resource
import struct
from typing import BinaryIO

from grpo_jax.rewards import rules

HEADER = struct.Struct("<Q")  # the message's length in bytes
MOST_CALLS = 10_000  # that one worker answers
_MOST_GROWTH = 1 << 30  # bytes of memory since the start, less where the limit is near
_MOST_DESCRIPTORS = 256  # more than at the start


def send(stream: BinaryIO, message: bytes) -> None:
  """Writes one message, its length first."""
  stream.write(HEADER.pack(len(message)) + message)
  stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
  """Reads one message; None where the other end is gone."""
  header = stream.read(HEADER.size)
  if len(header) < HEADER.size:
    return None
  (size,) = HEADER.unpack(header)
  message = stream.read(size)
  return message if len(message) == size else None


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
  """Our own copies of stdin and stdout; what a library prints goes to stderr, and it has nothing to read."""
  calls, outcomes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  os.dup2(2, 1)
  return calls, outcomes


def _use() -> tuple[int, int, int]:
  """(address space, resident memory, descriptors) of this process, in bytes and as a count; 0 where unknown."""
  with contextlib.suppress(OSError):
    with open("/proc/self/statm") as file:
      pages = [int(field) for field in file.read().split()[:2]]
    page = resource.getpagesize()
    return pages[0] * page, pages[1] * page, len(os.listdir("/proc/self/fd"))
  return 0, 0, 0


class _Age:
  """Says when a worker has grown so much that the next call should meet a new one."""

  def __init__(self, memory_bytes: int):
    self._start, self._calls = _use(), 0
    spare = memory_bytes - self._start[0] if memory_bytes else 4 * _MOST_GROWTH
    self._growth = min(_MOST_GROWTH, max(0, spare) // 4)

  def is_old(self) -> bool:
    """To be asked once after each call."""
    self._calls += 1
    space, resident, descriptors = (now - then for now, then in zip(_use(), self._start, strict=True))
    return self._calls >= MOST_CALLS or max(space, resident) > self._growth or descriptors > _MOST_DESCRIPTORS


def main(memory_bytes: int, names: list[str]) -> None:
  """Prepares the rules, says so with an empty message (or ends with what went wrong), then answers call by call.

  An answer repeats the number of its call, and says whether the worker wants to be replaced.
  """
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
  age = _Age(memory_bytes)
  while (message := receive(calls)) is not None:
    number, call = pickle.loads(message)
    outcome = rules.evaluate(call)
    answer = {"number": number, "old": age.is_old(), "outcome": dataclasses.asdict(outcome)}
    send(outcomes, json.dumps(answer).encode())

"""Runs untrusted Python in confined processes (confine.py) and reads what they wrote; checks that this holds here."""

import ast
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import connection
from typing import BinaryIO

from grpo_jax.rewards import sandboxed, sandboxed_tests
from grpo_jax.rewards.asserted import PROGRAM_MODULES, find_tests, wanted_names

OUTPUT_BYTES = 1 << 20  # of one process's standard output
# Both are imported here so that their bytecode is there, which a confined process does not write.
_CHILD, _ = sandboxed.__name__, sandboxed_tests.__name__
_ROOT = pathlib.Path(__file__).parents[2]
_PROBE_SECONDS = 30.0
_SCRUBBED = {"PYTHONPATH": str(_ROOT), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
_PROBE = """
import json, os, socket, sys
folder, parent, bytes_, port = sys.stdin.read().split()
def connect():
  with socket.socket() as s: s.settimeout(1); s.connect(("127.0.0.1", int(port)))
def fork():
  if os.fork() == 0: os._exit(0)
trials = {
  "open a socket": connect, "start a process": fork, "take more memory than allowed": lambda: bytearray(int(bytes_)),
  "write a file": lambda: open(os.path.join(folder, "written"), "w"),
  "signal a process": lambda: os.kill(int(parent), 0),
  "read another process": lambda: open(f"/proc/{parent}/environ").close(),
  "list a folder that is not Python's": lambda: os.listdir(folder),
}
done = []
for name, trial in trials.items():
  try: trial()
  except (OSError, MemoryError): continue
  done.append(name)
print(json.dumps(done))
"""  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a confined process may use: wall seconds of all of one call, address space of one process."""

  seconds: float
  memory_mib: int


@contextlib.contextmanager
def _process(role: str, source: str, limits: Limits, stdin: str = "", channel: tuple[int, ...] = ()):
  """A confined process and its standard output, which is memory that only it and we hold; killed at the end."""
  text = source.encode("utf-8", "surrogatepass")
  arguments = [role, limits.memory_mib << 20, math.ceil(limits.seconds) + 1, OUTPUT_BYTES, *channel]
  with os.fdopen(os.memfd_create("in"), "w+b") as given, os.fdopen(os.memfd_create("out"), "w+b") as written:
    given.write(len(text).to_bytes(8, "little") + text + stdin.encode("utf-8", "surrogatepass"))
    given.seek(0)
    process = subprocess.Popen(
      [sys.executable, "-P", "-s", "-S", "-B", "-m", _CHILD, *map(str, arguments)],
      stdin=given,
      stdout=written,
      stderr=subprocess.DEVNULL,
      env=_SCRUBBED,
      pass_fds=channel,
    )
    try:
      yield process, written
    finally:
      process.kill()
      process.wait()


def _finish(process: subprocess.Popen, written: BinaryIO, seconds: float) -> tuple[int | None, bytes]:
  """The status, None where the time is up, and what was written."""
  pid = os.pidfd_open(process.pid)  # Popen.wait would poll
  try:
    ended = connection.wait([pid], seconds)
  finally:
    os.close(pid)
  if not ended:
    process.kill()
  status = process.wait()
  written.seek(0)
  return status if ended else None, written.read(OUTPUT_BYTES)


def run_program(source: str, stdin: str, limits: Limits) -> str | None:
  """What a program writes, given this input; None where it fails or takes too long."""
  with _process("program", source, limits, stdin) as (process, written):
    status, output = _finish(process, written, limits.seconds)
  return output.decode("utf-8", "replace") if status == 0 else None


def run_tests(sources: Sequence[str], given: str, tests: str, limits: Limits) -> int:
  """How many tests pass of the functions of a program, which is texts to be run in order.

  Program and tests are two processes joined by two pipes; `given` is code that the tests use beside the program's.
  """
  wanted = sorted(wanted_names(tests) | wanted_names(given))
  tested = json.dumps([given, tests, find_tests(ast.parse(tests)), wanted, PROGRAM_MODULES])
  with contextlib.ExitStack() as stack:
    theirs, mine = [], []
    for ends in ((theirs, mine), (mine, theirs)):  # requests, replies
      for fd, side in zip(os.pipe(), ends, strict=True):
        side.append(stack.enter_context(os.fdopen(fd, "rb" if side is ends[0] else "wb", buffering=0)))
    channels = [tuple(end.fileno() for end in ends) for ends in (theirs, mine)]
    stack.enter_context(_process("functions", json.dumps(sources), limits, channel=channels[0]))
    process, written = stack.enter_context(_process("tests", tested, limits, channel=channels[1]))
    for end in theirs + mine:  # so that either process sees the other's end
      end.close()
    return _finish(process, written, limits.seconds)[1].count(b"+")


def check_isolation(limits: Limits) -> None:
  """Tries to break out, and refuses where anything succeeds.

  Raises:
    RuntimeError: this machine cannot confine a program; the sentence says what was possible.
  """
  with tempfile.TemporaryDirectory() as folder:
    import socket

    with socket.socket() as listener:
      listener.bind(("127.0.0.1", 0))
      listener.listen(1)
      facts = (folder, os.getpid(), 2 * (limits.memory_mib << 20), listener.getsockname()[1])
      with _process("program", _PROBE, limits, " ".join(map(str, facts))) as (process, written):
        status, output = _finish(process, written, _PROBE_SECONDS)
  done = json.loads(output) if status == 0 else [f"not be started confined ({output.decode().strip() or status})"]
  if done:
    raise RuntimeError(
      f"The rule code cannot confine programs on this machine: one could {', '.join(done)}. It needs Linux 5.13 or"
      " later with seccomp and Landlock, on x86_64 or aarch64; run there, or remove the component."
    )

"""Rules as a user might bring them, given by dotted path; most of them misbehave."""

import os
import pathlib
import stat
import subprocess
import sys
import time

PLAIN = 1.0


def misbehave(completion, example, context, seconds=0.0):
  """Does what the completion says."""
  match completion:
    case "hang":
      time.sleep(1000)
    case "bignum":  # one C call that never lets go of the interpreter
      9**9**9**9
    case "exit":
      os._exit(3)
    case "sys.exit":
      sys.exit(4)
    case "throw":
      raise KeyError("no such \ud800 thing")
    case "nan":
      return float("nan")
    case "print":
      print("noise " * 10_000, flush=True)
      os.write(1, b"more noise")
      subprocess.run(["echo", "and more"], check=True)
    case "read":
      return len(sys.stdin.read())
    case "memory":
      return len(bytearray(8 * 2**30))
  time.sleep(seconds)
  return len(completion)


def pid(completion, example, context):
  return os.getpid()


def keeper(completion, example, context):
  return os.getppid()


_kept = []


def leak(completion, example, context):
  """Keeps 200 MB a call, or descriptors."""
  _kept.append(bytearray(200 << 20) if completion == "memory" else [os.dup(1) for _ in range(99)])
  return 1.0


def interfere(completion, example, context):
  """Writes to every pipe of its process what the completion says, in hexadecimal."""
  for fd in range(3, 64):
    try:
      if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.write(fd, bytes.fromhex(completion))
    except OSError:
      continue
  return 1.0


def children(completion, example, context):
  """Starts processes that outlive it, in sessions of their own and orphaned, whose ids go to the example's file."""
  again = "import os, sys, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
  again += "open(sys.argv[1], 'a').write(f'{os.getpid()} ')\ntime.sleep(1000)"
  subprocess.run([sys.executable, "-c", again, example.answer], check=True)
  for own in (True, False):
    child = subprocess.Popen(["sleep", "1000"], start_new_session=own)
    with open(example.answer, "a") as file:
      file.write(f"{child.pid} ")
  while len(pathlib.Path(example.answer).read_text().split()) < 3:
    time.sleep(0.01)
  if completion == "hang":
    time.sleep(1000)
  if completion == "exit":
    os._exit(3)
  return 1.0


def far(completion, example, context):
  return float(completion)


def with_a_bug(completion, example, context):
  return _look_up({}, example.answer)


def _look_up(table, key):
  return table[key]


def lenient(completion, example, context):
  return 1.0


lenient.judges_answer = True

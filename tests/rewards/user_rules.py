"""Rules as a user might bring them, given by dotted path; most of them misbehave."""

import os
import subprocess
import sys
import time


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


def far(completion, example, context):
  return float(completion)


def lenient(completion, example, context):
  return 1.0


lenient.judges_answer = True

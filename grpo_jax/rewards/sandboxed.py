"""What runs inside the sandbox: python -m grpo_jax.rewards.sandboxed ROLE MEMORY CPU OUTPUT [REQUESTS REPLIES].

Standard input holds the length of the source, the source, and the program's own input. Everything this needs is
imported, and the source read, before the process confines itself.
"""

import json
import os
import sys

from grpo_jax.rewards.confine import confine
from grpo_jax.rewards.remote import Channel


def _read_source() -> str:
  """The source; descriptor 0 then stands at the program's own input."""
  size = int.from_bytes(os.read(0, 8), "little")
  source = b""
  while len(source) < size and (part := os.read(0, size - len(source))):
    source += part
  return source.decode("utf-8", "surrogatepass")


def run_program(source: str) -> None:
  """A program that reads standard input and writes standard output."""
  exec(compile(source, "program.py", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})


def run_functions(sources: str, requests: int, replies: int) -> None:
  """A program, a JSON list of texts to be run in order, whose functions the tests call from another process."""
  namespace = {"__name__": "program"}
  with os.fdopen(requests, "rb") as asked, os.fdopen(replies, "wb") as answered:
    for source in json.loads(sources):
      try:
        exec(compile(source, "program.py", "exec"), namespace)
      except BaseException as error:  # what it defined before may be enough
        del error
    Channel(asked, answered, namespace).serve()


ROLES = {"program": run_program, "functions": run_functions}


def main(role: str, memory: str, cpu: str, output: str, *channel: str) -> None:
  """Reads, confines, runs."""
  source = _read_source()
  sys.set_int_max_str_digits(0)  # the limits bind already
  if role == "tests":
    from grpo_jax.rewards.sandboxed_tests import run_tests

    ROLES[role] = run_tests
  try:
    confine(int(memory), int(cpu), int(output))
  except OSError as error:
    sys.exit(print(error) or 1)
  ROLES[role](source, *map(int, channel))


if __name__ == "__main__":
  main(*sys.argv[1:])

"""What runs inside the sandbox: python -m grpo_jax.rewards.sandboxed ROLE MEMORY CPU OUTPUT [REQUESTS REPLIES].

Standard input holds the length of the source, the source, and the program's own input. Everything this needs is
imported, and the source read, before the process confines itself.
"""

import ast
import contextlib
import importlib
import os
import sys

from grpo_jax.rewards.confine import confine
from grpo_jax.rewards.remote import Channel, names_of, serve


def find_tests(statements: list[ast.stmt]) -> list[bool]:
  """Which top-level statements are tests: those that assert, and calls of functions defined here that do."""
  definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
  asserts = [any(isinstance(node, ast.Assert) for node in ast.walk(statement)) for statement in statements]
  checks = {s.name for s, holds in zip(statements, asserts, strict=True) if holds and isinstance(s, definitions)}
  calls = [
    isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) and getattr(s.value.func, "id", None) in checks
    for s in statements
  ]
  return [
    (asserts[i] and not isinstance(statement, definitions)) or calls[i] for i, statement in enumerate(statements)
  ]


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


def run_functions(source: str, requests: int, replies: int) -> None:
  """A program whose functions the tests call from another process."""
  namespace = {"__name__": "program"}
  with os.fdopen(requests, "rb") as asked, os.fdopen(replies, "wb") as answered:
    try:
      exec(compile(source, "program.py", "exec"), namespace)
    except BaseException as error:  # what it defined before may be enough
      del error
    serve(namespace, asked, answered)


def run_tests(source: str, requests: int, replies: int) -> None:
  """Tests of another process's functions; a + or a - for each goes to standard output, which they cannot reach."""
  verdicts = os.dup(1)
  os.dup2(2, 1)
  statements = ast.parse(source).body
  nodes = [node for statement in statements for node in ast.walk(statement)]
  names = sorted({node.id for node in nodes if isinstance(node, ast.Name)})
  attributes = [node.value for node in nodes if isinstance(node, ast.Attribute)]
  modules = {node.id for node in attributes if isinstance(node, ast.Name)} & sys.stdlib_module_names
  with os.fdopen(requests, "wb") as asking, os.fdopen(replies, "rb") as answered:
    channel = Channel(asking, answered)
    namespace = {"__name__": "tests"} | names_of(channel, names)
    # `math.isclose` is Python's even where only the program imports math, or calls something of its own so.
    namespace |= {name: importlib.import_module(name) for name in modules}
    for statement, is_test in zip(statements, find_tests(statements), strict=True):
      passed = False
      with contextlib.suppress(BaseException):
        exec(compile(ast.Module([statement], []), "tests.py", "exec"), namespace)
        passed = not channel.ended
      if is_test:
        os.write(verdicts, b"+" if passed else b"-")


ROLES = {"program": run_program, "functions": run_functions, "tests": run_tests}


def main(role: str, memory: str, cpu: str, output: str, *channel: str) -> None:
  """Reads, confines, runs."""
  source = _read_source()
  sys.set_int_max_str_digits(0)  # the limits bind already
  try:
    confine(int(memory), int(cpu), int(output))
  except OSError as error:
    sys.exit(print(error) or 1)
  ROLES[role](source, *map(int, channel))


if __name__ == "__main__":
  main(*sys.argv[1:])

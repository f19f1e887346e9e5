"""What runs inside the sandbox: python -m grpo_jax.rewards.sandboxed ROLE MEMORY CPU OUTPUT [REQUESTS REPLIES].

Standard input holds the length of the source, the source, and the program's own input. Everything this needs is
imported, and the source read, before the process confines itself.
"""

import ast
import contextlib
import importlib
import json
import os
import sys
import types
from collections.abc import Callable

from grpo_jax.rewards.asserted import PROGRAM_MODULES, Missing, Record, Test, counting, find_tests, wanted_names
from grpo_jax.rewards.confine import confine
from grpo_jax.rewards.pytest_here import make_pytest
from grpo_jax.rewards.remote import Channel, Remote, names_of


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


def run_tests(sources: str, requests: int, replies: int) -> None:
  """Tests of another process's functions; a + or a - for each goes to standard output, which they cannot reach.

  `sources`: a JSON list of what the prompt defines, for the tests to use instead of the program's, and of the tests.
  """
  given, source = json.loads(sources)
  verdicts = os.dup(1)
  os.dup2(2, 1)
  tree = ast.parse(source)
  tests = find_tests(tree)
  with os.fdopen(requests, "wb") as asking, os.fdopen(replies, "rb") as answered:
    channel, record = Channel(answered, asking), Record()
    namespace = _namespace(channel, record, given, source)
    statements, catches = counting(tree)

    def judge(run: Callable[[], object], is_test: bool) -> None:
      record.start()
      passed = False
      with contextlib.suppress(BaseException):
        passed = run() is not False
      # What asserted nothing has shown nothing: an `if` that the program made false, an empty loop.
      passed = passed and record.reached > 0 and (catches or not record.failed)
      passed = passed and not channel.ended and not record.missed
      if is_test:
        os.write(verdicts, b"+" if passed else b"-")

    for place, statement in enumerate(statements):
      judge(lambda code=statement: exec(compile(code, "tests.py", "exec"), namespace), Test(place) in tests)
    for test in tests:
      if test.names:
        judge(lambda names=test.names: _run_named(names, namespace, record), True)


def _namespace(channel: Channel, record: Record, given: str, source: str) -> dict[str, object]:
  """The tests' globals: the program's names, Python's modules by their own, and what the prompt defines."""
  attributes = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
  modules = {node.id for node in attributes if isinstance(node, ast.Name)} & sys.stdlib_module_names
  failed = record.failure()

  def counted(method: Callable) -> Callable:
    def run(*args, **kwargs):
      record.reached += not isinstance(method, Remote)  # now that the arguments are there
      return method(*args, **kwargs)

    return run

  namespace = {"__name__": "__main__", "__reached__": record.reach, "__failed__": failed, "__counted__": counted}
  wanted = wanted_names(source) | wanted_names(given)
  namespace |= {"map": _map, "filter": _filter} | dict.fromkeys(wanted, Missing(record)) | names_of(channel, wanted)
  # `math.isclose` is Python's even where only the program imports math, or calls something of its own so.
  namespace |= {name: importlib.import_module(name) for name in modules}
  if "pytest" in source:
    sys.modules["pytest"] = namespace["pytest"] = make_pytest(record, failed)
  if "unittest" in source:
    import unittest

    unittest.TestCase.failureException = failed
    unittest.main = lambda *args, **kwargs: None
  for statement in ast.parse(given).body:
    with contextlib.suppress(Exception):
      exec(compile(ast.Module([statement], []), "prompt.py", "exec"), namespace)
  sys.modules |= {name: _ProgramModule(name, channel, namespace) for name in PROGRAM_MODULES}
  return namespace


class _ProgramModule(types.ModuleType):
  """The program, for tests that import it."""

  def __init__(self, name: str, channel: Channel, namespace: dict[str, object]):
    super().__init__(name)
    self.__dict__.update(_channel=channel, _namespace=dict(namespace), __all__=[])

  def __getattr__(self, name: str) -> object:
    if name.startswith("__"):
      raise AttributeError(name)
    return self._namespace[name] if name in self._namespace else self._channel.ask("global", name)


def _map(function: Callable, *values):
  """As Python's, but a StopIteration of the function's is an error and no end."""
  for items in zip(*values, strict=False):
    yield function(*items)


def _filter(function: Callable | None, values):
  for value in values:
    if value if function is None else function(value):
      yield value


def _run_named(names: tuple[str, ...], namespace: dict[str, object], record: Record) -> bool:
  """Runs a test function, or a test method as unittest or pytest would; whether it passed."""
  if len(names) == 1:
    namespace[names[0]]()
    return True
  kind, method = namespace[names[0]], names[1]
  if not hasattr(kind, "failureException"):
    case = kind()
    if setup := getattr(case, "setup_method", None):
      setup(*[None] * (setup.__code__.co_argcount - 1))  # pytest may hand it the method
    getattr(case, method)()
    return True
  import unittest

  result = unittest.TestResult()
  kind.setUpClass()
  kind(method).run(result)
  return result.wasSuccessful() and result.testsRun == 1 and not (result.skipped or result.expectedFailures)


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

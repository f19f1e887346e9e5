"""The tests' side of the sandbox: runs tests of another process's functions and writes what passed."""

import ast
import contextlib
import importlib
import json
import os
import sys
import types
from collections.abc import Callable

from grpo_jax.rewards.counted import Missing, Record, counting
from grpo_jax.rewards.pytest_here import make_pytest
from grpo_jax.rewards.remote import Channel, Remote, names_of


def run_tests(sources: str, requests: int, replies: int) -> None:
  """Tests of another process's functions; a + or a - for each goes to standard output, which they cannot reach.

  `sources`: JSON of what the prompt defines, for the tests to use instead of the program's; of their text; of the
  tests in it (asserted.find_tests); of the names that both need; and of the modules by which the program is imported.
  """
  given, source, tests, wanted, modules = json.loads(sources)
  verdicts = os.dup(1)
  os.dup2(2, 1)
  tree = ast.parse(source)
  with os.fdopen(requests, "wb") as asking, os.fdopen(replies, "rb") as answered:
    channel, record = Channel(answered, asking), Record()
    namespace = _namespace(channel, record, given, tree, wanted)
    sys.modules |= {name: _ProgramModule(name, channel, namespace) for name in modules}
    statements, catches = counting(tree)

    def judge(run: Callable[[], object], is_test: bool) -> None:
      record.start()
      passed = False
      with contextlib.suppress(BaseException):
        passed = run() is not False
      # What asserted nothing has shown nothing: an `if` that the program made false, an empty loop.
      passed = passed and record.is_sound(catches) and not channel.ended
      if is_test:
        os.write(verdicts, b"+" if passed else b"-")

    for place, statement in enumerate(statements):
      judge(lambda code=statement: exec(compile(code, "tests.py", "exec"), namespace), [place, []] in tests)
    for _, names in tests:
      if names:
        judge(lambda names=names: _run_named(names, namespace), True)


def _namespace(channel: Channel, record: Record, given: str, tree: ast.Module, wanted: list[str]) -> dict[str, object]:
  """The tests' globals: the program's names, Python's modules by their own, and what the prompt defines."""
  attributes = [node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
  modules = {node.id for node in attributes if isinstance(node, ast.Name)} & sys.stdlib_module_names
  failed = record.failure()

  def counted(method: Callable) -> Callable:
    def run(*args, **kwargs):
      record.reached += not isinstance(method, Remote)  # now that the arguments are there
      return method(*args, **kwargs)

    return run

  def asked() -> None:
    record.asked = channel.asked

  def skipped(place: tuple[int, int], is_result: bool) -> None:
    if is_result or channel.asked > record.asked:  # it was the program's answer that the condition looked at
      record.skipped.add(place)

  namespace = {"__name__": "__main__", "__reached__": record.reach, "__failed__": failed, "__counted__": counted}
  namespace |= {"__asked__": asked, "__entered__": record.entered_at, "__skipped__": skipped}
  namespace |= {"map": _map, "filter": _filter} | dict.fromkeys(wanted, Missing(record)) | names_of(channel, wanted)
  # `math.isclose` is Python's even where only the program imports math, or calls something of its own so.
  namespace |= {name: importlib.import_module(name) for name in modules}
  imported = {name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
              for name in (getattr(node, "module", None), *(alias.name for alias in node.names))}
  if "pytest" in imported:
    sys.modules["pytest"] = namespace["pytest"] = make_pytest(record, failed)
  if "unittest" in imported:
    import unittest

    unittest.TestCase.failureException = failed
    unittest.main = lambda *args, **kwargs: None
  for statement in ast.parse(given).body:
    with contextlib.suppress(Exception):
      exec(compile(ast.Module([statement], []), "prompt.py", "exec"), namespace)
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


def _run_named(names: list[str], namespace: dict[str, object]) -> bool:
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

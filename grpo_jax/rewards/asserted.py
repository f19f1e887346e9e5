"""Which parts of a text are tests, and which names they need.

A test is a top-level statement that asserts, or that calls a function defined here that does; a method of a
unittest.TestCase; or, as pytest finds them, a function or a method of a class Test… whose name begins with "test".
"""

import ast
import builtins
import re
import symtable
import sys
from typing import NamedTuple

from grpo_jax.rewards.counted import is_false, name_of

PROGRAM_MODULES = ("solution", "program", "main", "submission", "answer", "your_module", "my_module")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_UNSEEN = {  # what a test may use that cannot work here, and why
  "fixture": "pytest's fixtures are not supported",
  "IsolatedAsyncioTestCase": "asyncio does not run in the sandbox",
  "redirect_stdout": "tests cannot see what a program prints; give inputs and outputs",
  "patch": "tests cannot patch a program that runs in another process",
}


class Test(NamedTuple):
  """A statement of the text by its place, or a function or method by its names."""

  place: int
  names: tuple[str, ...] = ()


def _calls(node: ast.AST) -> set[str]:
  return {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def _asserts(node: ast.AST) -> bool:
  """Whether something in it can assert: a statement, a method assert…, or pytest.raises."""
  for n in ast.walk(node):
    if isinstance(n, ast.Assert) or (isinstance(n, ast.Raise) and is_false(n)):
      return True
    if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and re.match("assert|raises$|fail$", n.func.attr):
      return True
  return False


def find_tests(tree: ast.Module) -> list[Test]:
  """The tests of a text, in its order."""
  statements = tree.body
  defined = {s.name: s for s in statements if isinstance(s, _DEFINITIONS)}
  checks = {name for name, node in defined.items() if _asserts(node)}
  for _ in defined:  # those that call a check are checks
    checks |= {name for name, node in defined.items() if _calls(node) & checks}
  called = set().union(*(_calls(s) for s in statements if not isinstance(s, _DEFINITIONS)))
  tests = []
  for place, statement in enumerate(statements):
    if isinstance(statement, ast.ClassDef):
      names = _methods(statement, defined) if statement.name not in called else []
      tests += [Test(place, (statement.name, name)) for name in names]
    elif isinstance(statement, _DEFINITIONS):
      if statement.name.startswith("test") and statement.name in checks - called:
        tests.append(Test(place, (statement.name,)))
    elif _asserts(statement) or _calls(statement) & checks:
      tests.append(Test(place))
  return tests


def _methods(node: ast.ClassDef, defined: dict[str, ast.AST]) -> list[str]:
  """Names of a class's test methods, its own and those of bases defined here; none where it is no class of tests."""
  family, waiting = [], [node]
  while waiting and len(family) < 100:
    family.append(waiting.pop())
    bases = [defined.get(name_of(base)) for base in family[-1].bases]
    waiting += [base for base in bases if isinstance(base, ast.ClassDef)]
  is_unittest = any(name_of(base).endswith("TestCase") for c in family for base in c.bases)
  if not (is_unittest or node.name.startswith("Test")):
    return []
  methods = [f.name for c in family for f in c.body if isinstance(f, ast.FunctionDef) and f.name.startswith("test")]
  return list(dict.fromkeys(methods))


def unsupported(tree: ast.Module) -> str:
  """Why a test can never pass here, or ""."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import | ast.ImportFrom):
      names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
      for top in (name.partition(".")[0] for name in names):
        if top not in sys.stdlib_module_names and top not in ("pytest", *PROGRAM_MODULES):
          return f"they import {top}, and only the standard library is there (the program is the module solution)"
    if isinstance(node, ast.Name | ast.Attribute) and name_of(node) in _UNSEEN:
      return _UNSEEN[name_of(node)]
  for test in find_tests(tree):
    node = tree.body[test.place]
    if len(test.names) == 1 and node.args.args and not any("parametrize" in ast.dump(d) for d in node.decorator_list):
      return f"{node.name} takes arguments, and pytest's fixtures are not supported"
    if isinstance(node, ast.AsyncFunctionDef):
      return _UNSEEN["IsolatedAsyncioTestCase"]
  return ""


def wanted_names(source: str) -> set[str]:
  """Global names that a text uses and neither binds itself nor has from Python: the program's, or the prompt's."""
  table = symtable.symtable(source, "tests.py", "exec")
  bound = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
  used, waiting = set(), [table]
  while waiting:
    scope = waiting.pop()
    waiting += scope.get_children()
    used |= {s.get_name() for s in scope.get_symbols() if s.is_referenced() and (scope is table or s.is_global())}
  imports = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom) and n.module in PROGRAM_MODULES]
  imported = {alias.name for node in imports for alias in node.names} - {"*"}
  return {name for name in used - bound - set(dir(builtins)) if not name.startswith("__")} | imported

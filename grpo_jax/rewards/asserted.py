"""Which parts of a text are tests, and whether they asserted anything when they ran.

A test is a top-level statement that asserts, or that calls a function defined here that does; a method of a
unittest.TestCase; or, as pytest finds them, a function or a method of a class Test… whose name begins with "test".
"""

import ast
import builtins
import re
import symtable
import sys
from typing import NamedTuple

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


def _name(node: ast.AST) -> str:
  return getattr(node, "attr", None) or getattr(node, "id", None) or ""


def _calls(node: ast.AST) -> set[str]:
  return {n.func.id for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def _asserts(node: ast.AST) -> bool:
  """Whether something in it can assert: a statement, a method assert…, or pytest.raises."""
  for n in ast.walk(node):
    if isinstance(n, ast.Assert) or (isinstance(n, ast.Raise) and _is_false(n)):
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
    waiting += [defined[_name(base)] for base in family[-1].bases if isinstance(defined.get(_name(base)), ast.ClassDef)]
  is_unittest = any(_name(base).endswith("TestCase") for c in family for base in c.bases)
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
    if isinstance(node, ast.Name | ast.Attribute) and _name(node) in _UNSEEN:
      return _UNSEEN[_name(node)]
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


class Record:
  """What the tests have asserted since `start`: how often, and whether an assertion failed, caught or not."""

  def __init__(self):
    self.start()

  def start(self) -> None:
    self.reached, self.failed, self.missed = 0, False, False

  def reach(self) -> None:
    self.reached += 1

  def failure(self) -> type[AssertionError]:
    """The exception of an assertion of the tests' own; a program cannot raise it."""

    class Failed(AssertionError):
      def __init__(failed, *args):
        super().__init__(*args)
        self.failed = True

    return Failed


class Missing:
  """Stands for a name that the program lacks: no test that touches it passes, even one that expects an exception."""

  def __init__(self, record: Record):
    self.__dict__["_record"] = record

  def __getattr__(self, name: str):
    self._record.missed = True
    raise AttributeError(f"the program does not define it, so it has no {name}")

  def __call__(self, *args, **kwargs):
    self._record.missed = True
    raise NameError("the program does not define it")

  def _use(self, *_):
    return self()

  __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __len__ = __iter__ = __getitem__ = _use
  __hash__ = object.__hash__


class _Counting(ast.NodeTransformer):
  """Has assertions that hold call `__reached__`, and others raise `__failed__`."""

  def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
    self.generic_visit(node)
    failed = ast.Raise(ast.Call(_load("__failed__"), [node.msg] if node.msg else [], []), None)
    check = ast.If(ast.UnaryOp(ast.Not(), node.test), [failed], [])
    return [check] if _is_false(node) else [check, _call("__reached__")]

  def visit_If(self, node: ast.If) -> list[ast.stmt]:
    """`if …: raise AssertionError` asserts that it is not so."""
    asserts = not node.orelse and any(map(_is_false, node.body))
    self.generic_visit(node)
    return [node, _call("__reached__")] if asserts else [node]

  def visit_Raise(self, node: ast.Raise) -> ast.Raise:
    self.generic_visit(node)
    if isinstance(node.exc, ast.Name) and node.exc.id == "AssertionError":
      node.exc = _load("__failed__")
    elif isinstance(node.exc, ast.Call) and _name(node.exc.func) == "AssertionError":
      node.exc.func = _load("__failed__")
    return node

  def visit_Call(self, node: ast.Call) -> ast.Call:
    self.generic_visit(node)
    if isinstance(node.func, ast.Attribute) and node.func.attr.startswith("assert"):
      node.func = ast.Call(_load("__counted__"), [node.func], [])
    return node

  def visit_Try(self, node: ast.Try) -> ast.Try:
    """A handler asserts that something was raised, where what it guards asserts False behind it."""
    expects = any(_is_false(n) for part in (*node.body, *node.orelse) for n in ast.walk(part))
    self.generic_visit(node)
    if expects:
      for handler in node.handlers:
        handler.body.insert(0, _call("__reached__"))
    return node


def _load(name: str) -> ast.Name:
  return ast.Name(name, ast.Load())


def _call(name: str) -> ast.Expr:
  return ast.Expr(ast.Call(_load(name), [], []))


def _is_false(node: ast.AST) -> bool:
  """Whether it fails wherever it is reached."""
  if isinstance(node, ast.Assert):
    return isinstance(node.test, ast.Constant) and not node.test.value
  if isinstance(node, ast.Raise):
    return node.exc is not None and _name(getattr(node.exc, "func", node.exc)) == "AssertionError"
  return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fail"


def counting(tree: ast.Module) -> tuple[list[ast.Module], bool]:
  """The statements, each a module whose assertions are counted; and whether the text catches AssertionError by name.

  Where it does not, a failed assertion that some `except Exception` catches is still a failed test.
  """
  modules = [_Counting().visit(ast.Module([statement], [])) for statement in tree.body]
  catches = any(isinstance(n, ast.Name) and n.id == "AssertionError" for module in modules for n in ast.walk(module))
  return [ast.fix_missing_locations(module) for module in modules], catches

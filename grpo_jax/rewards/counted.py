"""Whether a test asserted anything when it ran; imported inside the sandbox, so little else is."""

import ast


def name_of(node: ast.AST) -> str:
  """The name that a Name or an Attribute ends in, or ""."""
  return getattr(node, "attr", None) or getattr(node, "id", None) or ""


class Record:
  """What the tests have asserted since `start`: how often, and whether an assertion failed, caught or not.

  `entered` and `skipped` are the places of an `if` around assertions that went either way by the program's doing.
  """

  def __init__(self):
    self.start()

  def start(self) -> None:
    self.reached, self.failed, self.missed = 0, False, False
    self.entered, self.skipped = set(), set()

  def reach(self) -> None:
    self.reached += 1

  def entered_at(self, place: tuple[int, int]) -> None:
    self.entered.add(place)

  def is_sound(self, catches: bool) -> bool:
    """Whether something was asserted, and nothing passed over; `catches` as of `counting`."""
    return self.reached > 0 and not self.missed and (catches or not self.failed) and self.skipped <= self.entered

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
  """Has assertions that hold call `__reached__`, and others raise `__failed__`; an `if` around assertions is watched.

  `results`: names that hold what a call gave.
  """

  def __init__(self, results: set[str]):
    self._results = results

  def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
    self.generic_visit(node)
    failed = ast.Raise(ast.Call(_load("__failed__"), [node.msg] if node.msg else [], []), None)
    check = ast.If(ast.UnaryOp(ast.Not(), node.test), [failed], [])
    return [check] if is_false(node) else [check, _call("__reached__")]

  def visit_If(self, node: ast.If) -> list[ast.stmt]:
    """`if …: raise AssertionError` asserts that it is not so; in `if f(2): assert …` a program could skip it."""
    refutes = not node.orelse and any(map(is_false, node.body))
    guards = not node.orelse and not refutes and any(map(_asserts, node.body))
    is_result = any(isinstance(n, ast.Name) and n.id in self._results for n in ast.walk(node.test))
    self.generic_visit(node)
    if guards:
      place = (node.lineno, node.col_offset)
      node.body.insert(0, _call("__entered__", place))
      node.orelse = [_call("__skipped__", place, is_result)]
      return [_call("__asked__"), node]
    return [node, _call("__reached__")] if refutes else [node]

  def visit_Raise(self, node: ast.Raise) -> ast.Raise:
    self.generic_visit(node)
    if isinstance(node.exc, ast.Name) and node.exc.id == "AssertionError":
      node.exc = _load("__failed__")
    elif isinstance(node.exc, ast.Call) and name_of(node.exc.func) == "AssertionError":
      node.exc.func = _load("__failed__")
    return node

  def visit_Call(self, node: ast.Call) -> ast.Call:
    self.generic_visit(node)
    if isinstance(node.func, ast.Attribute) and node.func.attr.startswith("assert"):
      node.func = ast.Call(_load("__counted__"), [node.func], [])
    return node

  def visit_Try(self, node: ast.Try) -> ast.Try:
    """A handler asserts that something was raised, where what it guards asserts False behind it."""
    expects = any(is_false(n) for part in (*node.body, *node.orelse) for n in ast.walk(part))
    self.generic_visit(node)
    if expects:
      for handler in node.handlers:
        handler.body.insert(0, _call("__reached__"))
    return node


def _load(name: str) -> ast.Name:
  return ast.Name(name, ast.Load())


def _call(name: str, *constants: object) -> ast.Expr:
  return ast.Expr(ast.Call(_load(name), [ast.Constant(constant) for constant in constants], []))


def _asserts(statement: ast.stmt) -> bool:
  """Whether it holds an assertion that is not simply False."""
  for n in ast.walk(statement):
    is_method = isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr.startswith("assert")
    if is_method or (isinstance(n, ast.Assert) and not is_false(n)):
      return True
  return False


def _results(tree: ast.Module) -> set[str]:
  """Names to which the result of a call is assigned."""
  names = set()
  for n in ast.walk(tree):
    if isinstance(n, ast.Assign) and any(isinstance(part, ast.Call) for part in ast.walk(n.value)):
      names |= {part.id for target in n.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
  return names


def is_false(node: ast.AST) -> bool:
  """Whether it fails wherever it is reached."""
  if isinstance(node, ast.Assert):
    return isinstance(node.test, ast.Constant) and not node.test.value
  if isinstance(node, ast.Raise):
    return node.exc is not None and name_of(getattr(node.exc, "func", node.exc)) == "AssertionError"
  return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fail"


def counting(tree: ast.Module) -> tuple[list[ast.Module], bool]:
  """The statements, each a module whose assertions are counted; and whether the text catches AssertionError by name.

  Where it does not, a failed assertion that some `except Exception` catches is still a failed test.
  """
  results = _results(tree)
  modules = [_Counting(results).visit(ast.Module([statement], [])) for statement in tree.body]
  catches = any(isinstance(n, ast.Name) and n.id == "AssertionError" for module in modules for n in ast.walk(module))
  return [ast.fix_missing_locations(module) for module in modules], catches

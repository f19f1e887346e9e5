"""Countdown: given numbers and + - * / and parentheses, make the target."""

import ast
import collections
import fractions
import functools
import itertools
import json
import operator
import re
import warnings
from collections.abc import Mapping, Sequence

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.extract import cut, in_tags

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_SYMBOLS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_READABLE = str.maketrans(
  {**dict.fromkeys("×·⋅∗", "*"), "÷": "/", "\N{MINUS SIGN}": "-", "–": "-", "[": "(", "]": ")"}
)
_LATEX = (
  (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), "*"), (re.compile(r"\\div(?![A-Za-z])"), "/"),
  (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"((\1)/(\2))"),
  (re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[()\[\],;!]|\\boxed|[${}]"), " "),
)  # fmt: skip
_EXPRESSION = re.compile(r"[0-9+\-*/() ]+")
_LONGEST = 500  # characters of an expression


@functools.lru_cache(maxsize=1024)  # a group shares its problem
def _problem(answer: str) -> tuple[tuple[int, ...], int]:
  try:
    parsed = json.loads(answer)
    numbers, target = tuple(parsed["numbers"]), parsed["target"]
    whole = all(type(number) is int for number in (*numbers, target))
  except (ValueError, TypeError, KeyError, RecursionError):
    whole = False
  if not whole or not 0 < len(numbers) <= 16 or min(numbers) < 0:
    raise ValueError(
      f"the answer {answer[:80]!r} is no Countdown problem; give JSON such as"
      ' {"numbers": [3, 7, 50], "target": 71}, of at most 16 integers, none negative.'
    )
  return numbers, target


def _value(node: ast.expr) -> fractions.Fraction:
  if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
    return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
  if isinstance(node, ast.Constant) and type(node.value) is int:
    return fractions.Fraction(node.value)
  raise ValueError("not a number, + - * / or a parenthesis")


def solves(expression: str, numbers: Sequence[int], target: int, use_all: bool) -> bool:
  """Whether an expression is the target, exactly, and uses each number once (or, unless `use_all`, at most once).

  No sign, no power, no name; nothing is computed unless the numbers are the given ones, so nothing grows large.
  """
  if len(expression) > 4 * _LONGEST:
    return False
  for pattern, plain in _LATEX if "\\" in expression or "$" in expression else ():
    expression = pattern.sub(plain, expression)
  expression = " ".join(expression.translate(_READABLE).split())
  if len(expression) > _LONGEST or not _EXPRESSION.fullmatch(expression):
    return False
  used = collections.Counter(int(digits) for digits in re.findall("[0-9]+", expression))
  given = collections.Counter(numbers)
  if not used <= given or (use_all and used != given):
    return False
  try:
    with warnings.catch_warnings(action="ignore"):  # such as 3(4), which looks like a call
      return _value(ast.parse(expression, mode="eval").body) == target
  except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
    return False


def _one_side(text: str, target: int) -> str:
  """The expression of an equation with the target; nothing where the equation gives another number."""
  left, equals, right = (part.strip(" \n.$") for part in text.partition("="))
  if equals and left == str(target) and not right.lstrip("-").isdigit():
    return right
  return "" if right.isdigit() and len(right) <= 1000 and right != str(target) else left


def countdown(
  completion: str,
  example: Example,
  context: RuleContext,
  after: str | None = None,
  until: str | None = None,
  use_all: bool = True,
) -> float:
  """1 where the completion's expression makes the target of {"numbers": […], "target": n}, the example's answer.

  The expression is what stands behind the last `after` (before the next `until`), or in the last <answer> tags, or
  else all text; of an equation with the target, the other side. 3*7 = 20 is wrong.
  Each number is to be used once, or, without `use_all`, at most.

  Raises:
    ValueError: the answer is no such problem.
  """
  numbers, target = _problem(example.answer)
  text = cut(completion, after, until)
  return float(text is not None and solves(_one_side(in_tags(text), target), numbers, target, use_all))


def _solve(terms: tuple[tuple[fractions.Fraction, str], ...], target: int, use_all: bool, dead: set) -> str | None:
  """The first expression found by joining two terms at a time; `dead` holds the values that led nowhere."""
  if not use_all or len(terms) == 1:
    found = next((text for value, text in terms if value == target), None)
    if found or len(terms) == 1:
      return found
  values = tuple(sorted(value for value, _ in terms))
  if values in dead:
    return None
  dead.add(values)
  for (i, (x, left)), (j, (y, right)) in itertools.permutations(enumerate(terms), 2):
    rest = tuple(term for k, term in enumerate(terms) if k not in (i, j))
    for symbol, operate in _SYMBOLS.items():
      if (symbol in "+*" and i > j) or (symbol == "/" and not y):
        continue
      if found := _solve((*rest, (operate(x, y), f"({left}{symbol}{right})")), target, use_all, dead):
        return found
  return None


def write(answer: str, options: Mapping) -> str:
  """A completion that solves this problem.

  Raises:
    ValueError: it has no solution.
  """
  numbers, target = _problem(answer)
  terms = tuple((fractions.Fraction(number), str(number)) for number in numbers)
  found = _solve(terms, target, options.get("use_all", True), set())
  if found is None:
    raise ValueError(f"the Countdown problem {answer[:80]!r} has no solution; correct the data.")
  return (options.get("after") or "") + found + (options.get("until") or "")

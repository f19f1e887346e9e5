"""Mathematical expressions, in LaTeX or plain: read by a small grammar and evaluated within bounds.

Values are exact fractions as long as they can be, else 40 digits (mpmath). Nothing is expanded symbolically: two
expressions are equal where they agree at fixed points. So the cost of any text is bounded by its length.
"""

import fractions
import functools
import itertools
import math
import re
import zlib
from collections.abc import Iterator

LONGEST = 2000  # characters of an expression
DEEPEST = 60  # brackets within brackets
BITS = 4096  # of an exact numerator or denominator
LARGEST = 10**6  # decimal exponent of a value, and the largest argument of a factorial
DIGITS = 40

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\*\*|[A-Za-z]|[-+*/^_!|(){}\[\]%,]|\\\\|\S)", re.ASCII)
_FUNCTIONS = (
  "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "lg", "exp",
)  # fmt: skip
_POINTS = ((0.61, 1), (1.83, 1), (0.97, -1))  # scale and sign of the variables' values


class Unreadable(ValueError):
  """The text is no expression that the grammar knows."""


class Bounded(ValueError):
  """Reading or evaluating the text would go beyond a bound."""


def tokens(text: str) -> list[str]:
  """The tokens of an expression.

  Raises:
    Bounded: it is too long.
  """
  if len(text) > LONGEST:
    raise Bounded(f"more than {LONGEST} characters")
  return _TOKEN.findall(text)


class _Parser:
  """Recursive descent: sum, product, sign, power, atom. Nodes are tuples (operation, arguments…)."""

  def __init__(self, text: str):
    self.tokens, self.i, self.depth = tokens(text), 0, 0

  def peek(self, ahead: int = 0) -> str:
    return self.tokens[self.i + ahead] if self.i + ahead < len(self.tokens) else ""

  def take(self, *wanted: str) -> str:
    token = self.peek()
    if not token or (wanted and token not in wanted):
      raise Unreadable(f"{token!r} where {wanted or 'more'} was expected")
    self.i += 1
    return token

  def sum(self):
    self.depth += 1
    if self.depth > DEEPEST:
      raise Bounded(f"more than {DEEPEST} nested brackets")
    signs = {"+": "add", "-": "sub", "\\pm": "pm", "\\mp": "mp"}
    if self.peek() in ("\\pm", "\\mp"):
      node = (signs[self.take()], ("num", fractions.Fraction(0)), self.product())
    else:
      node = self.product()
    while self.peek() in signs:
      node = (signs[self.take()], node, self.product())
    self.depth -= 1
    return node

  def product(self):
    node = self.signed()
    while True:
      token = self.peek()
      if token in ("*", "\\times", "\\cdot"):
        self.take()
        node = ("mul", node, self.signed())
      elif token in ("/", "\\div"):
        self.take()
        node = ("div", node, self.signed())
      elif self.starts_factor(token):
        if re.match(r"[0-9.]", token) and re.match(r"[\d.]", self.peek(-1)):
          raise Unreadable("two numbers side by side")
        node = ("mul", node, self.power())
      else:
        return node

  def starts_factor(self, token: str) -> bool:
    return bool(re.match(r"[\d.A-Za-z({\[]", token)) or token in _ATOMS or token.lstrip("\\") in _FUNCTIONS

  def signed(self):
    negative = 0
    while self.peek() in ("-", "+"):
      negative += self.take() == "-"
    node = self.power()
    return ("neg", node) if negative % 2 else node

  def power(self):
    node = self.atom()
    while self.peek() in ("!", "^", "**", "%"):
      token = self.take()
      if token == "!":
        node = ("fact", node)
      elif token == "%":
        node = ("div", node, ("num", fractions.Fraction(100)))
      elif self.peek() == "\\circ":
        self.take()
      else:
        node = ("pow", node, self.argument(signed=True))
    return node

  def argument(self, signed: bool = False):
    """What a command takes: a group in braces, or one token (of a number, its first digit)."""
    if signed and self.peek() in ("-", "+"):
      return ("neg", self.argument()) if self.take() == "-" else self.argument()
    if self.peek() == "{":
      return self.group("}")
    if not signed and re.fullmatch(r"\d{2,}", self.peek()):
      digits = self.peek()
      self.tokens[self.i] = digits[1:]
      return ("num", fractions.Fraction(int(digits[0])))
    return self.power() if signed and self.peek() != "(" else self.atom()

  def group(self, close: str):
    self.take()
    node = self.sum()
    self.take(close)
    return node

  def atom(self):
    token = self.peek()
    if re.match(r"[0-9.]", token):
      if len(token) > 1000:
        raise Bounded("a number of more than 1000 digits")
      try:
        return ("num", fractions.Fraction(self.take()))
      except ValueError:
        raise Unreadable(token) from None
    if token in ("(", "[", "{"):
      return self.group({"(": ")", "[": "]", "{": "}"}[token])
    if token == "|":
      return ("fn", "abs", self.group("|"))
    if re.fullmatch("[A-Za-z]", token):
      return self.name()
    if token.lstrip("\\") in _FUNCTIONS and token:
      return self.function()
    if token not in _ATOMS:
      raise Unreadable(f"{token!r} is not understood")
    self.take()
    return _ATOMS[token](self)

  def name(self):
    name = self.take()
    if self.peek() == "_":
      self.take()
      start = self.i
      self.argument(signed=True)
      name += "_" + "".join(self.tokens[start : self.i]).strip("{}")
    return {"e": ("const", "e"), "i": ("const", "i")}.get(name, ("var", name))

  def function(self):
    name, power = self.take().lstrip("\\"), None
    if self.peek() in ("^", "**"):
      self.take()
      power = self.argument(signed=True)
    if power == ("neg", ("num", fractions.Fraction(1))):
      name, power = "arc" + name, None
    node = ("fn", name, self.operand())
    return node if power is None else ("pow", node, power)

  def operand(self):
    """The argument of sin, log and the like: a bracket, or the factors that follow."""
    if self.peek() in ("(", "{", "["):
      return self.power()
    node = self.signed()
    while re.match(r"[\dA-Za-z]|\\(pi|frac|sqrt|theta|alpha|beta)$", self.peek()):
      node = ("mul", node, self.power())
    if self.peek() == "/" and re.match(r"\d", self.peek(1)):
      self.take()
      node = ("div", node, self.power())
    return node


def _root(parser: _Parser):
  degree = ("num", fractions.Fraction(2))
  if parser.peek() == "[":
    degree = parser.group("]")
  return ("root", parser.argument(), degree)


def _log(parser: _Parser):
  base = ("num", fractions.Fraction(10)) if parser.peek() != "_" else None
  if base is None:
    parser.take()
    base = parser.argument()
  else:
    return ("fn", "log", parser.operand())
  return ("div", ("fn", "ln", parser.operand()), ("fn", "ln", base))


def _bracket(name: str, close: str):
  def read(parser: _Parser):
    node = parser.sum()
    parser.take(close)
    return ("fn", name, node)

  return read


def _greek(name: str):
  def read(parser: _Parser):
    return ("var", name)

  return read


_ATOMS = {
  "\\frac": lambda parser: ("div", parser.argument(), parser.argument()),
  "\\binom": lambda parser: ("binom", parser.argument(), parser.argument()),
  "\\sqrt": _root,
  "\\log": _log,
  "\\pi": lambda parser: ("const", "pi"),
  "\\infty": lambda parser: ("const", "inf"),
  "\\lfloor": _bracket("floor", "\\rfloor"),
  "\\lceil": _bracket("ceil", "\\rceil"),
} | {
  f"\\{name}": _greek(name)
  for name in (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda mu nu xi rho sigma tau phi varphi"
    " chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega ell"
  ).split()
}


@functools.lru_cache(maxsize=4096)
def parse(text: str):
  """The expression as a tree of tuples.

  Raises:
    Unreadable: it is none. Bounded: it is beyond a bound.
  """
  parser = _Parser(text)
  node = parser.sum()
  if parser.i < len(parser.tokens):
    raise Unreadable(f"{parser.peek()!r} is left over")
  return node


def names(node) -> frozenset[str]:
  """The variables of an expression."""
  if node[0] == "var":
    return frozenset((node[1],))
  return frozenset().union(*(names(part) for part in node[1:] if isinstance(part, tuple)))


def signs(node) -> Iterator[int]:
  """The choices of a plus-minus: both where there is one, else plus."""
  return iter((1, -1) if _has(node, ("pm", "mp")) else (1,))


def _has(node, operations) -> bool:
  return node[0] in operations or any(_has(part, operations) for part in node[1:] if isinstance(part, tuple))


def _value_of(name: str, point: int) -> fractions.Fraction:
  scale, sign = _POINTS[point]
  spread = 0.5 + zlib.crc32(name.encode()) % 9973 / 9973
  return fractions.Fraction(round(sign * scale * spread * 10**6), 10**6)


def evaluate(node, point: int = 0, sign: int = 1):
  """The value at a point (an index into the fixed points): a Fraction, or an mpmath number.

  Raises:
    Unreadable: it has no value (a division by zero, say). Bounded: it is too large.
  """
  import mpmath

  with mpmath.workdps(DIGITS):
    try:
      value = _evaluate(node, point, sign)
    except (ZeroDivisionError, TypeError, ArithmeticError, ValueError) as error:
      if isinstance(error, Bounded | Unreadable):
        raise
      raise Unreadable(f"no value ({error})") from None
  return value


def _evaluate(node, point, sign):
  operation = node[0]
  if operation == "num":
    return node[1]
  if operation == "var":
    return _value_of(node[1], point)
  if operation == "const":
    return _constant(node[1])
  if operation == "fn":
    return _call(node[1], _evaluate(node[2], point, sign), point)
  a, *rest = (_evaluate(part, point, sign) for part in node[1:])
  b = rest[0] if rest else None
  if operation in ("pm", "mp"):
    operation = "add" if (sign > 0) == (operation == "pm") else "sub"
  return _bounded(_OPERATIONS[operation](a, b, point))


def _constant(name: str):
  import mpmath

  return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1), "inf": mpmath.inf}[name]


def _mp(value):
  import mpmath

  return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, fractions.Fraction) else value


def _both(function):
  def operate(a, b, point):
    if isinstance(a, fractions.Fraction) and isinstance(b, fractions.Fraction):
      return function(a, b)
    return function(_mp(a), _mp(b))

  return operate


def _bounded(value):
  if isinstance(value, fractions.Fraction):
    return value if max(value.numerator.bit_length(), value.denominator.bit_length()) <= BITS else _mp(value)
  size = abs(value)
  if size and math.isfinite(size) and abs(size.man_exp[1]) > 4 * LARGEST:
    raise Bounded("a value too large to hold")
  return value


def _power(a, b, point):
  import mpmath

  if isinstance(a, fractions.Fraction) and isinstance(b, fractions.Fraction):
    bits = max(a.numerator.bit_length(), a.denominator.bit_length())
    if b.denominator == 1 and abs(b) * bits <= BITS:
      return a**b.numerator
    if b.denominator > 1 and b.denominator <= 64 and (exact := _exact_root(a, b.denominator)) is not None:
      return _power(exact, fractions.Fraction(b.numerator), point)
  a, b = _mp(a), _mp(b)
  _real(a, point, "a power", whole=isinstance(b, mpmath.mpf) and mpmath.isint(b))
  if a and abs(b) > 1 and float(abs(mpmath.log(abs(a)))) * float(min(abs(b), mpmath.mpf(10) ** 300)) > 2 * LARGEST:
    raise Bounded("a power too large to hold")
  return mpmath.power(a, b)


def _real(value, point, what, whole=False):
  """At the point of negative variables identities of roots and logarithms do not hold: it is left out for them."""
  if point == 2 and not whole and getattr(value, "real", value) < 0:
    raise Unreadable(f"{what} of a negative number")


def _exact_root(value: fractions.Fraction, degree: int) -> fractions.Fraction | None:
  if value < 0 or max(value.numerator.bit_length(), value.denominator.bit_length()) > BITS:
    return None
  parts = [_integer_root(part, degree) for part in (value.numerator, value.denominator)]
  return None if None in parts else fractions.Fraction(*parts)


def _integer_root(value: int, degree: int) -> int | None:
  if degree == 2:
    root = math.isqrt(value)
  else:
    import mpmath

    with mpmath.workdps(value.bit_length() // 3 + 20):
      root = int(mpmath.nint(mpmath.root(value, degree)))
  return root if root**degree == value else None


def _root_of(a, degree, point):
  import mpmath

  if not isinstance(degree, fractions.Fraction) or degree.denominator != 1 or not 1 <= degree <= 64:
    return _power(a, 1 / degree, point)
  n = degree.numerator
  if isinstance(a, fractions.Fraction) and (exact := _exact_root(abs(a), n)) is not None and (a >= 0 or n % 2):
    return exact if a >= 0 else -exact
  a = _mp(a)
  if n % 2 and isinstance(a, mpmath.mpf) and a < 0:
    return -mpmath.root(-a, n)
  _real(a, point, "a root")
  return mpmath.root(a, n)


def _factorial(a, b, point):
  import mpmath

  if not isinstance(a, fractions.Fraction) or a.denominator != 1 or a < 0:
    raise Unreadable("a factorial of no natural number")
  if a > LARGEST:
    raise Bounded("a factorial too large to hold")
  return fractions.Fraction(math.factorial(int(a))) if a <= 300 else mpmath.factorial(int(a))


def _choose(a, b, point):
  import mpmath

  whole = all(isinstance(x, fractions.Fraction) and x.denominator == 1 and x >= 0 for x in (a, b))
  if whole and a <= 1000:
    return fractions.Fraction(math.comb(int(a), int(b)))
  if max(abs(_mp(a)), abs(_mp(b))) > LARGEST:
    raise Bounded("a binomial too large to hold")
  return mpmath.binomial(_mp(a), _mp(b))


_OPERATIONS = {
  "add": _both(lambda a, b: a + b), "sub": _both(lambda a, b: a - b), "mul": _both(lambda a, b: a * b),
  "div": _both(lambda a, b: a / b), "pow": _power, "root": _root_of, "fact": _factorial, "binom": _choose,
  "neg": lambda a, b, point: -a,
}  # fmt: skip


def _call(name, value, point):
  import mpmath

  if name == "abs":
    return abs(value)
  if isinstance(value, fractions.Fraction):
    if name in ("floor", "ceil"):
      return fractions.Fraction(math.floor(value) if name == "floor" else math.ceil(value))
    if name in ("log", "lg") and value > 0 and value == 10 ** round(math.log10(value)) and value < 10**15:
      return fractions.Fraction(round(math.log10(value)))
    if value == 1 and name in ("ln", "log", "lg"):
      return fractions.Fraction(0)
  value = _mp(value)
  if abs(value) > LARGEST:
    raise Bounded(f"{name} of a value too large")
  if name in ("ln", "log", "lg"):
    _real(value, point, "a logarithm")
  called = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "lg": "log10", "log": "log10"}.get(name, name)
  return _bounded(getattr(mpmath, called)(value))


def close(a, b) -> bool:
  """Whether two values are equal: fractions exactly, others to 30 digits."""
  import mpmath

  if isinstance(a, fractions.Fraction) and isinstance(b, fractions.Fraction):
    return a == b
  with mpmath.workdps(DIGITS):
    a, b = _mp(a), _mp(b)
    if mpmath.isinf(a) or mpmath.isinf(b):
      return bool(a == b)
    return bool(abs(a - b) <= mpmath.mpf(10) ** -30 * max(1, abs(a), abs(b)))


def same(a, b, sign_a: int = 1, sign_b: int = 1) -> bool:
  """Whether two expressions agree: at every fixed point where both have a value, and at one at least."""
  if not (free := names(a) | names(b)):
    return close(evaluate(a, 0, sign_a), evaluate(b, 0, sign_b))
  agreed = False
  for point in range(len(_POINTS)) if free else (0,):
    try:
      values = evaluate(a, point, sign_a), evaluate(b, point, sign_b)
    except Unreadable:
      continue
    if not close(*values):
      return False
    agreed = True
  return agreed


def proportional(a, b) -> bool:
  """Whether one expression is a constant times the other, as the two sides of the same equation are."""
  ratios = []
  for point in range(len(_POINTS)):
    try:
      x, y = evaluate(a, point), evaluate(b, point)
      ratios.append(_mp(x) / _mp(y))
    except (Unreadable, ZeroDivisionError):
      continue
  return len(ratios) > 1 and bool(ratios[0]) and all(close(*pair) for pair in itertools.pairwise(ratios))

"""Mathematical expressions, in LaTeX or plain, read by a small grammar to trees of tuples; values.py computes them."""

import fractions
import functools
import re

LONGEST = 2000  # characters of an expression
DEEPEST = 60  # brackets within brackets

_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\*\*|[A-Za-z]|[-+*/^_!|(){}\[\]%,]|\\\\|\S)", re.ASCII)
_FUNCTIONS = (
  "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "lg", "exp",
)  # fmt: skip


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
  for name in (  # noqa: SIM905
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

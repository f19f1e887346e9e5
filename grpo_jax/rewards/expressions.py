"""Expressions in plain notation: a parser, and values that are exact where rational and else have 40 digits.

Nothing grows: digits, powers, factorials and depth are bounded before they are computed (`Bounded`), so a hostile text
costs little. Two expressions in the same letters are equal where they agree at random points, to 25 digits.
"""

import math
import random
import re
from fractions import Fraction

import mpmath

from grpo_jax.rewards.answer_text import FUNCTIONS
from grpo_jax.rewards.calls import Bounded

MP = mpmath.MPContext()
MP.dps = 40
LARGEST_EXPONENT, MOST_BITS, MOST_DIGITS, DEEPEST, MOST_TOKENS = 4096, 1 << 16, 400, 40, 400
_TOKEN = re.compile(
  r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+(?![\d.]))?)|(?P<name>[A-Za-zα-ωπ∞]+)|"
  r"(?P<mark>\*\*|[-+*/^_()\[\]|!°⊕,]))", re.ASCII)


class NoExpression(ValueError):
  """The text is no expression."""


def _number(text: str) -> Fraction:
  digits, _, exponent = text.lower().partition("e")
  if len(digits) > MOST_DIGITS or len(exponent) > 5 or abs(int(exponent or 0)) > 1000:
    raise Bounded(f"a number has more than {MOST_DIGITS} digits, or an exponent beyond 1000")
  return Fraction(digits.rstrip(".") or "0") * Fraction(10) ** int(exponent or 0)


class _Parser:
  """Recursive descent; `node` is ("num", value), ("var", name), (operator, node, node) or ("call", name, nodes)."""

  def __init__(self, text: str):
    self.tokens, at = [], 0
    while at < len(text.rstrip()):
      match = _TOKEN.match(text, at)
      if not match:
        raise NoExpression(text[at:at + 20])
      kind, at = match.lastgroup, match.end()
      self.tokens += self._names(match[kind]) if kind == "name" else [(kind, match[kind])]
      if len(self.tokens) > MOST_TOKENS:
        raise Bounded(f"an expression has more than {MOST_TOKENS} parts")
    self.at, self.depth = 0, 0

  def _names(self, word: str) -> list:
    """A function, a constant, or up to three letters that are multiplied."""
    if word in FUNCTIONS or word == "pi" or len(word) == 1:
      return [("name", "π" if word == "pi" else word)]
    for name in sorted(FUNCTIONS, key=len, reverse=True):
      if word.startswith(name):
        return [("name", name), *self._names(word[len(name):])]
    if len(word) > 3 or not word.islower():
      raise NoExpression(word)
    return [("name", letter) for letter in word]

  def peek(self) -> str:
    return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

  def kind(self) -> str:
    return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

  def take(self, mark: str = "") -> str:
    found = self.peek()
    if not found or (mark and found != mark):
      raise NoExpression(f"{mark or 'more'} expected")
    self.at += 1
    return found

  def sum(self):
    self.depth += 1
    if self.depth > DEEPEST:
      raise Bounded(f"an expression is nested deeper than {DEEPEST}")
    node = self.product()
    while self.peek() in ("+", "-"):
      node = (self.take(), node, self.product())
    self.depth -= 1
    return node

  def product(self):
    node = self.signed()
    while True:
      if self.peek() in ("*", "/"):
        node = (self.take(), node, self.signed())
      elif self.kind() == "name" or self.peek() in ("(", "["):
        node = ("*", node, self.power())
      else:
        return node

  def signed(self):
    sign = 1
    while self.peek() in ("+", "-"):
      sign = -sign if self.take() == "-" else sign
    node = self.power()
    return node if sign > 0 else ("*", ("num", Fraction(-1)), node)

  def power(self):
    node = self.postfix()
    if self.peek() in ("^", "**"):
      self.take()
      self.depth += 1
      if self.depth > DEEPEST:
        raise Bounded(f"an expression is nested deeper than {DEEPEST}")
      node = ("^", node, self.signed())
      self.depth -= 1
    return node

  def postfix(self):
    node = self.primary()
    while self.peek() in ("!", "°"):
      node = ("call", "!", [node]) if self.take() == "!" else node
    return node

  def primary(self):
    kind = self.kind()
    if kind == "number":
      node = ("num", _number(self.take()))
      if self.peek() == "⊕":
        self.take()
        node = ("+", node, self.primary())
      return node
    if kind == "name":
      name = self.take()
      return self.call(name) if name in FUNCTIONS else ("var", self.subscript(name))
    mark = self.take()
    if mark in ("(", "["):
      node = self.sum()
      self.take({"(": ")", "[": "]"}[mark])
      return node
    if mark == "|":
      node = self.sum()
      self.take("|")
      return ("call", "abs", [node])
    raise NoExpression(mark)

  def subscript(self, name: str) -> str:
    if self.peek() != "_":
      return name
    self.take()
    if self.peek() == "(":
      self.take()
      name = f"{name}_{self.take()}"
      self.take(")")
      return name
    return f"{name}_{self.take()}"

  def call(self, name: str):
    base, exponent = None, None
    for _ in range(2):
      if self.peek() == "_":
        self.take()
        base = self.primary()
      elif self.peek() == "^":
        self.take()
        exponent = self.primary()
    if self.peek() == "(":
      self.take()
      arguments = [self.sum()]
      while self.peek() == ",":
        self.take()
        arguments.append(self.sum())
      self.take(")")
    else:
      argument = self.power()
      while self.kind() == "name" and self.peek() not in FUNCTIONS:
        argument = ("*", argument, self.power())
      arguments = [argument]
    node = ("call", name, arguments if base is None else [*arguments, base])
    if exponent is None:
      return node
    return ("call", f"arc{name}", arguments) if exponent == ("num", Fraction(-1)) else ("^", node, exponent)


def parse_expression(text: str):
  """The tree of an expression.

  Raises:
    NoExpression: it is none. Bounded: it is larger than is read.
  """
  parser = _Parser(text)
  if not parser.tokens:
    raise NoExpression("nothing")
  node = parser.sum()
  if parser.peek():
    raise NoExpression(parser.peek())
  return node


def letters(node) -> set[str]:
  """The names of an expression that are no constants."""
  if node[0] == "var":
    return set() if node[1] in ("e", "i", "π") else {node[1]}
  parts = node[2] if node[0] == "call" else node[1:] if node[0] != "num" else ()
  return set().union(*map(letters, parts))


def _mp(x):
  return MP.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else x


def _power(base, exponent):
  if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
    n, bits = int(exponent), max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(n) <= LARGEST_EXPONENT and abs(n) * bits <= MOST_BITS:
      return base**n
    if base not in (0, 1, -1):
      raise Bounded("a power is too large to be computed")
    return Fraction(1 if base == 1 or n % 2 == 0 else -1) if base else base
  base, exponent = _mp(base), _mp(exponent)
  if base and abs(exponent) * (1 + abs(MP.log(abs(base)))) > 1 << 20:
    raise Bounded("a power is too large to be computed")
  return MP.power(base, exponent)


def _whole(x, largest: int) -> int:
  if not isinstance(x, Fraction) or x.denominator != 1 or x < 0:
    raise ArithmeticError("a whole number is expected")
  if x > largest:
    raise Bounded(f"a factorial or binomial of more than {largest}")
  return int(x)


def _call(name: str, x: list):
  first = x[0]
  if name == "!":
    return Fraction(math.factorial(_whole(first, 500)))
  if name == "binom":
    return Fraction(math.comb(_whole(first, 2000), _whole(x[1], 2000)))
  if name == "abs":
    return abs(first)
  if name in ("gcd", "lcm"):
    return Fraction(getattr(math, name)(*(_whole(a, 10**40) for a in x)))
  if name in ("max", "min"):
    return max(x, key=_mp) if name == "max" else min(x, key=_mp)
  if name in ("sqrt", "root"):
    n, value = (Fraction(2), first) if name == "sqrt" else (first, x[1])
    if n == 2 and isinstance(value, Fraction) and value >= 0:
      a, b = math.isqrt(value.numerator), math.isqrt(value.denominator)
      if a * a == value.numerator and b * b == value.denominator:
        return Fraction(a, b)
    if n != 2 and _mp(value).real < 0 and isinstance(n, Fraction) and n % 2 == 1:
      return -MP.root(-_mp(value), int(n))
    return _power(_mp(value), 1 / _mp(n))
  value = _mp(first)
  if abs(value) > 1 << 20 and name not in ("log", "ln", "lg"):
    raise Bounded(f"{name} of more than 2^20")
  if name in ("log", "ln", "lg"):
    base = _mp(x[1]) if len(x) > 1 else 10 if name == "lg" else MP.e
    return MP.log(value) / MP.log(base)
  return getattr(MP, {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(name, name))(value)


def value(node, at: dict):
  """The value where letters are `at`: a Fraction, or a number of 40 digits, complex where it must be.

  Raises:
    ArithmeticError, ValueError: there is none. Bounded: it is too large to be computed.
  """
  kind = node[0]
  if kind == "num":
    return node[1]
  if kind == "var":
    return {"e": MP.e * 1, "i": MP.mpc(0, 1), "π": MP.pi * 1}.get(node[1]) if node[1] in "eiπ" else at[node[1]]
  if kind == "call":
    return _call(node[1], [value(part, at) for part in node[2]])
  a, b = value(node[1], at), value(node[2], at)
  if kind == "^":
    return _power(a, b)
  if not (isinstance(a, Fraction) and isinstance(b, Fraction)):
    a, b = _mp(a), _mp(b)
  elif max(a.numerator.bit_length() + b.numerator.bit_length(), a.denominator.bit_length()) > 4 * MOST_BITS:
    raise Bounded("a number is too large to be computed")
  return a + b if kind == "+" else a - b if kind == "-" else a * b if kind == "*" else a / b


def _near(a, b) -> bool:
  if isinstance(a, Fraction) and isinstance(b, Fraction):
    return a == b
  a, b = _mp(a), _mp(b)
  return bool(abs(a - b) <= MP.mpf(10) ** -25 * max(1, abs(a)))


def equal(a, b) -> bool:
  """Whether two expressions are the same number, or the same function of the same letters."""
  names = sorted(letters(a) | letters(b))
  if letters(a) != letters(b) and not (letters(a) and letters(b)):
    return False
  agreed, rng = 0, random.Random(20241127)
  for _ in range(8 if names else 1):
    at = {name: MP.mpf(rng.randint(10_001, 29_999)) / 9973 for name in names}
    try:
      if not _near(value(a, at), value(b, at)):
        return False
      agreed += 1
    except (ArithmeticError, ValueError, TypeError):
      continue
    if agreed == 3:
      return True
  return agreed > 0

"""Values of expressions, within bounds.

They are exact fractions as long as they can be, else 40 digits (mpmath). Nothing is expanded symbolically: two
expressions are equal where they agree at fixed points. So the cost of any text is bounded by its length.
"""

import fractions
import itertools
import math
import zlib
from collections.abc import Iterator

from grpo_jax.rewards.expressions import Bounded, Unreadable

BITS = 4096  # of an exact numerator or denominator
LARGEST = 10**6  # decimal exponent of a value, and the largest argument of a factorial
DIGITS = 40

_POINTS = ((0.61, 1), (1.83, 1), (0.97, -1))  # scale and sign of the variables' values


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

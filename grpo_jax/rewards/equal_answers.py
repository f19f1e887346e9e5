"""What is equal within each kind of answer; docs/rewards.md has the table."""

import fractions

from grpo_jax.rewards import values
from grpo_jax.rewards.answer_parts import Answer, as_region
from grpo_jax.rewards.expressions import Unreadable


def _same_named(pair, named):
  """(1, 2) and x = 1, y = 2: the coordinates in the order of their names."""
  names = [answer.name for answer in named.value]
  if pair.unit != "()" or len(pair.value) != len(names) or not all(names) or len(set(names)) < len(names):
    return False
  return all(map(equal, pair.value, sorted(named.value, key=lambda answer: answer.name)))


def _is_single(answer):
  return answer.kind == "several" and len(answer.value) == 1


def _letters(answer):
  """The letters of a word, "" for what is more than letters."""
  letters = str(answer.value) if answer.kind in ("text", "choice") else answer.plain
  return letters.casefold() if letters.isalpha() else ""


def _percent(node):
  return ("div", node, ("num", fractions.Fraction(100)))


def equal(gold: Answer, given: Answer) -> bool:
  """Whether an answer is the gold one.

  Raises:
    Unreadable, Bounded: a value cannot be computed.
  """
  if gold.name and given.name and gold.name != given.name:
    return False
  if gold.plain and gold.plain == given.plain:
    return True
  regions = as_region(gold), as_region(given)
  if "region" in (gold.kind, given.kind) and None not in regions:
    return _same_region(*regions)
  if {gold.kind, given.kind} == {"ratio", "number"}:
    nodes = [
      answer.value if answer.kind == "number" else ("div", *answer.value) if len(answer.value) == 2 else None
      for answer in (gold, given)
    ]
    return None not in nodes and values.same(*nodes)
  if {gold.kind, given.kind} in ({"text", "number"}, {"choice", "number"}):  # letters may be a product or a word
    return _letters(gold) == _letters(given) != ""
  if gold.kind != given.kind and any(map(_is_single, (gold, given))):
    return equal(*(answer.value[0] if _is_single(answer) else answer for answer in (gold, given)))
  if {gold.kind, given.kind} == {"tuple", "several"}:
    return _same_named(*sorted((gold, given), key=lambda answer: answer.kind == "several"))
  return gold.kind == given.kind and _SAME[gold.kind](gold, given)


def _same_number(gold, given):
  percents = gold.unit == "%", given.unit == "%"
  if gold.unit and given.unit and gold.unit != given.unit:
    return False
  if values.same(gold.value, given.value):
    return True
  if percents[0] == percents[1] or (gold.unit and given.unit):
    return False
  nodes = [_percent(a.value) if percent else a.value for a, percent in zip((gold, given), percents, strict=True)]
  return values.same(*nodes)


def _same_several(gold, given):
  """The same members in any order, each as often unless one side is a set in braces."""
  mine, theirs = list(gold.value), list(given.value)
  if "{}" in (gold.unit, given.unit):
    mine, theirs = _distinct(mine), _distinct(theirs)
  if len(mine) != len(theirs) or len(mine) > 200:
    return False
  names = [answer.name for answer in (*mine, *theirs)]
  if all(names) and len(set(names)) > 1:
    mine, theirs = (sorted(part, key=lambda answer: answer.name) for part in (mine, theirs))
    return all(equal(a, b) for a, b in zip(mine, theirs, strict=True))
  for member in mine:
    found = next((i for i, other in enumerate(theirs) if _try_equal(member, other)), None)
    if found is None:
      return False
    theirs.pop(found)
  return True


def _distinct(members):
  kept = []
  for member in members[:200]:
    if not any(_try_equal(member, other) for other in kept):
      kept.append(member)
  return kept


def _try_equal(a, b):
  try:
    return equal(a, b)
  except Unreadable:
    return False


def _same_tuple(gold, given):
  return gold.unit == given.unit and len(gold.value) == len(given.value) and all(map(equal, gold.value, given.value))


def _same_end(a, b):
  return a is b if a is None or b is None else values.same(a, b)


def _same_region(gold, given):
  def key(piece):
    low = piece[0]
    return float("-inf") if low is None else float(values.evaluate(low))

  def same_piece(a, b):
    return a[2:] == b[2:] and _same_end(a[0], b[0]) and _same_end(a[1], b[1])

  try:
    pieces = sorted(gold, key=key), sorted(given, key=key)
  except (TypeError, OverflowError):
    return False
  return len(gold) == len(given) and all(map(same_piece, *pieces))


def _same_matrix(gold, given):
  shapes = [[len(row) for row in answer.value] for answer in (gold, given)]
  pairs = zip(sum(gold.value, ()), sum(given.value, ()), strict=False)
  return shapes[0] == shapes[1] and all(values.same(a, b) for a, b in pairs)


def _same_ratio(gold, given):
  if len(gold.value) != len(given.value):
    return False
  first = [("div", node, answer.value[0]) for answer in (gold, given) for node in answer.value[1:]]
  half = len(first) // 2
  return all(map(values.same, first[:half], first[half:]))


def _same_inequality(gold, given):
  a, b = gold.value[0], given.value[0]
  if gold.value[1] != given.value[1] or gold.name != given.name or not values.proportional(a, b):
    return False
  return (values.evaluate(a) > 0) == (values.evaluate(b) > 0)


def _same_time(gold, given):
  return gold.value == given.value and (not gold.unit or not given.unit or gold.unit == given.unit)


def _plainly(gold, given):
  return gold.value == given.value


_SAME = {
  "number": _same_number, "several": _same_several, "tuple": _same_tuple, "matrix": _same_matrix, "ratio": _same_ratio,
  "equation": lambda gold, given: values.proportional(gold.value, given.value), "inequality": _same_inequality,
  "base": _plainly, "text": _plainly, "choice": _plainly, "empty": _plainly,
  "time": _same_time,
}  # fmt: skip

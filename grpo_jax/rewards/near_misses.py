"""Wrong answers that are close to a right one, for the self-test."""

import decimal
import re
from collections.abc import Mapping

_NUMBER = re.compile(r"-?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?")
_FRACTION = re.compile(r"(-?)(?:\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}|(\d+)\s*/\s*(\d+))")
_UNIT = re.compile(r"(-?[\d.,]+)\s*(?:\\text\{\s*[A-Za-z]+\s*\}|[A-Za-z]{2,})")


def wrong_answer(answer: str) -> str:
  """Another answer: the number plus one, or for any other text a number."""
  try:
    gold = decimal.Decimal(answer.strip().replace(",", ""))
    return "0" if gold.adjusted() > 20 else f"{gold + 1:f}"
  except decimal.InvalidOperation:
    return "123457"


def near_misses(answer: str, rule: str, options: Mapping) -> list[str]:
  """Wrong answers like a right one: its sign flipped, half a fraction, another unit, a list that holds it."""
  answer = answer.strip()
  wrong = wrong_answer(answer)
  if _NUMBER.fullmatch(answer):
    flipped = answer.removeprefix("-") if answer.startswith("-") else "-" + answer
    # `numeric` looks at one end of the list only.
    listed = f"{wrong}, {answer}" if rule == "numeric" and options.get("pick") == "first" else f"{answer}, {wrong}"
    return [flipped] * (re.search("[1-9]", answer) is not None) + [listed]
  if match := _FRACTION.fullmatch(answer):
    top, bottom = match[2] or match[4], match[3] or match[5]
    halves = [match[1] + top] * (int(top) != 0 and int(bottom) != 1) + [match[1] + bottom] * (
      int(top) != int(bottom) ** 2
    )
    return [*halves, f"{answer}, {wrong}"]
  if rule == "math" and (match := _UNIT.fullmatch(answer)):
    return [rf"{match[1]}\text{{ furlongs}}"] if "furlong" not in answer else []
  return []

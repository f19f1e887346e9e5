"""The values of an answer column as text, by rules that docs/data.md states."""

import decimal
import json
import math
import re
from typing import Any

_GROUPED = re.compile(r"(?<![\d.,(\[{])\d{1,3}(?:,\d{3})+(?![\d,)\]}])")


def answer_text(value: Any, field: str, where: str) -> str:
  """An answer as text: text as it is, 3.0 and 3 as "3", true as "true"; objects and lists of objects as JSON,
  a list of asserts as lines.

  Raises:
    ValueError: it is blank, not finite, or a list of values; the message begins with `where`.
  """
  value = value.tolist() if hasattr(value, "tolist") else value  # numpy
  if isinstance(value, bool):
    return "true" if value else "false"
  if isinstance(value, float):
    return _number(value, field, where)
  if isinstance(value, dict) or (isinstance(value, list) and value and all(isinstance(item, dict) for item in value)):
    return json.dumps(value, ensure_ascii=False)
  if isinstance(value, list) and value and all(isinstance(v, str) and v.lstrip().startswith("assert") for v in value):
    return "\n".join(value)
  if isinstance(value, list | tuple | set):
    rule = "must be one value, not a list; keep one answer, or write the list as text such as '1, 2'"
    raise ValueError(f"{where}: field {field!r} is {str(value)[:60]}, {rule}.")
  text = str(value)
  if not text.strip():
    raise ValueError(f"{where}: field {field!r} is {text!r}, must hold an answer; correct or drop the line.")
  return text


def _number(value: float, field: str, where: str) -> str:
  if not math.isfinite(value):
    raise ValueError(f"{where}: field {field!r} is {value}, must be a finite number; correct or drop the line.")
  number = decimal.Decimal(repr(value))
  if number.adjusted() > 20 or number.adjusted() < -20:
    return repr(value)
  text = f"{number:f}"
  return text.rstrip("0").rstrip(".") if "." in text else text


def ungrouped(text: str) -> str:
  """A text without the thousands separators of its numbers: 1,234 becomes 1234, and (1,2) and 1,2 stay."""
  return _GROUPED.sub(lambda match: match[0].replace(",", ""), text)

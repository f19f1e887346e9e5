"""How an answer that is no text in the data becomes one."""

import json
import re
from collections.abc import Mapping
from typing import Any

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")


def answer_text(value: Any, what: str) -> str | bytes:
  """Text as it is; true and false as JSON has them; 3.0 as 3, other numbers in their shortest form.

  A list of one is its member. A list of asserts is joined by lines, one of {"input", "output"} is JSON.

  Raises:
    ValueError: a list of several answers: are all of them right, or any? It begins with `what`.
  """
  if isinstance(value, bool):
    return "true" if value else "false"
  if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
    return str(int(value))
  if isinstance(value, list | tuple):
    if len(value) == 1 and not isinstance(value[0], Mapping):
      return answer_text(value[0], what)
    if value and all(isinstance(part, str) and part.lstrip().startswith("assert") for part in value):
      return "\n".join(value)
    if value and all(isinstance(part, Mapping) and {"input", "output"} <= part.keys() for part in value):
      return json.dumps(list(value))
    raise ValueError(
      f"{what} is the list {value!r:.60}; are all right, or any? Write it as text, such as '2, 3' "
      "where all are asked for.")
  return value if isinstance(value, str | bytes) else str(value)


def without_thousands(text: str) -> str:
  """1,234,567 as 1234567. Commas of lists, tuples and intervals stay."""
  return text if re.search(r"[(\[{]", text) else _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)

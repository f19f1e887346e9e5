"""Numbers in text, for the rule `numeric`: exact decimals, found in time linear in the text's length."""

import decimal
import functools
import re
import unicodedata

_SIGNS = str.maketrans(
  {
    **dict.fromkeys("−–—‒﹣‐‑－", "-"),
    **dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " "),
    "×": "x",
    "⋅": "x",
    "·": "x",
  }
)
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
# A minus counts as a sign unless it follows an operand: "5-3" ends in 3, "= -3" in -3.
_NUMBER = re.compile(
  r"(?P<sign>(?<![\w.)\]])[-+])?(?P<other>(?<=[0-9])[/:]|[\^_]\{?)?[$£€¥₹]?"
  r"(?P<digits>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])"
  r"|(?<![0-9])[0-9]{1,3}(?: [0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
  r"(?P<exponent>[eE][+-]?[0-9]+|\s*(?:x|\*|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*[{(]?[+-]?[0-9]+[})]?)?"
)
_BEHIND = re.compile(r"[/:][0-9]")
_GOLD_UNIT = re.compile(r"\s*(?:[°%]|[A-Za-zµΩ°][A-Za-z./°]*(?:\^?[23²³])?)?(?:[ /][A-Za-z.°]+(?:\^?[23²³])?)*\.?\s*")


def _ascii(text: str) -> str:
  """Digits of all scripts, dashes and blanks in ASCII; raised digits behind a caret."""
  if text.isascii():
    return text
  text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: "^" + match[0].translate(_SUPERSCRIPT), text.translate(_SIGNS))
  return re.sub(r"[^\x00-\x7f]", lambda match: _digit(match[0]), text)


@functools.lru_cache(maxsize=1024)
def _digit(character: str) -> str:
  value = unicodedata.decimal(character, None)
  return {"．": ".", "，": ","}.get(character, character) if value is None else str(value)


def parse_number(text: str, pick: str = "last") -> decimal.Decimal | None:
  """The last (or first) integer or decimal of a text, exactly; None where there is none.

  Reads `-$1,234.50.` as -1234.5, `10 000` as 10000, 2e3 and 2 × 10^3 as 2000, and digits of any script. Powers
  (`m^2`) are no numbers. A fraction or a time is read whole: 3/4 is .75, 10:30 and 1/3 are no decimal, so None.
  Linear in the text's length, whatever the number's size: a Decimal is never expanded.

  Raises:
    ValueError: `pick` is neither "last" nor "first".
  """
  if pick not in ("last", "first"):
    raise ValueError(f"pick={pick!r} must be 'last' or 'first'.")
  text = _ascii(text)
  found = before = None
  for match in _NUMBER.finditer(text):
    if match["other"] and match["other"][0] in "^_":
      continue
    if not match["other"] and match.start() and text[match.start() - 1] in "^_":
      continue
    if pick == "first" and found is not None:
      if match["other"] and match.start() == found.end():
        return _joined(found, match)
      break
    before, found = found, match
  if found is None:
    return None
  if found["other"]:
    return _joined(before, found) if before is not None and before.end() == found.start() else None
  return _decimal(found)


def _decimal(match: re.Match) -> decimal.Decimal | None:
  power = re.search(r"[+-]?[0-9]+[})]?$", match["exponent"])[0].rstrip("})") if match["exponent"] else ""
  digits = (match["sign"] or "") + re.sub("[, ]", "", match["digits"])
  try:
    return decimal.Decimal(digits + (f"e{power}" if power else ""))
  except decimal.InvalidOperation:  # an exponent beyond 10^18
    return None


def _joined(top: re.Match, bottom: re.Match) -> decimal.Decimal | None:
  """The value of top/bottom, where it is a decimal; None for a time."""
  a, b = _decimal(top), _decimal(bottom)
  if bottom["other"] != "/" or a is None or not b or max(len(top[0]), len(bottom[0])) > 30:
    return None
  with decimal.localcontext(prec=60) as context:
    value = a / b
    return None if context.flags[decimal.Inexact] else value


@functools.lru_cache(maxsize=1024)
def gold_number(answer: str) -> decimal.Decimal:
  """The number that a gold answer is: one integer or decimal, with a sign of currency, a percent sign or a unit.

  Raises:
    ValueError: it holds no number, several, or one within something else.
  """
  text = _ascii(answer).strip()
  matches = [match for match in _NUMBER.finditer(text) if not (match["other"] and match["other"][0] in "^_")]
  if not matches:
    raise ValueError(f"the answer {answer[:80]!r} holds no number; use the rule exact or math.")
  match = matches[0]
  before = re.sub(r"^[A-Za-z]\w*\s*=\s*", "", text[: match.start()]).strip()
  rest = text[match.end() :]
  value = parse_number(text)
  whole = before in ("", "$", "£", "€", "¥", "₹") and len(rest) < 200 and _GOLD_UNIT.fullmatch(rest)
  if len(matches) > 1 or not whole or match["other"] or value is None:
    raise ValueError(
      f"the answer {answer[:80]!r} is not one plain number, which the rule numeric needs; use the rule math or exact."
    )
  return value

"""What kind of thing an answer is, and when two answers are the same; docs/rewards.md says it kind by kind."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

from grpo_jax.rewards.answer_text import DEEPEST, plain
from grpo_jax.rewards.calls import Bounded
from grpo_jax.rewards.expressions import MP, NoExpression, equal, letters, parse_expression, value
from grpo_jax.rewards.units import SPELLINGS, is_unit, spelled


class Answer(NamedTuple):
  """An answer that was read.

  `kind`: empty, number (an expression), list, tuple, set, interval, union, matrix, choice, ratio, base, equation,
  unequal or text. `name`: the left side of `x = 5`. `unit`: in one spelling, "" where there is none; `percent`: 50% is
  50 and 1/2.
  """

  kind: str
  value: Any
  unit: str = ""
  percent: bool = False
  name: str = ""
  text: str = ""  # plain notation without blanks


_MONEY = "$£€¥₹"
_CHOICE = re.compile(r"(?:\(([A-Z])\)|([A-Z])(?:[.):](?=\s|$)|$))\s*(.*)", re.DOTALL)
_SECOND = re.compile(r"^(?:or|and|not)\b|\([A-Z]\)|\b[A-Z]\)", re.IGNORECASE)  # a second choice behind the first
_UNIT = re.compile(
  r"(.*[\d)π!])\s*([A-Za-z°¢%$£€¥₹]"
  r"[^\d=<>≤≥,|⦃⦄⟦⟧+*]*(?:\^\(?-?\d\)?[^\d=<>≤≥,|+*]*)?)", re.DOTALL)
_NAMED = re.compile(r"(?:[A-Za-zα-ω](?:_\(?\w+\)?)?'?(?:\([a-zA-Z](?:,[a-zA-Z])*\))?|[A-Za-z][A-Za-z ]*[a-zA-Z])")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_UNORDERED = {(a, b) for a in ("list", "set", "union") for b in ("list", "set", "union")} - {
  ("set", "union"), ("union", "set")}


def _matches(text: str) -> dict[int, int]:
  """Where each bracket closes; intervals may close with another bracket than they open with."""
  stack, found = [], {}
  for i, c in enumerate(text):
    if c in "([⦃⟦":
      stack.append(i)
    elif c in ")]⦄⟧" and stack:
      found[stack.pop()] = i
  return found


def _bare(text: str) -> str:
  """Without round brackets around everything that hold no list."""
  match, start, end = _matches(text), 0, len(text)
  while end - start > 1 and text[start] == "(" and text[end - 1] == ")" and match.get(start) == end - 1:
    start, end = start + 1, end - 1
    while start < end and text[start] == " ":
      start += 1
    while end > start and text[end - 1] == " ":
      end -= 1
  inner = text[start:end]
  return inner if start == 0 or len(_split(inner, r",|;")) == 1 else f"({inner})"


def _split(text: str, separators: str) -> list[str]:
  """Cut at separators (a regular expression) that no bracket holds."""
  depth, parts, start, i = 0, [], 0, 0
  pattern = re.compile(separators)
  while i < len(text):
    depth += (text[i] in "([⦃⟦") - (text[i] in ")]⦄⟧")
    found = pattern.match(text, i) if depth == 0 else None
    if found and found.end() > i:
      parts.append(text[start:i])
      start = i = found.end()
      continue
    i += 1
  return [part.strip() for part in (*parts, text[start:])]


def _words(text: str) -> str:
  text = re.sub(r"[\"'`.,;:!?()\[\]⦃⦄]", " ", text.casefold())
  return " ".join(_ARTICLES.sub(" ", text.replace("-", " ")).split())


def _squeezed(text: str) -> str:
  return "".join(text.split())


def _quantity(text: str) -> Answer | None:
  """A number or an expression, with its sign of money, percent or unit."""
  unit, percent, body = "", False, text
  if money := re.fullmatch(rf"(-?)\s*([{_MONEY}])\s*(-?\s*[\d.].*)", body, re.DOTALL):
    body, unit = money[1] + money[3], SPELLINGS[money[2]]
  if match := re.fullmatch(r"(.*[\d)])\s*(?:%|percent|per cent|pct)", body, re.DOTALL):
    body, percent = match[1], True
  elif (match := _UNIT.fullmatch(body)) and is_unit(match[2], match.end(1) == match.start(2)):
    body, unit = match[1], f"{unit} {spelled(match[2])}".strip() if unit != spelled(match[2]) else unit
  try:
    node = parse_expression(body)
  except NoExpression:
    return None
  if node[0] == "var" and len(body) > 1 and not body.isalpha() and "_" not in body:
    return None
  return Answer("number", node, unit, percent)


def _interval(text: str) -> Answer | None:
  parts = _split(text[1:-1], r",|;")
  if len(parts) != 2:
    return None
  ends = [_quantity(part) for part in parts]
  if None in ends:
    return None
  return Answer("interval", (ends[0], ends[1], text[0] == "[", text[-1] == "]"))


def _inequality(text: str) -> Answer | None:
  """x > 2, 0 ≤ x < 1 as intervals; x ≠ 3 as what it is."""
  signs = re.findall(r"<=|>=|<|>|≤|≥|≠", text)
  parts = _split(text, r"<=|>=|<|>|≤|≥|≠")
  if len(parts) != len(signs) + 1:
    return None
  read_parts = [_quantity(part) for part in parts]
  if None in read_parts:
    return None
  if signs == ["≠"]:
    return Answer("unequal", tuple(read_parts))
  is_name = [part.value[0] == "var" and part.value[1] not in ("π", "e", "∞") for part in read_parts]
  signs = [{"<=": "≤", ">=": "≥"}.get(sign, sign) for sign in signs]
  if len(parts) == 3 and is_name[1] and not is_name[0] and (set(signs) <= {"<", "≤"} or set(signs) <= {">", "≥"}):
    low, high = read_parts[0], read_parts[2]
    closed = (signs[0] in "≤≥", signs[1] in "≤≥")
    return Answer("interval", (low, high, *closed) if signs[0] in "<≤" else (high, low, *closed[::-1]))
  if len(parts) != 2 or is_name[0] == is_name[1]:
    return None
  sign, end = signs[0], read_parts[1 if is_name[0] else 0]
  below = (sign in "<≤") == is_name[0]
  infinite = Answer("number", ("var", "∞"))
  if below:
    least = infinite._replace(value=("*", ("num", Fraction(-1)), ("var", "∞")))
    return Answer("interval", (least, end, False, sign == "≤"))
  return Answer("interval", (end, infinite, sign == "≥", False))


def _equation(text: str) -> Answer | None:
  """x = 5 as 5 with a name; 2 + 3 = 5 as 5; 5 = 3 as nothing that is right; others as equations."""
  parts = _split(text, r"==?|≡")
  if len(parts) < 2 or not all(parts):
    return None
  name = ""
  if _NAMED.fullmatch(parts[0]) and parts[0] not in ("e", "i", "π"):
    name, parts = _squeezed(parts[0]), parts[1:]
  sides = [read_plain(part) for part in parts]
  if name or all(side.kind != "number" or not letters(side.value) for side in sides):
    if all(same(sides[0], side) for side in sides[1:]):
      return sides[-1]._replace(name=name)
    return Answer("text", f"unequal sides {text}")
  if len(sides) == 2 and all(side.kind == "number" for side in sides):
    return Answer("equation", ("-", sides[0].value, sides[1].value))
  return None


def _signs(text: str) -> Answer | None:
  """Both values of ±."""
  both = [read_plain(text.replace("±", sign)) for sign in "+-"]
  return Answer("list", both) if all(part.kind == "number" for part in both) else None


def _brackets(text: str) -> Answer | None:
  """What is one pair of brackets: matrix, set, tuple, interval."""
  if len(text) < 2 or text[0] not in "([⦃⟦" or _matches(text).get(0) != len(text) - 1:
    return None
  if text[0] == "⟦":
    return Answer("matrix", [[read_plain(cell) for cell in row.split("¦")] for row in text[1:-1].split("¶")])
  if text[0] == "⦃":
    parts = [part for part in _split(text[1:-1], r",|;") if part]
    return Answer("set", [read_plain(part) for part in parts])
  parts = _split(text[1:-1], r",|;")
  if len(parts) < 2:
    return None
  if (text[0], text[-1]) != ("(", ")") and len(parts) == 2:
    return _interval(text)
  return Answer("tuple", [read_plain(part) for part in parts])


def read_plain(text: str) -> Answer:
  """Reads an answer that is in plain notation."""
  text = _bare(re.sub(r"^(?:≈|~|approximately|about|roughly)\s*", "", text.strip()))
  answer = _read(text)
  return answer._replace(text=_squeezed(text))


def _read(text: str) -> Answer:
  if not text:
    return Answer("empty", None)
  if text in ("∅", "⦃⦄"):
    return Answer("set", [])
  if (choice := _CHOICE.fullmatch(text)) and not _SECOND.search(choice[3]):
    return Answer("choice", choice[1] or choice[2])
  if "∪" in text:
    parts = [read_plain(part) for part in _split(text, "∪")]
    return Answer("union", parts) if len(parts) > 1 else Answer("text", _words(text))
  if found := _brackets(text):
    return found
  if "∈" in text:
    return read_plain(_split(text, "∈")[-1])
  parts = [part for part in _split(text, r",\s*(?:and|or)\s+|,|;|\s(?:and|or)\s") if part]
  if len(parts) > 1:
    answers = [read_plain(part) for part in parts]
    if all(part.kind != "text" for part in answers):
      return Answer("list", answers)
    return Answer("text", _words(text))
  readers: tuple[tuple[str, Callable], ...] = (
    (r"[<>≤≥≠]", _inequality), ("=", _equation), ("±", _signs))
  for mark, reader in readers:
    if re.search(mark, text):
      return reader(text) or Answer("text", _words(text))
  if base := re.fullmatch(r"([0-9A-F]+)_\(?(\d+)\)?", text):
    return Answer("base", (base[1].lstrip("0"), base[2]))
  if re.fullmatch(r"\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+", text):
    return Answer("ratio", [part.strip() for part in text.split(":")])
  if not re.fullmatch(r"[A-Za-z ]{2,}", text) and (found := _quantity(text)):
    return found
  if text.strip() in ("pi",):
    return Answer("number", ("var", "π"))
  return Answer("text", _words(text))


def read(text: str) -> Answer:
  """Reads an answer, LaTeX or plain.

  Raises:
    Bounded: it is larger than is read.
  """
  text, depth, deepest = _bare(plain(text)), 0, 0
  for c in text:
    depth += (c in "([⦃⟦") - (c in ")]⦄⟧")
    deepest = max(deepest, depth)
  if deepest > DEEPEST:
    raise Bounded(f"an answer has brackets deeper than {DEEPEST}")
  return read_plain(text)


def _numbers(gold: Answer, found: Answer) -> bool:
  if gold.unit and found.unit and gold.unit != found.unit:
    return False
  if gold.unit and gold.unit in f"{_MONEY}¢" and found.percent:
    return False
  if equal(gold.value, found.value):
    return True
  if gold.percent == found.percent:
    return False
  whole, part = (gold, found) if gold.percent else (found, gold)
  return equal(("/", whole.value, ("num", Fraction(100))), part.value)


def _anyhow(gold: list, found: list) -> bool:
  """The same members in any order."""
  rest = list(found)
  for member in gold:
    at = next((i for i, other in enumerate(rest) if same(member, other)), None)
    if at is None:
      return False
    rest.pop(at)
  return not rest


def _ordered(gold: list, found: list) -> bool:
  return len(gold) == len(found) and all(same(a, b) for a, b in zip(gold, found, strict=True))


def _ends(answer: Answer):
  if answer.kind == "tuple" and len(answer.value) == 2:
    return (*answer.value, False, False)
  return answer.value if answer.kind == "interval" else None


def _proportional(a, b) -> bool:
  """Whether two equations f = 0 and g = 0 differ by a factor that is a number."""
  names, ratios = sorted(letters(a) | letters(b)), []
  for k in range(4):
    at = {name: MP.mpf(10_007 + 3_571 * k + 911 * j) / 7919 for j, name in enumerate(names)}
    try:
      ratios.append(value(("/", a, b), at))
    except (ArithmeticError, ValueError, TypeError):
      return False
  return all(abs(r - ratios[0]) <= abs(ratios[0]) * MP.mpf(10) ** -20 for r in ratios)


def _ratios(gold: Answer, found: Answer) -> bool:
  if gold.value == found.value:
    return True
  clock = any(len(part) == 2 and part < "60" for answer in (gold, found) for part in answer.value[1:])
  if clock or len(gold.value) != len(found.value):
    return False
  a, b = ([Fraction(part) for part in answer.value] for answer in (gold, found))
  return all(x * b[0] == y * a[0] for x, y in zip(a, b, strict=True))


def same(gold: Answer, found: Answer) -> bool:
  """Whether an answer that was found is the gold answer; docs/rewards.md has the rule of each kind."""
  if found.kind == "empty" or gold.kind == "empty":
    return False
  if gold.name and found.name and gold.name != found.name and len(gold.name) == len(found.name) == 1:
    return False
  kinds = (gold.kind, found.kind)
  try:
    if kinds == ("number", "number"):
      return _numbers(gold, found)
    if (ends := _ends(gold)) and (other := _ends(found)) and "interval" in kinds:
      return ends[2:] == other[2:] and _ordered(list(ends[:2]), list(other[:2]))
  except Bounded:
    if gold.text == found.text:
      return True
    raise
  if kinds in _UNORDERED:
    return _anyhow(gold.value, found.value)
  if kinds in (("tuple", "tuple"), ("tuple", "list")):
    return _ordered(gold.value, found.value)
  if kinds == ("set", "number"):
    return len(gold.value) == 1 and same(gold.value[0], found)
  if kinds == ("matrix", "matrix"):
    rows = zip(gold.value, found.value, strict=False)
    return len(gold.value) == len(found.value) and all(_ordered(a, b) for a, b in rows)
  if kinds == ("ratio", "ratio"):
    return _ratios(gold, found)
  if kinds == ("ratio", "number") and len(gold.value) == 2 and Fraction(gold.value[1]):
    return equal(("num", Fraction(gold.value[0]) / Fraction(gold.value[1])), found.value)
  if kinds == ("base", "number"):
    return gold.text.partition("_")[0] == found.text
  if kinds == ("unequal", "unequal"):
    return _ordered(list(gold.value), list(found.value))
  if kinds == ("equation", "equation"):
    return _proportional(gold.value, found.value)
  if gold.kind == found.kind and gold.kind in ("choice", "base", "text"):
    return gold.value == found.value and gold.value != ""
  return False

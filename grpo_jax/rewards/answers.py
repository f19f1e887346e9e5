"""The kinds of answers, and what is equal within each.

`read` says what kind a text is; `equal` compares a gold answer with a given one. docs/rewards.md has the table.
"""

import dataclasses
import functools
import re

from grpo_jax.rewards import answer_text, expressions, values
from grpo_jax.rewards.answer_units import split_unit
from grpo_jax.rewards.expressions import Bounded, Unreadable


@dataclasses.dataclass(frozen=True)
class Answer:
  """A parsed answer. `value` depends on `kind`; `name` is what stands before an equals sign, `unit` behind a number.

  number: an expression. several: answers in any order. tuple: answers in order, with brackets `unit`.
  region: intervals ((low, high, closed, closed), …). matrix: rows of expressions. equation: left minus right.
  base: (digits, base). time, text, choice: text. ratio: numbers. empty: nothing. all: every relation but one value.
  """

  kind: str
  value: object
  unit: str = ""
  name: str = ""
  plain: str = ""


_RELATION = re.compile(r"\\(?:le|ge|ne|approx)(?![a-z])|<=|>=|!=|[<>=]")
_OPEN, _CLOSE = "([{", ")]}"
_MATRIX = re.compile(r"\\begin\{([bpvBV]?)(?:matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1(?:matrix|array)\}", re.DOTALL)
_CHOICE = re.compile(r"(?:option|choice)?\s*(?:\(([A-Ja-j])\)|([A-J])|\[([A-J])\])", re.IGNORECASE)
_CHOICE_AND_TEXT = re.compile(r"(?:(?:option|choice)\s*)?(?:\(([A-J])\)|([A-J])\s*[).:])\s*(.*)", re.DOTALL)
_CONNECTED = re.compile(r"\s*(?:[,;]\s*(?:and|or)\b|\b(?:and|or)\b|\\(?:lor|land|vee|wedge|quad)\b)\s*")
_WORDS = re.compile(r"[^\W\d_]{2,}")


def read(text: str) -> Answer:
  """The answer that a text writes.

  Raises:
    Unreadable: it is none of the kinds. Bounded: it goes beyond a bound.
  """
  text = answer_text.one_bracket(text.strip())
  if re.search(r"\d{400}", text):
    raise Bounded("a number of 400 digits or more")
  if len(text) > answer_text.LONGEST:
    raise Bounded(f"an answer of more than {answer_text.LONGEST} characters")
  plain = answer_text.plain(text)
  if len(plain) > answer_text.LONGEST:
    raise Bounded(f"an answer of more than {answer_text.LONGEST} characters")
  if not answer_text.texts(plain).strip("{} "):
    raise Unreadable("it is empty")
  return dataclasses.replace(_read(plain), plain="".join(plain.split()))


@functools.lru_cache(maxsize=4096)
def _read(plain: str, depth: int = 0) -> Answer:
  if depth > 8:
    raise Bounded("answers within answers, more than 8 deep")
  words = answer_text.texts(plain)
  for reader in (_special, _choice, _based, _clock, _matrix, _several, _relations, _bracketed, _quantity, _words):
    found = reader(plain, words, depth)
    if found is not None:
      return found
  raise Unreadable(f"{plain[:60]!r} is no answer of a known kind")


def _special(plain, words, depth):
  squeezed = re.sub(r"\s", "", plain)
  if squeezed in (r"\emptyset", r"\{\}", "{}"):
    return Answer("empty", ())
  if (
    squeezed in (r"\mathbb{R}", r"x\in\mathbb{R}", r"(-\infty,\infty)", r"(-\infty,+\infty)")
    or words.lower() == "all real numbers"
  ):
    return Answer("region", ((None, None, False, False),))
  return None


def _choice(plain, words, depth):
  if match := _CHOICE.fullmatch(words):
    letter = match[1] or match[2] or match[3]
    if letter.isupper() or "(" in words or " " in words:
      return Answer("choice", letter.upper())
    return None
  match = _CHOICE_AND_TEXT.fullmatch(words)
  if match and match[3] and not re.search(r"\([A-J]\)|\b(?:or|and)\b", match[3]):
    return Answer("choice", match[1] or match[2])
  return None


def _based(plain, words, depth):
  match = re.fullmatch(r"\(?([0-9A-Fa-f]+)\)?_\{?(\d+)\}?", re.sub(r"\s", "", words.replace("{", "{")))
  if match and 2 <= int(match[2][:3]) <= 36 and re.search(r"\d", match[1]):
    return Answer("base", (match[1].upper().lstrip("0") or "0", int(match[2])))
  return None


def _clock(plain, words, depth):
  match = re.fullmatch(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d))?\s*([ap]\.?\s?m\.?)?", words, re.IGNORECASE)
  if match and (int(match[1]) < 25):
    return Answer(
      "time", (int(match[1]), int(match[2]), int(match[3] or 0)), re.sub(r"[^apm]", "", (match[4] or "").lower())
    )
  parts = re.split(r"\s*(?::|\\colon)\s*", words)
  if len(parts) > 1 and all(
    re.fullmatch(r"[\d.\\a-z{}/^+\- ]+", part) and re.search(r"\d|sqrt", part) for part in parts
  ):
    return Answer("ratio", tuple(expressions.parse(part) for part in parts))
  return None


def _matrix(plain, words, depth):
  match = _MATRIX.fullmatch(plain.strip())
  if not match:
    return None
  rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", match[2]) if row.strip()]
  return Answer("matrix", tuple(tuple(expressions.parse(cell) for cell in row.split("&")) for row in rows))


def split_top(text: str, marks: str = ",;") -> list[str]:
  """The parts of a text between marks that stand in no bracket, thousands separators aside."""
  parts, depth, start = [], 0, 0
  text = text.replace(r"\langle", r"\langl(").replace(r"\rangle", r"\rangl)")
  for i, character in enumerate(text):
    if character in _OPEN:
      depth += 1
    elif character in _CLOSE:
      depth -= 1
    elif character in marks and depth <= 0:
      parts.append(text[start:i])
      start = i + 1
  parts.append(text[start:])
  return [part.replace(r"\langl(", r"\langle").replace(r"\rangl)", r"\rangle") for part in parts]


def _grouped(text: str) -> str | None:
  """A number without its thousands separators; None where it is none with separators."""
  number = r"([-+]?[$£€¥₹]?\s*[-+]?)(\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?![\d,])(.*)"
  match = re.fullmatch(number, text.strip(), re.DOTALL)
  if match and not match[2].startswith("0") and not re.match(r"\s*\d", match[3]):
    return match[1] + match[2].replace(",", "") + match[3]
  european = re.fullmatch(r"([-+]?[$£€¥₹]?\s*)(\d{1,3}(?:\.\d{3}){2,})(?:,(\d+))?", text.strip())
  european = european or re.fullmatch(r"([-+]?[$£€¥₹]?\s*)(\d{1,3}(?:\.\d{3})+),(\d{1,2})", text.strip())
  if european:
    return european[1] + european[2].replace(".", "") + (f".{european[3]}" if european[3] else "")
  return None


def _several(plain, words, depth):
  """Values that stand side by side; a union of sets, and alternatives of inequalities, are one region."""
  if r"\cup" in plain:
    return _united([_read(part.strip(), depth + 1) for part in plain.split(r"\cup")])
  if _grouped(words) is not None:
    return None
  text = _CONNECTED.sub(" , ", words)
  if len(re.findall(r"[,;]\s", text)) or ";" in text:  # "1,000, 2,000": only a comma with a blank divides
    parts = re.split(r",\s+|;", text) if not re.search(r"[(\[{]", text) else split_top(text)
  else:
    parts = split_top(text)
  parts = [part.strip() for part in parts if part.strip()]
  if len(parts) < 2:
    return None
  if not _plausible_parts(words, parts):
    return None
  members = [_read(part, depth + 1) for part in parts]
  if all(member.kind == "region" for member in members):
    return _united(members)
  return Answer("several", tuple(_spread(members)))


def _plausible_parts(words, parts) -> bool:
  """Prose with commas is text, unless every part can stand alone."""
  return all(re.search(r"[\d\\=<>]", part) or len(part.split()) <= 3 for part in parts) and len(parts) <= 200


def _united(members):
  if not all(member.kind in ("region", "tuple", "several", "empty") for member in members):
    raise Unreadable("a union of what are no sets")
  pieces = []
  for member in members:
    if member.kind == "several":
      pieces += [(node, node, True, True) for node in (part.value for part in member.value if part.kind == "number")]
    elif member.kind != "empty":
      pieces += as_region(member) or [None]
  if None in pieces:
    raise Unreadable("a union of what are no intervals")
  return Answer("region", tuple(pieces))


def as_region(answer):
  """The pieces of a region, or of a pair in brackets that may be an interval."""
  if answer.kind == "region":
    return answer.value
  if answer.kind == "tuple" and len(answer.value) == 2 and all(part.kind == "number" for part in answer.value):
    low, high = (_bound(part.value) for part in answer.value)
    return ((low, high, answer.unit[0] == "[", answer.unit[1] == "]"),)
  return None


def _bound(node):
  """A finite end of an interval, or None for an infinite one."""
  return None if "inf" in str(node) else node


def _spread(members):
  """Members, a plus-minus as its two values."""
  for member in members:
    yield from member.value if member.kind == "several" else (member,)


def _relations(plain, words, depth):
  text = re.sub(r"^\s*[A-Za-z]\s*\\in(?![a-z])\s*", "", plain)
  if text != plain:
    return _read(text.strip(), depth + 1)
  text = re.sub(r"^\\\{\s*[a-z]\s*(?:\\in\s*\\mathbb\{R\}\s*)?[|:]\s*(.*)\\\}$", r"\1", plain)
  if text != plain:
    return _read(text.strip(), depth + 1)
  signs = [
    re.sub(r"\\le|<=", "≤", re.sub(r"\\ge|>=", "≥", re.sub(r"\\ne|!=", "≠", sign))) for sign in _RELATION.findall(plain)
  ]
  if not signs:
    return None
  sides = [side.strip() for side in _RELATION.split(plain)]
  if set(signs) <= {"=", r"\approx"}:
    return _equation(sides, signs, depth)
  return _inequality(sides, signs)


def _equation(sides, signs, depth):
  if not sides[0] and len(sides) > 1:  # "= 3", "≈ 3"
    return _equation(sides[1:], signs[1:], depth) if len(sides) > 2 else _read(sides[1], depth + 1)
  name = re.sub(r"\s|\\text|[{}]", "", sides[0])
  if re.fullmatch(r"\\?[A-Za-z]+(?:_\w+|'+)?(?:\(\w\))?", name) and _is_name(sides[0], name) and len(sides) > 1:
    rest = _equation(sides[1:], signs[1:], depth) if len(sides) > 2 else _read(sides[1], depth + 1)
    return dataclasses.replace(rest, name=name) if rest.kind != "equation" else rest
  if not all(sides):
    raise Unreadable("an equation without a side")
  if len(sides) == 2 and re.fullmatch(
    r"\(\s*[A-Za-z](?:_\w)?(?:\s*,\s*[A-Za-z](?:_\w)?)+\s*\)", sides[0]
  ):  # (x, y) = …
    return _read(sides[1], depth + 1)
  parts = [_read(side, depth + 1) for side in sides]
  if any(part.kind != "number" for part in parts):
    raise Unreadable("an equation of what are no numbers")
  nodes = [part.value for part in parts]
  if r"\approx" in signs and not values.names(nodes[0]):
    return parts[0]
  if all(values.same(nodes[0], node) for node in nodes[1:]):
    return parts[-1]
  if len(nodes) > 2 or not (values.names(nodes[0]) | values.names(nodes[1])):
    raise Unreadable("an equation that does not hold")
  return Answer("equation", ("sub", *nodes))


def _is_name(side, name):
  words = re.fullmatch(r"\\?[A-Za-z]+", name)
  return not words or len(name) == 1 or name.startswith("\\") or len(name) >= 3 or r"\text" in side


def _inequality(sides, signs):
  nodes = [expressions.parse(side) for side in sides]
  variables = [i for i, node in enumerate(nodes) if node[0] == "var"]
  if len(variables) != 1 or any(values.names(node) for i, node in enumerate(nodes) if i != variables[0]):
    node = ("sub", nodes[0], nodes[1])
    if len(nodes) == 2 and values.names(node):
      return Answer(
        "inequality",
        (node if signs[0] in "<≤" else ("neg", node), signs[0] in "≤≥"),
        name=signs[0] if signs[0] == "≠" else "",
      )
    raise Unreadable("an inequality of no single variable")
  low, high, closed = None, None, [False, False]
  at, name = variables[0], nodes[variables[0]][1]
  if signs == ["≠"]:
    point = nodes[1 - at]
    return Answer("region", ((None, point, False, False), (point, None, False, False)), name=name)
  for i, sign in enumerate(signs):
    if sign not in "<>≤≥" or abs(i + (i >= at) - at) != 1:
      raise Unreadable("an inequality of an unknown form")
    upper = (sign in "<≤") == (i >= at)
    bound = nodes[i + 1 if i >= at else i]
    if upper:
      high, closed[1] = _bound(bound), sign in "≤≥"
    else:
      low, closed[0] = _bound(bound), sign in "≤≥"
  return Answer("region", ((low, high, *closed),), name=name)


def _bracketed(plain, words, depth):
  text = plain.strip()
  if len(text) > 3 and text.startswith(r"\{") and text.endswith(r"\}") and text.find(r"\}") == len(text) - 2:
    parts = [part.strip() for part in split_top(text[2:-2])]
    return Answer("several", tuple(_spread(_read(part, depth + 1) for part in parts)), unit="{}")
  if text.startswith("\\langle") and text.endswith("\\rangle"):
    text = f"({text[7:-7]})"
  match = re.fullmatch(r"([(\[{])(.*)([)\]}])", text, re.DOTALL)
  if not match or not _encloses(text):
    return None
  parts = [part.strip() for part in split_top(match[2])]
  brackets = match[1] + match[3]
  if len(parts) == 1:
    if brackets == "[]":
      return Answer("tuple", (_read(parts[0], depth + 1),), unit=brackets)
    inner = _read(parts[0], depth + 1)
    return inner if brackets in ("()", "{}") and inner.kind != "choice" else None
  members = tuple(_read(part, depth + 1) for part in parts)
  if brackets == "{}":
    return Answer("several", tuple(_spread(members)), unit="{}")
  answer = Answer("tuple", members, unit=brackets)
  infinite = any("inf" in str(member.value) for member in members)
  return Answer("region", as_region(answer)) if len(parts) == 2 and (brackets in ("[)", "(]") or infinite) else answer


def _encloses(text: str) -> bool:
  """Whether the first bracket is closed by the last one."""
  depth = 0
  for i, character in enumerate(text):
    depth += (character in _OPEN) - (character in _CLOSE)
    if depth == 0 and character in _CLOSE:
      return i == len(text) - 1
  return False


def _quantity(plain, words, depth):
  """A number, with its unit, or an expression."""
  text = _grouped(words) or words
  number, unit = split_unit(text)
  try:
    node = expressions.parse(number)
  except Unreadable:
    if len(number.strip()) > 2 and _WORDS.search(re.sub(r"\\[A-Za-z]+", "", number)):
      return None
    raise
  if not values.names(node) and not unit and re.fullmatch(r"[A-Za-z]{2,}", number):
    return None
  if re.fullmatch(r"[A-Z]{2,}|[A-Za-z]{4,}", number.strip()) or (
    r"\text" in plain and re.fullmatch("[A-Za-z]+", number)
  ):
    return None
  choices = tuple(values.signs(node))
  if len(choices) > 1:
    return Answer("several", tuple(Answer("number", _fixed(node, sign), unit) for sign in choices))
  return Answer("number", node, unit)


def _fixed(node, sign):
  """The expression with its plus-minus decided."""
  if not isinstance(node, tuple):
    return node
  operation, *parts = node
  if operation in ("pm", "mp"):
    operation = "add" if (sign > 0) == (operation == "pm") else "sub"
  return (operation, *(_fixed(part, sign) for part in parts))


def _words(plain, words, depth):
  text = re.sub(r"[\"'.!?]", "", words).strip().casefold()
  text = re.sub(r"^(?:the|a|an)\s+", "", text)
  if not text or len(text) > 300 or not any(character.isalpha() for character in text) or "\\" in text:
    return None
  return Answer("text", " ".join(text.split()))

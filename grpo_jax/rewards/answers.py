"""The kinds of answers, and what is equal within each.

`read` says what kind a text is; `equal` compares a gold answer with a given one. docs/rewards.md has the table.
"""

import dataclasses
import functools
import re

from grpo_jax.rewards import answer_text, expressions, values
from grpo_jax.rewards.answer_parts import (
  Answer,
  as_region,
  encloses,
  fixed,
  grouped,
  inequality,
  is_name,
  plausible_parts,
  split_top,
  spread,
  united,
)
from grpo_jax.rewards.answer_units import split_unit
from grpo_jax.rewards.expressions import Bounded, Unreadable

_RELATION = re.compile(r"\\(?:le|ge|ne|approx)(?![a-z])|<=|>=|!=|[<>=]")
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
  if match := re.fullmatch(r"(?:positive |\+)?(negative |-)?infinity", words.lower()):
    return Answer("number", expressions.parse(r"-\infty" if match[1] else r"\infty"))
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






def _several(plain, words, depth):
  """Values that stand side by side; a union of sets, and alternatives of inequalities, are one region."""
  if r"\cup" in plain:
    return united([_read(part.strip(), depth + 1) for part in plain.split(r"\cup")])
  if grouped(words) is not None:
    return None
  text = _CONNECTED.sub(" , ", words)
  if len(re.findall(r"[,;]\s", text)) or ";" in text:  # "1,000, 2,000": only a comma with a blank divides
    parts = re.split(r",\s+|;", text) if not re.search(r"[(\[{]", text) else split_top(text)
  else:
    parts = split_top(text)
  parts = [part.strip() for part in parts if part.strip()]
  if len(parts) < 2:
    return None
  if not plausible_parts(words, parts):
    return None
  members = [_read(part, depth + 1) for part in parts]
  if all(member.kind == "region" for member in members):
    return united(members)
  return Answer("several", tuple(spread(members)))












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
  return inequality(sides, signs)


def _equation(sides, signs, depth):
  if not sides[0] and len(sides) > 1:  # "= 3", "≈ 3"
    return _equation(sides[1:], signs[1:], depth) if len(sides) > 2 else _read(sides[1], depth + 1)
  name = re.sub(r"\s|\\text|[{}]", "", sides[0])
  if re.fullmatch(r"\\?[A-Za-z]+(?:_\w+|'+)?(?:\(\w\))?", name) and is_name(sides[0], name) and len(sides) > 1:
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






def _bracketed(plain, words, depth):
  text = plain.strip()
  if len(text) > 3 and text.startswith(r"\{") and text.endswith(r"\}") and text.find(r"\}") == len(text) - 2:
    parts = [part.strip() for part in split_top(text[2:-2])]
    return Answer("several", tuple(spread(_read(part, depth + 1) for part in parts)), unit="{}")
  if text.startswith("\\langle") and text.endswith("\\rangle"):
    text = f"({text[7:-7]})"
  match = re.fullmatch(r"([(\[{])(.*)([)\]}])", text, re.DOTALL)
  if not match or not encloses(text):
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
    return Answer("several", tuple(spread(members)), unit="{}")
  answer = Answer("tuple", members, unit=brackets)
  infinite = any("inf" in str(member.value) for member in members)
  return Answer("region", as_region(answer)) if len(parts) == 2 and (brackets in ("[)", "(]") or infinite) else answer




def _quantity(plain, words, depth):
  """A number, with its unit, or an expression."""
  text = grouped(words) or words
  number, unit = split_unit(text)
  try:
    node = expressions.parse(number)
  except Unreadable:
    if len(number.strip()) > 2 and _WORDS.search(re.sub(r"\\[A-Za-z]+", "", number)):
      return None
    raise
  if not values.names(node) and not unit and re.fullmatch(r"[A-Za-z]{2,}", number):
    return None
  if re.fullmatch(r"[A-Za-z]+(?:\s+[A-Za-z]+)+", number) and re.search(r"[A-Za-z]{3}", number):
    return None
  if re.fullmatch(r"[A-Z]{2,}|[A-Za-z]{4,}", number.strip()) or (
    r"\text" in plain and re.fullmatch("[A-Za-z]+", number)
  ):
    return None
  choices = tuple(values.signs(node))
  if len(choices) > 1:
    return Answer("several", tuple(Answer("number", fixed(node, sign), unit) for sign in choices))
  return Answer("number", node, unit)




def _words(plain, words, depth):
  text = re.sub(r"[\"'.!?]", "", words).strip().casefold()
  text = re.sub(r"^(?:the|a|an)\s+", "", text)
  if not text or len(text) > 300 or not any(character.isalpha() for character in text) or "\\" in text:
    return None
  return Answer("text", " ".join(text.split()))

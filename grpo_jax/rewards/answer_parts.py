"""Parts of the grammar of answers that read no answer within an answer."""

import dataclasses
import re

from grpo_jax.rewards import expressions, values
from grpo_jax.rewards.expressions import Unreadable

OPEN, CLOSE = "([{", ")]}"


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


def split_top(text: str, marks: str = ",;") -> list[str]:
  """The parts of a text between marks that stand in no bracket, thousands separators aside."""
  parts, depth, start = [], 0, 0
  text = text.replace(r"\langle", r"\langl(").replace(r"\rangle", r"\rangl)")
  for i, character in enumerate(text):
    if character in OPEN:
      depth += 1
    elif character in CLOSE:
      depth -= 1
    elif character in marks and depth <= 0:
      parts.append(text[start:i])
      start = i + 1
  parts.append(text[start:])
  return [part.replace(r"\langl(", r"\langle").replace(r"\rangl)", r"\rangle") for part in parts]


def grouped(text: str) -> str | None:
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


def plausible_parts(words, parts) -> bool:
  """Prose with commas is text, unless every part can stand alone."""
  return all(re.search(r"[\d\\=<>]", part) or len(part.split()) <= 3 for part in parts) and len(parts) <= 200


def united(members):
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
    low, high = (finite(part.value) for part in answer.value)
    return ((low, high, answer.unit[0] == "[", answer.unit[1] == "]"),)
  return None


def finite(node):
  """A finite end of an interval, or None for an infinite one."""
  return None if "inf" in str(node) else node


def spread(members):
  """Members, a plus-minus as its two values."""
  for member in members:
    yield from member.value if member.kind == "several" else (member,)


def is_name(side, name):
  words = re.fullmatch(r"\\?[A-Za-z]+", name)
  return not words or len(name) == 1 or name.startswith("\\") or len(name) >= 3 or r"\text" in side


def inequality(sides, signs):
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
      high, closed[1] = finite(bound), sign in "≤≥"
    else:
      low, closed[0] = finite(bound), sign in "≤≥"
  return Answer("region", ((low, high, *closed),), name=name)


def encloses(text: str) -> bool:
  """Whether the first bracket is closed by the last one."""
  depth = 0
  for i, character in enumerate(text):
    depth += (character in OPEN) - (character in CLOSE)
    if depth == 0 and character in CLOSE:
      return i == len(text) - 1
  return False


def fixed(node, sign):
  """The expression with its plus-minus decided."""
  if not isinstance(node, tuple):
    return node
  operation, *parts = node
  if operation in ("pm", "mp"):
    operation = "add" if (sign > 0) == (operation == "pm") else "sub"
  return (operation, *(fixed(part, sign) for part in parts))

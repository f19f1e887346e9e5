"""Symbolic equality of answers by math-verify, which takes seconds to import: only the workers do."""

import functools
import logging
import re
from collections.abc import Mapping

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RuleContext

UNICODE_MINUS = "\N{MINUS SIGN}"
_DELIMITERS = ("$", r"\boxed", r"\(", r"\[")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")  # a word, not a LaTeX command
_NUMBER = re.compile(r"-?[0-9][0-9,]*(\.[0-9]+)?")


def prepare() -> None:
  """Imports math-verify and has it build its tables, which costs seconds once."""
  # It warns that its own timeout is off. That is on purpose: an alarm cannot stop C code, the parent can.
  logging.getLogger("math_verify").setLevel(logging.ERROR)
  math("$1$", Example("", "$1$"), RuleContext(0, False, 1))


def _parse(text: str) -> list:
  from math_verify import parse

  return parse(text, parsing_timeout=None)


def _parse_answer(text: str) -> list:
  """Parses nothing but an answer: math-verify sees LaTeX only between delimiters, prose only outside."""
  text = text.strip()
  readable = _NUMBER.fullmatch(text) or _PROSE.search(text) or any(mark in text for mark in _DELIMITERS)
  return (_parse(text) if readable else []) or _parse(f"${text}$")


@functools.lru_cache(maxsize=1024)  # a group shares its gold
def _parse_gold(answer: str) -> list:
  gold = _parse_answer(answer.replace(UNICODE_MINUS, "-"))
  if not gold:
    raise ValueError(f"math-verify cannot read the answer {answer[:80]!r}; correct it or use the rule exact.")
  return gold


def math(completion: str, example: Example, context: RuleContext, after: str | None = None) -> float:
  r"""1 where the completion's final answer equals the example's answer, symbolically (math-verify).

  What counts is the last <answer>…</answer>, else the text from the last \boxed{…} on, else what math-verify
  picks from the whole text, where LaTeX must stand between delimiters. Equality is mathematical, \boxed{1+1}
  passes for 2: where the question is itself such an expression, use `numeric`.

  With `after`, only the text behind its last occurrence is read, and a completion without it scores 0. Set it
  where a marker such as #### announces the answer: math-verify prefers a number after the word "answer".

  Raises:
    ValueError: the gold answer cannot be parsed.
  """
  from math_verify import verify

  gold = _parse_gold(example.answer)
  text = completion.replace(UNICODE_MINUS, "-")
  if after:
    _, marker, text = text.rpartition(after)
    if not marker:
      return 0.0
  if "<answer>" in text:
    found = _parse_answer(text.rpartition("<answer>")[2].partition("</answer>")[0])
  else:
    # Of several boxes math-verify would make a set, which equals no single answer.
    start = text.rfind(r"\boxed") if text.count(r"\boxed") > 1 else 0
    found = _parse(text[start:])
  return float(verify(gold, found, timeout_seconds=None))


def write(answer: str, options: Mapping) -> str:
  """A completion that gives this answer, behind the option `after`."""
  answer = answer if any(mark in answer for mark in _DELIMITERS) else rf"\boxed{{{answer}}}"
  return (options.get("after") or "") + answer

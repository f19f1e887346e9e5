"""Rows of a data file to examples: which column is what, and what is done to it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from grpo_jax.data.answer_values import answer_text, ungrouped
from grpo_jax.data.example import Example


@dataclasses.dataclass(frozen=True)
class Fields:
  """Names of a row's columns, and how they become an Example. `a.b` is column b within column a."""

  prompt: str = "prompt"  # column of text, or of a list of chat messages
  answer: str = "answer"  # "": none, for preference pairs
  solution: str = ""  # "": the whole answer column where answer_after is set, else no solution
  chosen: str = ""  # column of the preferred completion of a pair, text or messages that end in it; "": none
  rejected: str = ""  # column of the other one
  answer_after: str = (
    ""  # marker; the answer is what follows its last one, less thousands separators; "": all of the column
  )

  def __post_init__(self):
    if bool(self.chosen) != bool(self.rejected):
      have, lack = ("chosen", "rejected") if self.chosen else ("rejected", "chosen")
      value = getattr(self, have)
      raise ValueError(f"fields.{have}={value!r} must come with fields.{lack}; a pair has both.")
    if not (self.answer or self.chosen):
      raise ValueError("fields.answer='' must name a column, or fields.chosen and fields.rejected; add either.")

  def example(self, row: Mapping[str, Any], where: str, source: str = "") -> Example:
    """The example in a row of columns.

    Raises:
      ValueError: a field is missing or wrong; the message begins with `where`.
    """
    prompt = _column(row, self.prompt, where)
    text = answer_text(_column(row, self.answer, where), self.answer, where) if self.answer else ""
    solution = _text(_column(row, self.solution, where)) if self.solution else text if self.answer_after else ""
    pair = [_spoken(_column(row, name, where)) if name else "" for name in (self.chosen, self.rejected)]
    return Example(self._prompt(prompt, where), self._answer(text, where), solution, source, *pair)

  def _prompt(self, value: Any, where: str) -> str | tuple[dict, ...]:
    if isinstance(value, (list, tuple)):
      for message in value:
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
          rule = "must have role and content"
          raise ValueError(f"{where}: field {self.prompt!r} has {message!r}, {rule}; correct it.")
      return tuple(value)
    text = _text(value)
    if not text:
      raise ValueError(f"{where}: field {self.prompt!r} is empty, must hold the prompt; drop the line.")
    return text

  def _answer(self, text: str, where: str) -> str:
    if not (self.answer_after and self.answer):
      return text
    _, marker, answer = text.rpartition(self.answer_after)
    answer = ungrouped(answer.strip())
    if not marker or not answer:
      rule = f"must hold an answer after {self.answer_after!r}; correct it or answer_after"
      raise ValueError(f"{where}: field {self.answer!r} ends in {text[-40:]!r}, {rule}.")
    return answer


def _column(row: Mapping[str, Any], name: str, where: str) -> Any:
  value = row.get(name)
  if value is None and "." in name:
    outer, _, inner = name.partition(".")
    return _column(row[outer], inner, where) if isinstance(row.get(outer), Mapping) else _column(row, outer, where)
  if value is None:
    rule = f"must be one of {sorted(row)}; correct `fields` or the line"
    raise ValueError(f"{where}: field {name!r} is missing, {rule}.")
  return value


def _text(value: Any) -> str:
  """TFDS gives bytes; numbers are written as Python writes them."""
  return value.decode() if isinstance(value, bytes) else str(value)


def _spoken(value: Any) -> str:
  """A completion: text, or the last of chat messages."""
  ends_in_message = isinstance(value, list | tuple) and value and isinstance(value[-1], Mapping)
  return _text(value[-1].get("content", "")) if ends_in_message else _text(value)

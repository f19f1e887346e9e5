"""Rows of a data file to examples: which column is what, and what is done to it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from grpo_jax.data.example import Example


@dataclasses.dataclass(frozen=True)
class Fields:
  """Names of a row's columns, and how they become an Example."""

  prompt: str = "prompt"  # column of text, or of a list of chat messages
  answer: str = "answer"
  solution: str = ""  # "": the whole answer column where answer_after is set, else no solution
  chosen: str = ""  # column of the preferred completion of a pair; "": none
  rejected: str = ""  # column of the other one
  answer_after: str = (
    ""  # marker; the answer is what follows its last one, less commas; "": all of the column
  )
  prompt_template: str = ""  # text around a plain-text prompt, with {prompt} in it; "": none

  def __post_init__(self):
    if self.prompt_template and "{prompt}" not in self.prompt_template:
      raise ValueError(f"prompt_template={self.prompt_template!r} must contain {{prompt}}; add it.")

  def parse(self, line: str | bytes, where: str, source: str = "") -> Example:
    """The example in a line of JSON.

    Raises:
      ValueError: the line is no JSON object, or a field is missing or wrong; it begins with `where`.
    """
    try:
      row = dict(json.loads(line))
    except (ValueError, TypeError) as error:
      raise ValueError(f"{where}: the line must be one JSON object, is not ({error}); correct it.") from None
    return self.example(row, where, source)

  def example(self, row: Mapping[str, Any], where: str, source: str = "") -> Example:
    """The example in a row of columns; errors as `parse`."""
    prompt = _column(row, self.prompt, where)
    text = _text(_column(row, self.answer, where))
    solution = _text(_column(row, self.solution, where)) if self.solution else text if self.answer_after else ""
    pair = [_text(_column(row, name, where)) if name else "" for name in (self.chosen, self.rejected)]
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
    return self.prompt_template.replace("{prompt}", text) if self.prompt_template else text

  def _answer(self, text: str, where: str) -> str:
    if not self.answer_after:
      return text
    _, marker, answer = text.rpartition(self.answer_after)
    answer = answer.strip().replace(",", "")
    if not marker or not answer:
      rule = f"must hold an answer after {self.answer_after!r}; correct it or answer_after"
      raise ValueError(f"{where}: field {self.answer!r} ends in {text[-40:]!r}, {rule}.")
    return answer


def _column(row: Mapping[str, Any], name: str, where: str) -> Any:
  if row.get(name) is None:
    rule = f"must be one of {sorted(row)}; correct `fields` or the line"
    raise ValueError(f"{where}: field {name!r} is missing, {rule}.")
  return row[name]


def _text(value: Any) -> str:
  """TFDS gives bytes; numbers are written as Python writes them."""
  return value.decode() if isinstance(value, bytes) else str(value)

"""Rows of a data file to examples: which column is what, and what is done to it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from grpo_jax.data.answer_values import answer_text, ungrouped
from grpo_jax.data.example import Example
from grpo_jax.data.messages import conversation, plain


@dataclasses.dataclass(frozen=True)
class Fields:
  """Names of a row's columns, and how they become an Example. `a.b` is column b within column a."""

  prompt: str = "prompt"  # column of text, or of a list of chat messages
  answer: str = "answer"  # "": none, for preference pairs
  solution: str = ""  # "": the whole answer column where answer_after is set, else an assistant's last turn, if any
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
    prompt, said = self._prompt(_column(row, self.prompt, where), where)
    gold = _column(row, self.answer, where) if self.answer else ""
    gold = gold if isinstance(gold, str | bytes) else answer_text(gold, self.answer, where)
    text = plain(gold, f"{where}: field {self.answer!r}") if self.answer else ""
    solution = self._completion(row, self.solution, where) if self.solution else text if self.answer_after else said
    pair = [self._completion(row, name, where) if name else "" for name in (self.chosen, self.rejected)]
    if bool(pair[0].strip()) != bool(pair[1].strip()):
      raise ValueError(f"{where}: one of the fields {self.chosen!r} and {self.rejected!r} is blank; drop the line.")
    return Example(prompt, self._answer(text, where), solution, source, *pair)

  def _prompt(self, value: Any, where: str) -> tuple[str | tuple[dict, ...], str]:
    """The prompt, and the assistant's turn that its messages end in: a solution, no part of the prompt."""
    what = f"{where}: field {self.prompt!r}"
    if not isinstance(value, (list, tuple)):
      return plain(value, what), ""
    messages = conversation(value, what)
    if messages[-1]["role"] != "assistant":
      return messages, ""
    if self.solution or self.answer_after or self.chosen:
      raise ValueError(f"{what} ends in the assistant's answer, must end in the question; drop that message.")
    return messages[:-1], messages[-1]["content"]

  def _completion(self, row: Mapping[str, Any], name: str, where: str) -> str:
    """A completion: text, or the last of chat messages. It may be empty where nothing asks for it."""
    value = _column(row, name, where)
    if isinstance(value, list | tuple) and value and isinstance(value[-1], Mapping):
      if value[-1].get("role", "assistant") not in ("assistant", b"assistant"):
        raise ValueError(f"{where}: field {name!r} ends in {value[-1]!r:.80}, must end in the assistant's message.")
      value = value[-1].get("content")
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
      value = str(value)
    return plain(value, f"{where}: field {name!r}") if value not in ("", b"") else ""

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

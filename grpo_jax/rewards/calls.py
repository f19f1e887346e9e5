"""What travels to a rule and back: a call, with what is known of its completion, and its outcome."""

import dataclasses
from collections.abc import Mapping

from grpo_jax.data.example import Example


class RewardError(RuntimeError):
  """The rewards cannot be trusted: too many items failed, a rule misjudges a known answer, or it cannot start."""


@dataclasses.dataclass(frozen=True)
class RuleContext:
  """What a rule may know of a completion beside its text; lengths are in completion tokens."""

  length: int
  truncated: bool
  max_length: int


@dataclasses.dataclass(frozen=True)
class Call:
  """One completion to be scored by the rule of this name (or dotted path)."""

  rule: str
  completion: str
  example: Example
  context: RuleContext
  options: Mapping = dataclasses.field(default_factory=dict)


class Noted(float):
  """A score with a note, which becomes its outcome's message: why a completion could not be compared, say."""

  def __new__(cls, value: float, note: str = ""):
    noted = super().__new__(cls, value)
    noted.note = note
    return noted


@dataclasses.dataclass(frozen=True)
class Outcome:
  """A score, or why there is none: `failure` is "", "error" or "deadline", and `message` says more."""

  score: float = 0.0
  failure: str = ""
  message: str = ""

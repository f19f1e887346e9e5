"""Rules that forms.py has for tokens too, so that a compiled program can judge by them; the two always agree."""

import re

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.extract import cut

_INTEGER = re.compile("(-?)([0-9]+)")
HOWS = ("equals", "contains", "starts")
LARGEST = 2**31 - 1  # of an answer, either way


def integer_of(answer: str) -> int:
  """The whole number that an answer is.

  Raises:
    ValueError: it is none, or does not fit 32 bits.
  """
  if not re.fullmatch("-?[0-9]{1,10}", answer.strip()) or abs(int(answer)) > LARGEST:
    raise ValueError(f"the answer {answer[:80]!r} must be a whole number of 32 bits; use the rule numeric")
  return int(answer)


def integer_answer(completion: str, example: Example, context: RuleContext, after: str = "") -> float:
  """1 where the first whole number of the completion, or of what follows its last `after`, is the answer.

  A minus right before the first digit is its sign. Unlike `numeric` it knows no points, commas or exponents.

  Raises:
    ValueError: the answer is not a whole number of 32 bits.
  """
  gold, text = integer_of(example.answer), cut(completion, after)
  found = _INTEGER.search(text) if text is not None else None
  if not found:
    return 0.0
  digits = found[2].lstrip("0") or "0"  # compared as text: there may be thousands
  return float(digits == str(abs(gold)) and (gold == 0 or (found[1] == "-") == (gold < 0)))


def token_match(completion: str, example: Example, context: RuleContext, how: str = "equals") -> float:
  """1 where the completion is the answer, holds it (how="contains") or starts with it, character for character.

  Raises:
    ValueError: `how` is none of these.
  """
  if how not in HOWS:
    raise ValueError(f"how={how!r} must be one of {HOWS}.")
  if how == "starts":
    return float(completion.startswith(example.answer))
  return float(completion == example.answer if how == "equals" else example.answer in completion)

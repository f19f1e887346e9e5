"""The rule `math`: a completion's final answer and the gold answer, compared by what kind of thing they are."""

import functools
from collections.abc import Mapping

from grpo_jax.data.example import Example
from grpo_jax.rewards.answers import Answer, read, same
from grpo_jax.rewards.calls import Bounded, RuleContext
from grpo_jax.rewards.final_answer import final_answer


@functools.lru_cache(maxsize=1024)  # a group shares its gold
def _gold(answer: str) -> Answer:
  try:
    gold = read(answer)
  except Bounded as error:
    raise ValueError(f"the answer {answer[:80]!r} is larger than the rule math reads ({error}); use exact.") from error
  if gold.kind == "empty" or gold.value == "":
    raise ValueError(f"the answer {answer[:80]!r} says nothing; correct it or drop the example.")
  return gold


def refuses(answer: str, options: Mapping) -> str:
  """Why the rule cannot judge by this gold answer; "" where it can."""
  try:
    gold = _gold(answer)
    return "" if same(gold, gold) else "it is not equal to itself as the rule reads it"
  except ValueError as error:
    return str(error)


def math(completion: str, example: Example, context: RuleContext, after: str | None = None) -> float:
  r"""1 where the completion's final answer is the example's answer; see docs/rewards.md for what each kind accepts.

  The final answer is what <answer>…</answer> holds, else \boxed{…}, else what follows ####, else what
  follows "the answer is", else the last statement. Answers that differ are a list, which is no single answer.

  With `after`, only the text behind its last occurrence is read, and a completion without it scores 0.

  Raises:
    ValueError: the gold answer says nothing.
    Bounded: the completion asks for more than is computed.
  """
  gold = _gold(example.answer)
  text = completion
  if after:
    _, marker, text = text.rpartition(after)
    if not marker:
      return 0.0
  found = final_answer(text)
  return float(found is not None and same(gold, read(found)))


def write(answer: str, options: Mapping) -> str:
  """A completion that gives this answer, behind the option `after`."""
  return (options.get("after") or "") + (answer if "\\boxed" in answer else rf"\boxed{{{answer}}}")

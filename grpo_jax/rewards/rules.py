"""Rules, plain functions rule(completion, example, context, **options) -> float, and a table of their names.

A rule of your own needs no entry here: name it by its dotted path, "package.module:function". It then runs in
a worker process. Set `function.judges_answer = True` to have it self-tested on the gold answers.
"""

import dataclasses
import importlib
import os
import traceback
from collections.abc import Callable, Mapping

from grpo_jax.data.example import Example
from grpo_jax.rewards import code_answers, countdown, gym_answers, math_answers, text_rules, token_answers
from grpo_jax.rewards.calls import Bounded, Call, Outcome, RuleContext
from grpo_jax.rewards.extract import cut
from grpo_jax.rewards.plain_numbers import gold_number, parse_number

MOST = 1e9  # a score's magnitude
_TRACE_CHARACTERS = 8_000


def exact(
  completion: str, example: Example, context: RuleContext, after: str | None = None, until: str | None = None,
  before: str | None = None,
) -> float:
  """1 where the completion is the answer, surrounding blanks aside; see `numeric` for what is looked at.

  Raises:
    ValueError: the answer is blank.
  """
  if not example.answer.strip():
    raise ValueError(f"the answer {example.answer!r} is blank, which would pay for an empty completion; correct it.")
  text = cut(completion, after, until, before)
  return float(text is not None and text.strip() == example.answer.strip())


def numeric(
  completion: str,
  example: Example,
  context: RuleContext,
  after: str | None = None,
  until: str | None = None,
  pick: str = "last",
  before: str | None = None,
) -> float:
  """1 where the completion's last (or first) number equals the answer's number exactly; see `parse_number`.

  With `after`, only the text behind its last occurrence counts, and a completion without it scores 0; with
  `until`, only the text before its next occurrence; with `before`, nothing from its first occurrence on.

  Raises:
    ValueError: the answer is not one plain number; see `gold_number`.
  """
  gold = gold_number(example.answer)
  text = cut(completion, after, until, before)
  return float(text is not None and parse_number(text, pick) == gold)


def format(
  completion: str,
  example: Example,
  context: RuleContext,
  open_tag: str = "<think>",
  close_tag: str = "</think>",
  opened: bool = False,
) -> float:
  """1 where the completion is exactly one thinking block, not blank, and then a non-empty answer (the format reward of
  DeepSeek-R1, arXiv:2501.12948, section 2.2.2).

  `opened` is for prompts that already end with the opening tag, which the completion then must not repeat.
  """
  return float(text_rules.is_one_block(completion, open_tag, close_tag, opened))


def length(completion: str, example: Example, context: RuleContext, target: int) -> float:
  """1 up to `target` tokens, then linearly down to 0 at the context's max_length:
  clip((max_length - length) / (max_length - target), 0, 1).

  Raises:
    ValueError: `target` is not below max_length.
  """
  if target >= context.max_length:
    raise ValueError(f"target={target} must be below max_length={context.max_length} tokens.")
  return min(1.0, max(0.0, (context.max_length - context.length) / (context.max_length - target)))


def soft_overlong(
  completion: str, example: Example, context: RuleContext, cache: int, max_length: int | None = None
) -> float:
  """DAPO's soft overlong punishment (arXiv:2503.14476, equation 13): 0 up to max_length - cache tokens, then
  (max_length - cache - length) / cache, down to -1 at max_length and beyond.

  Raises:
    ValueError: `cache` is not in (0, max_length].
  """
  max_length = context.max_length if max_length is None else max_length
  if not 0 < cache <= max_length:
    raise ValueError(f"cache={cache} must lie in (0, max_length={max_length}] tokens.")
  return max(-1.0, min(0.0, (max_length - cache - context.length) / cache))


def write_nothing(answer: str, options: Mapping) -> None:
  """Of an answer that tells right from wrong without holding a right one."""


def write_plain(answer: str, options: Mapping) -> str:
  """A completion that gives this answer, as the options `after` and `until` want it."""
  return (options.get("after") or "") + answer + (options.get("until") or "")


@dataclasses.dataclass(frozen=True)
class Rule:
  """A rule's function and how to run it; `write` and `judges_answer` serve the self-test."""

  score: Callable[..., float]
  judges_answer: bool = False  # the gold answer must score 1 and any other 0
  refuses: bool = False  # raises for answers that it cannot judge; the self-test then tries near misses too
  isolated: bool = False  # run in a worker process, under the deadline
  write: Callable[[str, Mapping], str | None] = write_plain  # (answer, options) -> a completion giving that answer
  sample: str = ""  # an answer in the rule's own form, where that is more than the bare text of a right one
  prepare: Callable[[], None] = lambda: None  # once in each worker, before the first deadline starts


RULES = {
  "exact": Rule(exact, judges_answer=True, refuses=True),
  "numeric": Rule(numeric, judges_answer=True, refuses=True),
  "math": Rule(
    math_answers.math,
    judges_answer=True,
    refuses=True,
    isolated=True,
    write=math_answers.write,
    prepare=math_answers.prepare,
  ),
  "string": Rule(text_rules.string, judges_answer=True, refuses=True),
  "code": Rule(
    code_answers.code,
    judges_answer=True,
    isolated=True,
    write=write_nothing,
    sample="assert True",
    prepare=code_answers.prepare,
  ),
  "reasoning_gym": Rule(
    gym_answers.reasoning_gym,
    judges_answer=True,
    isolated=True,
    write=gym_answers.write,
    sample='{"task": "gcd", "seed": 0, "size": 1, "index": 0}',
    prepare=gym_answers.prepare,
  ),
  "countdown": Rule(
    countdown.countdown, judges_answer=True, write=countdown.write, sample='{"numbers": [1], "target": 1}'
  ),
  "format": Rule(format),
  "thinking": Rule(text_rules.thinking),
  "repetition": Rule(text_rules.repetition),
  "language": Rule(text_rules.language),
  "length": Rule(length),
  "soft_overlong": Rule(soft_overlong),
  "integer_answer": Rule(token_answers.integer_answer, judges_answer=True),
  "token_match": Rule(token_answers.token_match, judges_answer=True),
}


def find_rule(name: str) -> Rule:
  """The rule of a name in RULES, or the function at a dotted path "package.module:function".

  Raises:
    ValueError: there is no such rule, or its module cannot be imported.
  """
  if name in RULES:
    return RULES[name]
  module, colon, function = str(name).partition(":")
  if not colon:
    raise ValueError(f"is none of {', '.join(RULES)}; use one of these or a path package.module:function")
  try:
    score = getattr(importlib.import_module(module), function)
  except Exception as error:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if "importlib" in last.filename or last.filename == __file__ else f", {last.filename} line {last.lineno}"
    raise ValueError(f"cannot be imported ({type(error).__name__}: {error}{where}); fix it") from error
  if not callable(score):
    raise ValueError("is no function; name one")
  return Rule(score, judges_answer=getattr(score, "judges_answer", False), isolated=True)


def evaluate(call: Call) -> Outcome:
  """Runs a rule here and now. What it throws, or a score that is not finite or beyond ±MOST, becomes an error."""
  try:
    score = float(find_rule(call.rule).score(call.completion, call.example, call.context, **call.options))
    if not abs(score) <= MOST:  # nor NaN
      raise ValueError(f"the rule returned {score}, and scores lie within ±{MOST:g}")
    return Outcome(score)
  except Bounded as bound:
    return Outcome(failure="bounded", message=str(bound)[:500])
  except Exception as error:
    return _failed(call, error)


def _failed(call: Call, error: Exception) -> Outcome:
  """The outcome of an exception: with file, line and traceback where the rule is the user's own."""
  message = f"{type(error).__name__}: {error}"[:500]
  if call.rule in RULES:
    # Memory and recursion are bounds that a long or deep completion meets; a data set's answer meets them at start.
    return Outcome(failure="bounded" if isinstance(error, MemoryError | RecursionError) else "error", message=message)
  frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is evaluate's own
  if not frames:
    return Outcome(failure="error", message=message)
  top = frames[0].filename
  last = [frame for frame in frames if os.path.dirname(frame.filename) == os.path.dirname(top)][-1]
  where = f" ({last.filename} line {last.lineno}, in {last.name})"
  lines = traceback.format_list(frames) + traceback.format_exception_only(error)
  return Outcome(failure="error", message=message + where, trace="".join(lines)[-_TRACE_CHARACTERS:])

"""Programs judged by unit tests in a sandbox; docs/rewards.md says what it guarantees and what it does not."""

import functools
import json
import time

from grpo_jax.data.example import Example
from grpo_jax.rewards.asserted import find_tests, unsupported, wanted_names
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.extract import cut
from grpo_jax.rewards.programs import find_program, given_code, parse
from grpo_jax.rewards.sandbox import Limits, check_isolation, run_program, run_tests

_MEMORY_MIB = 512


def prepare() -> None:
  """Refuses to start where programs cannot be confined."""
  check_isolation(Limits(1.0, _MEMORY_MIB))


@functools.lru_cache(maxsize=1024)  # a group shares its tests
def _parse(answer: str) -> tuple[tuple[tuple[str, str], ...], int, frozenset[str]]:
  """(input, output) pairs of a JSON list, or none; the number of tests; the names that a text of tests needs."""
  cases, count, wanted, why = (), 0, frozenset(), ""
  try:
    cases = tuple((str(case["input"]), str(case["output"])) for case in json.loads(answer))
    count = len(cases)
  except (ValueError, TypeError, KeyError, RecursionError):
    if (tree := parse(answer)) is not None:
      count, why = len(find_tests(tree)), unsupported(tree)
      wanted = frozenset(wanted_names(answer))
  if why:
    raise ValueError(f"the answer {answer[:80]!r} holds tests that cannot run here: {why}.")
  if not count:
    raise ValueError(
      f"the answer {answer[:80]!r} holds no tests; give asserts, or a JSON list of objects with input and output."
    )
  return cases, count, wanted


def _prompt_text(example: Example) -> str:
  if isinstance(example.prompt, str):
    return example.prompt
  return "\n\n".join(str(turn.get("content", "")) for turn in example.prompt if turn.get("role") != "assistant")


def _lines(text: str) -> list[str]:
  return [line.rstrip() for line in text.rstrip().splitlines()]


def code(
  completion: str,
  example: Example,
  context: RuleContext,
  after: str | None = None,
  partial: bool = False,
  seconds: float = 4.0,
  memory_mib: int = _MEMORY_MIB,
) -> float:
  """1 where the completion's program passes all tests of the example's answer; with `partial`, the share it passes.

  The program is the last ``` or ~~~ fence that defines what the tests need (programs.py), or else all text, behind
  the last `after`. The answer is Python text of tests (asserted.py: asserts, calls of own functions that assert,
  unittest or pytest tests), or a JSON list of {"input", "output"} for programs that read standard input; outputs are
  compared without blanks at the ends of lines and of the text. A test that asserts nothing when it runs has failed.
  A function that the prompt defines in full, beside one that it asks for, is the prompt's.

  Args:
    seconds: for all tests together, on the wall; keep it below rewards.deadline_seconds, so that a slow program is
      wrong and no failure of the rule.
    memory_mib: address space of the program.

  Raises:
    ValueError: the answer holds no tests, or an option cannot work.
  """
  if not seconds > 0 or memory_mib < 64:
    raise ValueError(f"seconds={seconds} must be positive and memory_mib={memory_mib} at least 64; raise them.")
  cases, count, wanted = _parse(example.answer)
  text = cut(completion, after)
  source = find_program(text or "", None if cases else wanted)
  if not source:
    return 0.0
  if cases:
    passed = _passed(source, cases, Limits(seconds, memory_mib), partial)
  else:
    for_program, for_tests = given_code(_prompt_text(example), wanted)
    passed = run_tests([for_program, source], for_tests, example.answer, Limits(seconds, memory_mib))
  return passed / count if partial else float(passed == count)


def _passed(source: str, cases: tuple[tuple[str, str], ...], limits: Limits, partial: bool) -> int:
  """Cases whose output is right, run one after the other; without `partial` the first wrong one ends it."""
  passed, due = 0, time.monotonic() + limits.seconds
  for given, wanted in cases:
    left = due - time.monotonic()
    output = run_program(source, given, Limits(left, limits.memory_mib)) if left > 0 else None
    right = output is not None and _lines(output) == _lines(wanted)
    passed += right
    if left <= 0 or not (right or partial):
      break
  return passed

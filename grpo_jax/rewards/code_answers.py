"""Programs judged by unit tests in a sandbox; docs/rewards.md says what it guarantees and what it does not."""

import ast
import functools
import json
import time
import warnings

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.extract import cut, in_fence
from grpo_jax.rewards.sandbox import Limits, check_isolation, run_program, run_tests
from grpo_jax.rewards.sandboxed import find_tests

_MEMORY_MIB = 512


def prepare() -> None:
  """Refuses to start where programs cannot be confined."""
  check_isolation(Limits(1.0, _MEMORY_MIB))


@functools.lru_cache(maxsize=1024)  # a group shares its tests
def _parse(answer: str) -> tuple[tuple[tuple[str, str], ...], int]:
  """(input, output) pairs of a JSON list, or the number of tests in a text of asserts."""
  try:
    cases = tuple((str(case["input"]), str(case["output"])) for case in json.loads(answer))
    count = len(cases)
  except (ValueError, TypeError, KeyError, RecursionError):
    try:
      cases, count = (), sum(find_tests(ast.parse(answer).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
      count = 0
  if not count:
    raise ValueError(
      f"the answer {answer[:80]!r} holds no tests; give asserts, or a JSON list of objects with input and output."
    )
  return cases, count


def _parses(source: str) -> bool:
  """Whether it is Python at all, which spares most wrong completions a process."""
  try:
    with warnings.catch_warnings(action="ignore"):
      ast.parse(source)
    return True
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return False


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

  The program is the last ``` fence, or else all text, behind the last `after`. The answer is Python text whose
  top-level asserts (or calls of its own functions that assert) are the tests, or a JSON list of {"input", "output"}
  for programs that read standard input; outputs are compared without blanks at the ends of lines and of the text.

  Args:
    seconds: for all tests together, on the wall; keep it below rewards.deadline_seconds, so that a slow program is
      wrong and no failure of the rule.
    memory_mib: address space of the program.

  Raises:
    ValueError: the answer holds no tests, or an option cannot work.
  """
  if not seconds > 0 or memory_mib < 64:
    raise ValueError(f"seconds={seconds} must be positive and memory_mib={memory_mib} at least 64; raise them.")
  cases, count = _parse(example.answer)
  text = cut(completion, after)
  source = in_fence(text or "")
  if not source.strip() or not _parses(source):
    return 0.0
  if cases:
    passed = _passed(source, cases, Limits(seconds, memory_mib), partial)
  else:
    passed = run_tests(source, example.answer, Limits(seconds, memory_mib))
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

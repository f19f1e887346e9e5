"""The rule `math`: whether a completion's final answer is the gold one, by the grammar of answers."""

import functools
import signal
import threading
from collections.abc import Mapping

from grpo_jax.data.example import Example
from grpo_jax.rewards import answers, calls
from grpo_jax.rewards.answer_parts import Answer
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.equal_answers import equal
from grpo_jax.rewards.expressions import Bounded, Unreadable
from grpo_jax.rewards.final_answer import NoAnswer, stated

SECONDS = 1.0  # the inner clock; the bounds keep nearly every text far below it


def prepare() -> None:
  """Imports what values need, once."""
  math("$1$", Example("", r"\sqrt{2}"), RuleContext(0, False, 1))


@functools.lru_cache(maxsize=1024)  # a group shares its gold
def read_gold(answer: str) -> Answer:
  """A gold answer, parsed.

  Raises:
    ValueError: the rule cannot judge it.
  """
  try:
    gold = answers.read(answer)
    if not equal(gold, gold):
      raise Unreadable("it does not equal itself")
    return gold
  except (Unreadable, Bounded) as error:
    raise ValueError(
      f"the rule math cannot read the answer {answer[:80]!r} ({error}); correct it or use the rule exact."
    ) from None


class _Clock:
  """Raises Bounded after SECONDS in the main thread of a process; elsewhere the worker's deadline is the clock."""

  def __enter__(self):
    self._armed = threading.current_thread() is threading.main_thread()
    if self._armed:
      self._before = signal.signal(signal.SIGALRM, self._ring)
      signal.setitimer(signal.ITIMER_REAL, SECONDS)

  def __exit__(self, *exception):
    if self._armed:
      signal.setitimer(signal.ITIMER_REAL, 0)
      signal.signal(signal.SIGALRM, self._before)

  @staticmethod
  def _ring(number, frame):
    raise Bounded(f"more than {SECONDS} s")


def math(completion: str, example: Example, context: RuleContext, after: str | None = None) -> float:
  r"""1 where the completion's final answer equals the example's answer; docs/rewards.md says what is equal.

  What counts is the strongest statement: <answer>…</answer>, else \boxed{…}, else ####, else "the answer is", else
  the last sentence. Several different ones, hedges and denials are wrong. Equality is mathematical: \boxed{1+1}
  passes for 2; where the question is itself such an expression, use `numeric`.

  With `after`, only the text behind its last occurrence is read, and a completion without it scores 0.

  Raises:
    ValueError: the gold answer cannot be judged.
    Bounded: the completion asks for more than is read or computed.
  """
  score, note = judge(completion, example, context, after)
  if note == "bounded":
    raise calls.Bounded("the answer is longer, deeper or larger than the rule reads")
  return score


def judge(completion: str, example: Example, context: RuleContext, after: str | None = None) -> tuple[float, str]:
  """The score, and why a completion was not compared: "" (it was), "unstated", "unreadable" or "bounded"."""
  gold = read_gold(example.answer)
  if after:
    _, marker, completion = completion.rpartition(after)
    if not marker:
      return 0.0, "unstated"
    completion = completion.strip()
    if "\n" in completion and not any(mark in completion for mark in ("<answer>", r"\boxed", "####")):
      completion = completion.partition("\n")[0]
  try:
    with _Clock():
      return float(_agree(gold, stated(completion))), ""
  except NoAnswer:
    return 0.0, "unstated"
  except Unreadable:
    return 0.0, "unreadable"
  except (Bounded, RecursionError, MemoryError, OverflowError):
    return 0.0, "bounded"
  except Exception:  # the policy's text must never count as a failure of the rule: the gold answer was read
    return 0.0, "unreadable"


def _agree(gold: Answer, statements: list[str]) -> bool:
  """Whether every statement is the gold answer, or, for a gold answer of several values, all of them together."""
  if len(set(statements)) > 1 and gold.kind == "several":
    parts = [answers.read(statement) for statement in dict.fromkeys(statements)]
    if not any(part.kind == "several" for part in parts):
      return equal(gold, Answer("several", tuple(parts)))
  return all(equal(gold, answers.read(statement)) for statement in dict.fromkeys(statements))


def write(answer: str, options: Mapping) -> str:
  """A completion that gives this answer, behind the option `after`."""
  marked = any(mark in answer for mark in (r"\boxed", r"\(", r"\[")) or answer.strip().startswith("$$")
  return (options.get("after") or "") + (answer if marked else rf"\boxed{{{answer}}}")

"""Answers to reasoning-gym's tasks, judged by the task's own scorer; gym_tasks.py says which can be trusted."""

import functools
import json
from collections.abc import Mapping

from grpo_jax.data.example import Example
from grpo_jax.data.gym import make_task
from grpo_jax.rewards.calls import Bounded, RuleContext
from grpo_jax.rewards.extract import cut, in_tags
from grpo_jax.rewards.gym_tasks import OFFERED, RAISING, REFUSED

_FULL = 1.0 - 1e-9


def prepare() -> None:
  """Imports reasoning-gym, which takes seconds once."""
  import reasoning_gym  # noqa: F401


@functools.lru_cache(maxsize=64)
def _dataset(task: str, config: str, seed: int, size: int):
  return make_task(task, json.loads(config), seed, size)


@functools.lru_cache(maxsize=1024)  # a group shares its entry
def _entry(answer: str) -> tuple[str, object, dict]:
  """The task, its data set and the entry that an example's answer names."""
  try:
    spec = json.loads(answer)
    config, index = json.dumps(spec.get("config", {}), sort_keys=True), int(spec["index"])
    source = (str(spec["task"]), config, int(spec["seed"]), int(spec["size"]))
  except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
    raise ValueError(
      f"the answer {answer[:80]!r} names no reasoning-gym entry; give JSON such as"
      ' {"task": "gcd", "config": {}, "seed": 0, "size": 100, "index": 5}.'
    ) from error
  task, *_ = source
  if task not in OFFERED:
    why = REFUSED.get(task, "there is no such task")
    raise ValueError(f"reasoning-gym's task {task[:80]!r} is not offered: {why}; choose another.")
  dataset = _dataset(*source)
  return task, dataset, dataset[index]


def reasoning_gym(
  completion: str,
  example: Example,
  context: RuleContext,
  after: str | None = None,
  until: str | None = None,
  last_line: bool = False,
) -> float:
  """1 where reasoning-gym's own scorer gives the completion's answer full marks, else 0.

  The example's answer names the entry, which is made anew from its seed: {"task", "config", "seed", "size", "index"}.
  The completion's answer stands behind the last `after` (before the next `until`), or in the last <answer> tags, or
  is all text; with `last_line`, of that only the last line. Part marks count as 0, since many scorers give them to any
  attempt, and some to nonsense.

  Raises:
    ValueError: the answer names no entry, or a task whose scorer is known to be faulty.
    Bounded: the scorer raises on this text.
  """
  task, dataset, entry = _entry(example.answer)
  text = cut(completion, after, until)
  text = "" if text is None else in_tags(text).strip()
  if last_line:
    text = text.rpartition("\n")[2]
  if not text:
    return 0.0
  try:
    score = float(dataset.score_answer(text, entry))
  except Exception as error:  # the entry is sound, or the start would have said so: it is the text
    if task in RAISING:
      return 0.0
    raise Bounded(f"the scorer of {task} cannot read it ({type(error).__name__}: {error})") from error
  return float(score >= _FULL)


def write(answer: str, options: Mapping) -> str:
  """A completion with the entry's own answer."""
  _, _, entry = _entry(answer)
  after, until = options.get("after") or "", options.get("until") or ""
  return after + entry["answer"] + until if after else f"<answer>{entry['answer']}</answer>{until}"

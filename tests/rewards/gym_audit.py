"""Audits reasoning-gym's scorers: gold, nonsense, constants and other entries' answers, by each task's own scorer.

  python tests/rewards/gym_audit.py [TASK …]     one line of JSON for each task
"""

import collections
import json
import sys

import reasoning_gym  # noqa: F401 - before the first deadline starts

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import Call, RuleContext
from grpo_jax.rewards.gym_answers import _dataset
from grpo_jax.rewards.workers import WorkerPool

NONSENSE = (
  "junk", "I do not know.", "\x00", "\ud800", "9" * 5000, "[[[[", "(((", "{}", "[]", "\\boxed{", "<answer>", "- - -",
  "#", "?", "nan", "inf", "1e400", "None", "null", "Error", "x", "a b c", "[nan]", "NaN + NaNi", "\t.",
)  # fmt: skip
CONSTANTS = (
  "0", "1", "-1", "2", "10", "123457", "0.5", "1/2", "1/0", "True", "False", "yes", "No", "A", "heads", "[0]",
  "1 2 3", "0 0",
)  # fmt: skip
RULE = "gym_audit:raw_score"


def entry_of(answer):
  spec = json.loads(answer)
  dataset = _dataset(spec["task"], "{}", spec["seed"], spec["size"])
  return dataset, dataset[spec["index"]]


def raw_score(completion, example, context):
  """The task's own score of a whole text; "gold" stands for the entry's answer, "other N" for another's.

  "hedge" is every other answer and then the right one."""
  dataset, entry = entry_of(example.answer)
  kind, _, text = completion.partition(":")
  if kind == "gold":
    return dataset.score_answer(entry["answer"], entry)
  if kind == "other":
    text = dataset[int(text)]["answer"]
  if kind == "hedge":
    others = [dataset[i]["answer"] for i in range(len(dataset))]
    text = " ".join([*(other for other in others if other != entry["answer"]), entry["answer"]])
  if kind == "question":
    text = entry["question"]
  if text.strip().casefold() == entry["answer"].strip().casefold():
    return -1.0  # no wrong answer at all
  return dataset.score_answer(text, entry)


def calls_of(task, entries, seed, index):
  """Everything that is tried on one entry of a task."""
  spec = {"task": task, "config": {}, "seed": seed, "size": entries, "index": index}
  texts = ["gold:", "question:", "hedge:", *(f"other:{i}" for i in range(entries) if i != index)]
  texts += [f"text:{text}" for text in (*NONSENSE, *CONSTANTS)]
  return [Call(RULE, text, Example("", json.dumps(spec)), RuleContext(0, False, 1)) for text in texts]


def audit(pool, task, entries=8, seed=7):
  """{"gold": least score of gold answers, "junk": greatest of wrong ones, "text": which, "failures": {…}}."""
  gold, junk, failures = [], [(0.0, "")], collections.Counter()
  for index in range(entries):
    calls = calls_of(task, entries, seed, index)
    for call, outcome in zip(calls, pool.run(calls[:1]) + pool.run(calls[1:]), strict=True):
      if outcome.failure:
        failures[f"{outcome.failure} {outcome.message.split(':')[0]} on {call.completion[:30]!a}"] += 1
      (gold if call.completion == "gold:" else junk).append((outcome.score, call.completion[:40]))
    if failures["deadline no score within 5.0 s on 'gold:'"] or sum(failures.values()) > 40:
      break
  return {"task": task, "gold": min(gold)[0], "junk": max(junk)[0], "text": max(junk)[1], "failures": failures}


def main(tasks):
  from reasoning_gym.factory import DATASETS

  pool = WorkerPool(2, [RULE], deadline_seconds=5.0)
  for task in tasks or sorted(set(DATASETS) - {"composite"}):
    print(json.dumps(audit(pool, task)), flush=True)
  pool.close()


if __name__ == "__main__":
  main(sys.argv[1:])

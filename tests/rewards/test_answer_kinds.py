r"""Answers of every kind as people and models write them: gold, what counts, what does not (fields split by " ~ ")."""

import json
import pathlib

from grpo_jax.data.example import Example
from grpo_jax.rewards import rules
from grpo_jax.rewards.calls import Call, RuleContext

HERE = pathlib.Path(__file__).parent
FILES = ("answers.jsonl", "more_answers.jsonl", "more_written_answers.jsonl")
CASES = [json.loads(line) for name in FILES for line in (HERE / name).read_text("utf-8").splitlines()]
EXCEPTIONS = {("10", r"\boxed{10\%}")}  # docs/rewards.md says why

# gold | right forms | wrong forms, between " ~ "
KINDS = (HERE / "answer_kinds.txt").read_text("utf-8")  # contents of a box
TEXTS = (HERE / "answer_statements.txt").read_text("utf-8")  # completions


def score(rule, gold, completion):
  outcome = rules.evaluate(Call(rule, completion, Example("q", gold), RuleContext(1, False, 100)))
  return "refused" if outcome.failure == "error" else outcome.score


def table(text):
  """(gold, completion, right) for each line; a form with a question mark at its end is not promised."""
  for line in text.strip().splitlines():
    gold, right, wrong = (part.strip() for part in line.split(" | "))
    for verdict, forms in ((1.0, right), (0.0, wrong)):
      yield from ((gold, form.strip(), verdict) for form in forms.split(" ~ ") if not form.strip().endswith("?"))


def test_the_cases_of_public_reports():
  wrong = [case for case in CASES if score(case["rule"], case["gold"], case["completion"]) != case["right"]]
  assert {(case["gold"], case["completion"]) for case in wrong} == EXCEPTIONS


def test_every_kind():
  cases = [(gold, rf"\boxed{{{form}}}", verdict) for gold, form, verdict in table(KINDS)]
  assert not [(case, found) for case in cases if (found := score("math", case[0], case[1])) != case[2]]


def test_every_statement():
  cases = [(gold, form.replace("\\n", "\n"), verdict) for gold, form, verdict in table(TEXTS)]
  assert not [(case, found) for case in cases if (found := score("math", case[0], case[1])) != case[2]]

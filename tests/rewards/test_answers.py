"""Answers as people and models write them: every line of two files, golds of every kind, near misses, hostile texts."""

import json
import pathlib
import random
import time

import pytest

from grpo_jax.data.answer_values import answer_text, without_thousands
from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import Call, RewardError, RuleContext
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.rules import RULES, evaluate
from grpo_jax.rewards.self_test import near_misses

HERE = pathlib.Path(__file__).parent
LINES = [json.loads(line) for name in ("answers.jsonl", "more_answers.jsonl") for line in (HERE / name).open()]
# 50 against \boxed{50\%} is right in the same file: a percent sign behind the same number is the asker's unit.
EXCEPTIONS = [("10", "\\boxed{10\\%}")]


def score(completion, gold, rule="math"):
  return evaluate(Call(rule, completion, Example("", gold), RuleContext(1, False, 9)))


def test_every_line_is_judged_right():
  wrong = []
  for line in LINES:
    rule = RULES[line["rule"]]
    refused = rule.judges_answer and rule.refuses(line["gold"], {})
    got = "refused" if refused else score(line["completion"], line["gold"], line["rule"]).score
    if got != line["right"]:
      wrong.append((line["gold"], line["completion"]))
  assert wrong == EXCEPTIONS


def made_golds(n):
  """Golds of every kind, with a near miss of each."""
  rng = random.Random(0)
  a, b = (lambda low=2: rng.randint(low, 99)), (lambda: rng.choice([7, 11, 13, 17]))
  kinds = [
    lambda: (f"{a()}", "{}1"), lambda: (f"-{a()}", "1{}"), lambda: (f"\\frac{{{a()}}}{{{b()}}}", "{}+1"),
    lambda: (f"{a()}.{a()}", "{}1"), lambda: (f"{a()}\\sqrt{{{b()}}}", "2{}"), lambda: (f"{a()}\\pi", "{}/3"),
    lambda: (f"({a()}, -{a()})", "({}, 1)"), lambda: (f"\\{{{a()}, {a()}, 0\\}}", "{}, 5"),
    lambda: (f"[{a()}, \\infty)", "({}, 1)"),
    lambda: (f"x^{{2}} + {a()}x - {a()}", "{}+x"),
    lambda: (f"x = {a()}", "{}0"),
    lambda: (f"{a()}\\%", "1{}"), lambda: (f"\\${a()}.50", "\\text{{not }}{}"), lambda: (f"{a()}^\\circ", "2{}"),
    lambda: (f"{a()} \\text{{ cm}}", "1{}"), lambda: (f"{a()}, {a()}, {a()}", "{}, 1"),
    lambda: (f"\\text{{({rng.choice('ABCDE')})}}", "{}{}"),
    lambda: (f"{a()}:{b()}", "1{}"), lambda: (f"\\begin{{pmatrix}} {a()} & {a()} \\\\ 1 & 0 \\end{{pmatrix}}", "2{}"),
    lambda: (f"y = {a()}x + {a()}", "{}+1"), lambda: (f"(-\\infty, {a()}) \\cup ({a()}, \\infty)", "{} \\cup (1,2)"),
    lambda: (f"{a()}1011_2", "1{}"), lambda: (f"{a()} + {a()}i", "{}+i"), lambda: (f"e^{{{a()}}}", "2{}"),
    lambda: (f"\\log_{{{b()}}} {a()}", "2{}"), lambda: (f"{rng.randint(3, 20)}!", "2\\cdot {}"),
    lambda: (f"\\binom{{{a(20)}}}{{3}}", "{}+1"),
    lambda: (rng.choice(["even", "Monday", "\\text{no solution}", "yes"]), "not {}"),
    lambda: (f"{a()}\\frac{{1}}{{{b()}}}", "1{}"), lambda: (f"{a()} \\times 10^{{{b()}}}", "{}0"),
  ]
  for i in range(n):
    gold, miss = kinds[i % len(kinds)]()
    yield gold, miss.format(gold, gold)


def test_a_thousand_golds_are_right_and_their_near_misses_wrong():
  bad = []
  for gold, miss in made_golds(1000):
    right, wrong = score(f"So it is $\\boxed{{{gold}}}$.", gold), score(f"\\boxed{{{miss}}}", gold)
    if right.score != 1 or right.failure or wrong.score != 0 or wrong.failure == "error":
      bad.append((gold, miss, right, wrong))
  assert not bad, (len(bad), bad[:5])


HOSTILE = [
  "\\boxed{1000000!}", "\\boxed{10^{10^{10}}}", "\\boxed{9^{9^{9^9}}}", "\\boxed{(x+y+z)^{500}}",
  "\\boxed{x^{99999999}-1}",
  "\\boxed{" + "(" * 3000 + "3" + ")" * 2999 + "}", "\\boxed{" * 5000, "\\boxed{" + "{" * 5000 + "3", "$" * 20000,
  "\\frac" * 5000,
  "\\boxed{" + "((1,2)," * 500 + "3" + ")" * 500 + "}", "\\boxed{" + "\\frac{1}{" * 300 + "3" + "}" * 300 + "}",
  "answer: " * 20000,
  "answer" + " " * 200_000 + "3", "9" * 100_000, "\\boxed{" + "9" * 5000 + "}", "\\boxed{\\binom{99999999}{5}}",
  "=" * 50_000,
  "\\boxed{1" + "+1" * 5000 + "}", "\\boxed{2^{2^{2^{2^{2^2}}}}}", "\\boxed{\\sin(10^{500})}", "\\boxed{0^{-1}}",
  "\\boxed{1/0}",
  "\\( " * 30_000, "#### " * 30_000, "<answer>" * 30_000, "<think>" * 9999, "\\boxed{e^{e^{e^{e^e}}}}",
  "\\boxed{\\log(0)}",
  "\\boxed{1e999999}", "\\boxed{" + "1," * 5000 + "}", "\ud800", "\x00" * 999, "\\boxed{" + "|" * 999 + "}",
  "\\boxed{\\sqrt{" * 99 + "}" * 99,
  "\\boxed{" + "-" * 9000 + "3}", "\\boxed{5" + "!" * 9 + "}", "\\boxed{x_{x_{x_x}}}", "\\begin{pmatrix}" * 3000,
  "." * 100_000 + "3",
]


def test_hostile_texts_score_nothing_and_are_no_fault_of_the_rule():
  for text in HOSTILE:
    for gold in ("3", "x^2+1", "\\frac{1}{3}", "(1,2)"):
      started = time.process_time()
      outcome = score(text, gold)
      assert outcome.failure in ("", "bounded"), (text[:60], outcome)
      assert outcome.score == 0 or gold == "3", (text[:60], outcome)
      assert time.process_time() - started < 2, text[:60]  # a hang would be minutes


def test_golds_that_cannot_be_judged_are_refused_with_three_of_them():
  examples = [Example("q", gold) for gold in ("3", "3/4", "1,2", "10:30", "x = 2, y = 3")]
  options = {"workers": 1, "deadline_seconds": 5.0, "max_error_rate": 0.1}
  with Rewards({"c": {"rule": "numeric"}}, **options) as rewards, pytest.raises(RewardError) as error:
    rewards.check_golds(examples)
  assert "cannot judge 4 of 5 gold answers: '3/4' is not one number" in str(error.value)
  with Rewards({"c": {"rule": "exact"}}, **options) as rewards:
    rewards.check_golds(examples)
    with pytest.raises(RewardError, match="an empty answer is right for an empty completion"):
      rewards.check_golds([Example("q", " ")])


def test_the_self_test_says_which_near_misses_pass(capsys):
  components = {"c": {"rule": "string"}}
  options = {"workers": 1, "deadline_seconds": 5.0, "max_error_rate": 0.1}
  with Rewards(components, **options) as rewards:
    assert rewards.self_test([Example("What is half of 3?", "3/2"), Example("q", "5 cm")])["near"] == 0.0
  want = {"the answer among others", "half of a fraction", "the prompt copied"}
  assert set(near_misses("3/2", "What is half of 3?")) == want
  assert near_misses("5 cm", "")["another unit"] == "5 km" and near_misses("-5", "")["the sign"] == "5"
  assert capsys.readouterr().out == ""


VALUES = [(True, "true"), (3.0, "3"), (2.5, "2.5"), (7, "7"), ("1.50", "1.50"), (["2"], "2"),
          (["assert f(1) == 2", "assert f(2) == 3"], "assert f(1) == 2\nassert f(2) == 3")]


@pytest.mark.parametrize("value, text", VALUES)
def test_values_that_are_no_text(value, text):
  assert answer_text(value, "a:1") == text


def test_a_list_of_answers_is_refused():
  with pytest.raises(ValueError, match=r"a:1 is the list \['1', '2'\]; are all right, or any"):
    answer_text(["1", "2"], "a:1")


COMMAS = [("1,234", "1234"), ("(1,2)", "(1,2)"), ("1,2", "1,2"), ("-1,000,000 m", "-1000000 m"), ("(1,200)", "(1,200)"),
          ("1,2,345", "1,2,345")]


@pytest.mark.parametrize("text, want", COMMAS)
def test_commas_go_only_before_thousands(text, want):
  assert without_thousands(text) == want

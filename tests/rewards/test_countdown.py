"""Countdown by worked expressions, and by brute force."""

import itertools
import json
import random

import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards import countdown
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.combine import Rewards


def score(completion, numbers=(3, 7, 50, 7), target=21, **options):
  answer = json.dumps({"numbers": list(numbers), "target": target})
  return countdown.countdown(completion, Example("", answer), RuleContext(1, False, 1), **options)


@pytest.mark.parametrize(
  ("completion", "options", "expected"),
  [
    ("(50 - 7*7) * 21", {}, 0.0),  # 21 is not given
    ("3 * 7 * (50 - 7 - 42)", {}, 0.0),
    ("3*7", {}, 0.0),  # not all
    ("3*7", {"use_all": False}, 1.0),
    ("3*7*7/7", {"use_all": False}, 0.0),  # a seven too many
    ("<answer>3 × 7 = 21</answer>", {"use_all": False}, 1.0),
    ("<answer>3*7</answer> <answer>3+7</answer>", {"use_all": False}, 0.0),  # the last counts
    ("So #### 3*7", {"use_all": False, "after": "####"}, 1.0),
    ("3*7", {"use_all": False, "after": "####"}, 0.0),
    ("#### 3*7\nor so", {"use_all": False, "after": "####", "until": "\n"}, 1.0),
    ("[3*7]", {"use_all": False}, 1.0),
    ("(7 + 50 - 7 * 3 ", {}, 0.0),
    ("21", {"use_all": False}, 0.0),
    ("", {"use_all": False}, 0.0),
    ("7/0", {"use_all": False}, 0.0),
    ("7//7", {"use_all": False}, 0.0),
    ("7**7", {"use_all": False}, 0.0),
    ("-(3)+-7", {"use_all": False}, 0.0),  # a sign is no operation
    ("3(7)", {"use_all": False}, 0.0),
    ("37", {"use_all": False}, 0.0),
    ("03*7", {"use_all": False}, 0.0),
    ("3*7 if 1 else 0", {"use_all": False}, 0.0),
    ("__import__('os').abort()", {"use_all": False}, 0.0),
    ("(" * 400, {"use_all": False}, 0.0),
    ("-" * 400 + "7", {"use_all": False}, 0.0),
    ("9" * 10**6, {"use_all": False}, 0.0),
    ("٣*7", {"use_all": False}, 0.0),  # an Arabic-Indic three
  ],
)
def test_worked_expressions(completion, options, expected):
  assert score(completion, **options) == expected


def test_thirds_are_exact():
  assert score("8/(3-8/3)", (3, 3, 8, 8), 24) == 1.0


@pytest.mark.parametrize(
  "answer",
  ["", "7", "{}", '{"numbers": [], "target": 1}', '{"numbers": [1.5], "target": 1}', '{"numbers": [true], "target": 1}',
   '{"numbers": [-1], "target": 1}', '{"numbers": "12", "target": 3}', "[" * 10**5, "\x00"],
)  # fmt: skip
def test_an_answer_that_is_no_problem_is_an_error(answer):
  with pytest.raises(ValueError, match="is no Countdown problem; give JSON"):
    countdown.countdown("1", Example("", answer), RuleContext(1, False, 1))


def test_every_written_solution_is_one_and_no_solvable_problem_is_missed():
  generator, solved = random.Random(0), 0
  for _ in range(60):
    numbers = [generator.randint(1, 9) for _ in range(3)]
    target = generator.randint(1, 40)
    try:
      text = countdown.write(json.dumps({"numbers": numbers, "target": target}), {})
    except ValueError:
      assert not solvable(numbers, target), (numbers, target)
      continue
    solved += 1
    assert score(text, numbers, target) == 1.0
    assert score(text, numbers, target + 1) == score(text, [*numbers, 1], target) == 0.0
  assert 10 < solved < 50


def solvable(numbers, target):
  """By another way: all orders, all operators, both ways to put the parentheses, in Python's own arithmetic."""
  for (a, b, c), (x, y) in itertools.product(itertools.permutations(numbers), itertools.product("+-*/", repeat=2)):
    for text in (f"({a}{x}{b}){y}{c}", f"{a}{x}({b}{y}{c})"):
      try:
        if abs(eval(text) - target) < 1e-9:
          return True
      except ZeroDivisionError:
        continue
  return False


def test_self_test():
  settings = {"workers": 1, "deadline_seconds": 5.0, "max_error_rate": 0.0}
  examples = [Example("", '{"numbers": [3, 7, 50, 9, 2], "target": 71}'), Example("", '{"numbers": [4], "target": 4}')]
  for options in ({}, {"after": "####"}, {"use_all": False}):
    with Rewards({"made": {"rule": "countdown", "options": options}}, **settings) as rewards:
      assert rewards.self_test(examples) == {"gold": 1.0, "wrong": 0.0, "n": 2}

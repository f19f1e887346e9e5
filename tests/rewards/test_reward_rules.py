"""Rules by worked answers."""

import subprocess
import sys
import time

import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards import rules
from grpo_jax.rewards.calls import Call, RuleContext

CONTEXT = RuleContext(length=10, truncated=False, max_length=100)


def score(rule, completion, answer="", context=CONTEXT, **options):
  return rules.RULES[rule].score(completion, Example("prompt", answer), context, **options)


@pytest.mark.parametrize(
  ("completion", "answer", "options", "expected"),
  [
    (" Paris\n", "Paris", {}, 1.0),
    ("paris", "Paris", {}, 0.0),
    ("A: Rome A: Paris", "Paris", {"after": "A:"}, 1.0),
    ("Paris", "Paris", {"after": "A:"}, 0.0),
    ("A: Paris\nQ: ", "Paris", {"after": "A:", "until": "\n"}, 1.0),
  ],
)
def test_exact(completion, answer, options, expected):
  assert score("exact", completion, answer, **options) == expected


@pytest.mark.parametrize(
  ("completion", "answer", "options", "expected"),
  [
    ("so 3 + 4 is 7.", "7", {}, 1.0),
    ("7 is 3 + 4", "7", {}, 0.0),
    ("7 is 3 + 4", "7", {"pick": "first"}, 1.0),
    ("It costs $1,234.50.", "1234.5", {}, 1.0),
    ("1234567", "1,234,567", {}, 1.0),
    ("1,2", "12", {}, 0.0),  # a list, not a thousand separator
    ("a loss of -$3", "-3", {}, 1.0),
    ("a loss of $-3", "-3", {}, 1.0),
    ("\N{MINUS SIGN}3", "-3", {}, 1.0),
    ("10-3", "3", {}, 1.0),  # minus as an operator
    ("0.1", ".10", {}, 1.0),
    ("0.30000000000000004", "0.3", {}, 0.0),  # exact, where floats print alike
    ("9007199254740993", "9007199254740992", {}, 0.0),  # one float, two integers
    ("2e3", "2000", {}, 1.0),
    ("#### 5 or so. #### 6", "6", {"after": "####"}, 1.0),
    ("6", "6", {"after": "####"}, 0.0),
    ("####", "6", {"after": "####"}, 0.0),
    (" 12\n\nQuestion: 13", "12", {"until": "\n"}, 1.0),
    ("1 #### 2\n3", "2", {"after": "####", "until": "\n"}, 1.0),
    ("1 #### 2\n\nQuestion: 3?\n#### 4", "2", {"after": "####", "until": "\n", "before": "\nQuestion:"}, 1.0),
    ("1 #### 2\n\nQuestion: 3?\n#### 4", "4", {"after": "####", "until": "\n", "before": "\nQuestion:"}, 0.0),
    ("", "6", {}, 0.0),
    ("6\x00", "6", {}, 1.0),
    ("\ud800 6", "6", {}, 1.0),
    ("\u0666", "6", {}, 1.0),  # an Arabic-Indic six
  ],
)
def test_numeric(completion, answer, options, expected):
  assert score("numeric", completion, answer, **options) == expected


@pytest.mark.parametrize(
  ("completion", "answer", "expected"),
  [
    ("9" * 2**20, "5", 0.0),
    ("9" * 2**20, "9" * 2**20, 1.0),
    ("1,234" + ",567" * 2**18 + "8", "5", 0.0),
    ("1e999999999", "5", 0.0),
    ("1e999999999", "10e999999998", 1.0),
    ("1e99999999999999999999999999", "5", 0.0),  # beyond what a Decimal holds
    ("-$" * 2**19, "5", 0.0),
  ],
)
def test_numeric_is_fast_on_huge_input(completion, answer, expected):
  start = time.monotonic()
  assert score("numeric", completion, answer) == expected
  assert time.monotonic() - start < 5


def test_numeric_refuses_an_answer_without_a_number():
  with pytest.raises(ValueError, match="'seven' holds no number; use the rule exact or math"):
    score("numeric", "7", "seven")


@pytest.mark.parametrize(
  ("completion", "options", "expected"),
  [
    ("<think>hm</think>7", {}, 1.0),
    ("\n<think>hm</think>\n\n7\n", {}, 1.0),
    ("<think>hm</think> \n", {}, 0.0),
    ("<think>hm", {}, 0.0),
    ("hm</think>7", {}, 0.0),
    ("So: <think>hm</think>7", {}, 0.0),
    ("<think>a</think><think>b</think>7", {}, 0.0),
    ("<think>a<think>b</think>7", {}, 0.0),
    ("</think><think>7", {}, 0.0),
    ("hm</think>7", {"opened": True}, 1.0),
    ("<think>hm</think>7", {"opened": True}, 0.0),
    ("[hm]7", {"open_tag": "[", "close_tag": "]"}, 1.0),
  ],
)
def test_format(completion, options, expected):
  assert score("format", completion, **options) == expected


@pytest.mark.parametrize(
  ("length", "expected"), [(0, 1.0), (60, 1.0), (70, 0.75), (80, 0.5), (100, 0.0), (101, 0.0)]
)
def test_length(length, expected):
  assert score("length", "", context=RuleContext(length, False, 100), target=60) == expected


def test_length_refuses_a_target_at_the_limit():
  with pytest.raises(ValueError, match="target=100 must be below max_length=100"):
    score("length", "", target=100)


@pytest.mark.parametrize(
  ("length", "expected"),  # DAPO's own numbers: L_max 20,480 and L_cache 4,096
  [(0, 0.0), (16384, 0.0), (17408, -0.25), (18432, -0.5), (20480, -1.0), (20481, -1.0), (99999, -1.0)],
)
def test_soft_overlong(length, expected):
  options = {"cache": 4096, "max_length": 20480}
  assert score("soft_overlong", "", context=RuleContext(length, False, 20480), cache=4096) == expected
  assert score("soft_overlong", "", context=RuleContext(length, False, 7), **options) == expected


def test_soft_overlong_refuses_an_empty_cache():
  with pytest.raises(ValueError, match="cache=0 must lie in"):
    score("soft_overlong", "", cache=0)


def test_find_rule_answers_an_unknown_name_with_the_known_ones():
  with pytest.raises(ValueError, match="none of exact, numeric, math, string, code, reasoning_gym, countdown, format"):
    rules.find_rule("maths")
  with pytest.raises(ValueError, match="cannot be imported"):
    rules.find_rule("no.such.module:rule")


def test_evaluate_reports_what_a_rule_throws():
  outcome = rules.evaluate(Call("numeric", "7", Example("", "seven"), CONTEXT))
  assert (outcome.score, outcome.failure) == (0.0, "error")
  assert outcome.message.startswith("ValueError: the answer 'seven'")


def test_rewards_import_neither_jax_nor_math_verify():
  code = "import sys, grpo_jax.rewards.combine; sys.exit(bool({'jax', 'math_verify'} & set(sys.modules)))"
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0

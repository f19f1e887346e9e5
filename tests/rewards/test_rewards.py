"""The weighted combination: sums by hand, the error-rate gate, validation and the self-test."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import Bounded
from grpo_jax.rewards.combine import Rewards, Scores
from grpo_jax.rewards.rules import RULES, Rule
from grpo_jax.rewards.self_test import RewardError

HERE = Path(__file__).parent
SETTINGS = {"workers": 2, "deadline_seconds": 1.0, "max_error_rate": 0.5}
USER = {"user": {"rule": "user_rules:misbehave"}}


def gsm8k(path):
  rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
  golds = [row["answer"].rpartition("####")[2].strip() for row in rows]
  return [Example(row["question"], gold, row["answer"]) for row, gold in zip(rows, golds, strict=True)]


def score(rewards, completions, answers=("7", "8"), lengths=None):
  shape = np.shape(completions)
  lengths = np.full(shape, 5) if lengths is None else np.array(lengths)
  return rewards(completions, [Example("", answer) for answer in answers], lengths, np.zeros(shape, bool), 10)


@pytest.fixture(autouse=True)
def user_rules(monkeypatch):
  monkeypatch.syspath_prepend(HERE)


def test_weighted_sum_and_metrics_by_hand():
  components = {
    "correct": {"rule": "numeric", "weight": 2.0},
    "overlong": {"rule": "soft_overlong", "weight": 0.5, "options": {"cache": 4}},
  }
  with Rewards(components, **SETTINGS) as rewards:
    scores = score(rewards, [["7", "8", "x"], ["8", "8", "7"]], lengths=[[1, 8, 10], [6, 7, 10]])
  assert isinstance(scores, Scores) and scores.rewards_BG.dtype == np.float32
  np.testing.assert_array_equal(scores.components["correct"], [[1, 0, 0], [1, 1, 0]])
  np.testing.assert_array_equal(scores.components["overlong"], [[0, -0.5, -1], [0, -0.25, -1]])
  np.testing.assert_array_equal(scores.rewards_BG, [[2, -0.25, -0.5], [2, 1.875, -0.5]])
  assert scores.metrics() == {
    "reward/total": (4.625, 6),
    "reward/correct": (3.0, 6),
    "reward/overlong": (-2.75, 6),
    "reward/errors": (0, 12),
    "reward/deadlines": (0, 12),
    "reward/bounded": (0, 12),
  }


def test_failures_score_zero_and_are_counted():
  with Rewards(USER | {"format": {"rule": "format"}}, **SETTINGS) as rewards:
    scores = score(rewards, [["a", "hang", "ccc"], ["dddd", "throw", "ffffff"]])
  np.testing.assert_array_equal(scores.rewards_BG, [[1, 0, 3], [4, 0, 6]])
  assert (scores.errors, scores.deadlines) == (1, 1)
  assert [(f.component, f.kind, f.text) for f in scores.failures] == [
    ("user", "deadline", "'hang'"),
    ("user", "error", "'throw'"),
  ]
  assert scores.metrics()["reward/errors"] == (1, 12)
  assert scores.metrics()["reward/deadlines"] == (1, 12)


def test_answers_beyond_the_bounds_are_counted_apart():
  settings = SETTINGS | {"max_error_rate": 0.0, "deadline_seconds": 10.0}
  with Rewards({"correct": {"rule": "math"}}, **settings) as rewards:
    scores = score(rewards, [[r"\boxed{1000000000!}", r"\boxed{10^{10^{10}}}", "7"], [r"\boxed{\int x}", "8", "no"]])
  np.testing.assert_array_equal(scores.components["correct"], [[0, 0, 1], [0, 1, 0]])
  assert (scores.errors, scores.deadlines, scores.bounded) == (0, 0, 2)


def test_the_gate_names_component_rate_key_and_text():
  with Rewards(USER, **SETTINGS | {"max_error_rate": 0.25}) as rewards:
    score(rewards, [["a", "b"], ["throw", "c"]])
    with pytest.raises(RewardError) as error:
      score(rewards, [["a", "b"], ["throw", "nan"]])
  parts = ("'user'", "2 of 4", "3 of 8 (37.5%)", "rewards.max_error_rate=0.25", "returned nan", "on 'nan'")
  assert all(part in str(error.value) for part in parts), error.value


def test_the_gate_forgives_one_failure_in_a_call_but_not_a_bad_call():
  components = {"correct": {"rule": "numeric"}}
  with Rewards(components, **SETTINGS | {"max_error_rate": 0.1}) as rewards:
    for _ in range(10):
      score(rewards, [["7", "7"], ["8", "8"]])
    score(rewards, [["7"], ["8"]], answers=("7", "none"))
    with pytest.raises(RewardError, match="2 of 4 items in this call and 3 of 46"):
      score(rewards, [["7", "7"], ["8", "8"]], answers=("7", "none"))


def test_a_score_beyond_float32_is_an_error_of_the_rule():
  components = {"far": {"rule": "user_rules:far"}}
  with Rewards(components, **SETTINGS | {"max_error_rate": 1.0}) as rewards:
    scores = score(rewards, [["1e300", "-1e39"], ["1e6", "-inf"]])
  np.testing.assert_array_equal(scores.rewards_BG, [[0, 0], [1e6, 0]])
  assert scores.errors == 3 and "returned 1e+300, and scores lie within ±1e+09" in scores.failures[0].message


def test_what_a_text_makes_a_built_in_rule_do_is_counted_apart_and_stops_nothing(monkeypatch):
  def reach(completion, example, context):
    if completion:
      raise {"deep": RecursionError, "large": MemoryError, "fault": KeyError}.get(completion, Bounded)(completion)
    return 0.0

  monkeypatch.setitem(RULES, "exact", Rule(reach))
  with Rewards({"a": {"rule": "exact"}}, **SETTINGS | {"max_error_rate": 0.0}) as rewards:
    scores = score(rewards, [["deep", "large"], ["9^9^9", "9^9^9"]])
    assert scores.metrics()["reward/bounded"] == (4, 4) and scores.errors == 0 and not scores.rewards_BG.any()
    with pytest.raises(RewardError, match="2 of 4 items in this call and 2 of 8"):
      score(rewards, [["fault", "fault"], ["deep", "large"]])


@pytest.mark.parametrize(
  ("components", "settings", "parts"),
  [
    ({}, {}, ["rewards.components={}"]),
    ({"a": {"rule": "maths"}}, {}, ["rewards.components.a.rule='maths'", "exact, numeric, math"]),
    ({"a": {}}, {}, ["rewards.components.a.rule=None"]),
    ({"a": {"rule": "user_rules:absent"}}, {}, ["='user_rules:absent' cannot be imported"]),
    ({"a": {"rule": "broken_rule:f"}}, {}, ["NameError: name 'missing' is not defined, ", "broken_rule.py line 3)"]),
    ({"a": {"rule": "user_rules:PLAIN"}}, {}, ["rule='user_rules:PLAIN' is no function"]),
    ({"a": {"rule": "exact", "wieght": 1}}, {}, ["rewards.components.a.wieght is unknown"]),
    ({"a": {"rule": "exact", "weight": "1"}}, {}, ["components.a.weight='1' must be a finite number"]),
    ({"a": {"rule": "exact", "weight": True}}, {}, ["a.weight=True"]),
    ({"a": {"rule": "exact", "weight": float("nan")}}, {}, ["a.weight=nan"]),
    ({"a": 3}, {}, ["components.a=3 must be a dictionary"]),
    ({"a": {"rule": "exact", "options": 5}}, {}, ["a.options=5 must be a dictionary"]),
    ({"": {"rule": "exact"}}, {}, ["without a name"]),
    ({"a": {"rule": "exact", "options": {"aftr": "x"}}}, {}, ["a.options.aftr='x'", "takes after, until"]),
    ({"a": {"rule": "format", "options": {"after": "x"}}}, {}, ["takes open_tag, close_tag, opened"]),
    ({"a": {"rule": "user_rules:misbehave", "options": {"x": 1}}}, {}, ["options.x=1", "takes seconds"]),
    ({"a": {"rule": "soft_overlong"}}, {}, ["a.options.cache is missing", "takes cache, max_length"]),
    ({"a": {"rule": "numeric", "options": {"pick": "best"}}}, {}, ["'pick': 'best'", "'last' or 'first'"]),
    ({"a": {"rule": "exact", "weight": 1e300}}, {}, ["a.weight=1e+300", "[1e-06, 1e+06]"]),
    ({"a": {"rule": "exact", "weight": 1e-300}}, {}, ["a.weight=1e-300"]),
    ({"total": {"rule": "exact"}}, {}, ["rewards.components.total is also the name of a metric"]),
    ({"a": {"rule": "exact"}}, {"workers": 0}, ["rewards.workers=0 must be at least 1"]),
    ({"a": {"rule": "exact"}}, {"deadline_seconds": 0.0}, ["rewards.deadline_seconds=0.0 must be positive"]),
    ({"a": {"rule": "exact"}}, {"max_error_rate": 2}, ["rewards.max_error_rate=2 must lie in [0, 1]"]),
  ],
)
def test_validation_names_key_value_and_fix(components, settings, parts):
  with pytest.raises(ValueError) as error:
    Rewards(components, **SETTINGS | settings)
  for part in parts:
    assert part in str(error.value)


def self_test(rule, examples, options=None, **kwargs):
  settings = SETTINGS | {"workers": 1, "deadline_seconds": 10.0}
  with Rewards({"correct": {"rule": rule, "options": options or {}}}, **settings) as rewards:
    return rewards.self_test(examples, **kwargs)


@pytest.mark.parametrize(
  ("rule", "options"),
  [
    ("numeric", {}),
    ("numeric", {"after": "####"}),
    ("exact", {"after": "####"}),
  ],
)
def test_self_test_passes_on_gsm8k(rule, options):
  examples = gsm8k(HERE.parent / "data" / "gsm8k_sample.jsonl")
  assert self_test(rule, examples, options) == {"gold": 1.0, "wrong": 0.0, "n": 20}
  assert self_test(rule, examples, options, n=3)["n"] == 3


def test_self_test_with_symbolic_and_with_unreadable_gold():
  answers = [r"\frac{\pi}{2}", "x^2+1", "(1,2)", "$x=3$", r"\text{A}", "-7", "50%", "1,000"]
  settings = SETTINGS | {"workers": 1, "deadline_seconds": 10.0}
  with Rewards({"correct": {"rule": "math"}}, **settings) as rewards:
    assert rewards.self_test(gsm8k(HERE.parent / "data" / "gsm8k_sample.jsonl"))["gold"] == 1.0
    assert rewards.self_test([Example("", answer) for answer in answers])["n"] == 8
    with pytest.raises(RewardError, match="cannot read the answer ''"):
      rewards.self_test([Example("1+1?", "")])


def test_self_test_writes_after_and_until():
  options = {"after": "Answer:", "until": "\n"}
  assert self_test("numeric", [Example("", "1" + "0" * 40)], options) == {"gold": 1.0, "wrong": 0.0, "n": 1}


def test_self_test_leaves_other_rules_alone():
  assert self_test("format", [Example("", "7")]) == {"gold": 0.0, "wrong": 0.0, "n": 0}


@pytest.mark.parametrize(
  ("rule", "options", "example", "parts"),
  [
    ("numeric", {"after": "##"}, Example("1+1?", "2", "A: 2"), ["gold text 'A: 2' 0.0 instead", "'##'"]),
    ("numeric", {}, Example("1+1?", "two"), ["error (ValueError: the answer 'two' holds no number"]),
    ("user_rules:lenient", {}, Example("1+1?", "2"), ["wrong text '3' 1.0 instead of 0.0", "stricter"]),
  ],
)
def test_self_test_fails_in_one_sentence(rule, options, example, parts):
  with pytest.raises(RewardError) as error:
    self_test(rule, [example], options)
  for part in ["component 'correct'", rule, "rewards.components.correct.options", *parts]:
    assert part in str(error.value)


def test_self_test_can_leave_demonstrations_out():
  example = Example("5+6=", "11", "[1]1")
  with pytest.raises(RewardError):
    self_test("numeric", [example])
  assert self_test("numeric", [example], solutions=False)["gold"] == 1.0
  assert self_test("numeric", [dataclasses.replace(example, solution="[11]11")])["gold"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["numeric", "math"])
def test_self_test_passes_on_all_of_gsm8k(rule):
  path = Path(os.environ.get("GSM8K_TEST", "GSM8K_TEST is not set"))
  if not path.exists():
    pytest.skip(f"needs GSM8K's test.jsonl at the path in the environment variable GSM8K_TEST: {path}")
  assert self_test(rule, gsm8k(path), {"after": "####"}, n=1319) == {"gold": 1.0, "wrong": 0.0, "n": 1319}


def test_a_rule_with_a_bug_is_named_with_its_line_before_anything_else():
  example = Example("1+1?", "2", "A: 2")
  components = {"own": {"rule": "user_rules:with_a_bug"}, "other": {"rule": "numeric"}}
  with Rewards(components, **SETTINGS) as rewards, pytest.raises(RewardError) as error:
    rewards.try_rules(example)
  sentence, _, trace = str(error.value).partition("\n\n")
  line = (HERE / "user_rules.py").read_text().splitlines().index("  return table[key]") + 1
  assert "rewards.components.own.rule='user_rules:with_a_bug' fails on the first example" in sentence
  assert f"KeyError: '2' ({HERE / 'user_rules.py'} line {line}, in _look_up); mend" in sentence and "\n" not in sentence
  assert "in with_a_bug\n    return _look_up({}, example.answer)" in trace and trace.endswith("KeyError: '2'")
  assert "grpo_jax" not in trace.replace(str(HERE), "")
  with Rewards({"own": {"rule": "user_rules:misbehave"}}, **SETTINGS) as rewards:
    rewards.try_rules(example)
    with pytest.raises(RewardError, match=r"within 1\.0 s; mend the function"):
      rewards.try_rules(dataclasses.replace(example, solution="hang"))


def test_gold_programs_that_pass_are_counted(capsys):
  examples = [Example(f"f({i})", f"assert f({i}) == {i}", "def f(x): return x % 3") for i in range(4)]
  with pytest.raises(RewardError, match="scored the gold text"):
    self_test("code", examples)
  assert "3 of 4 gold programs pass their tests (component correct)\n  fails: 'f(3)'" in capsys.readouterr().out

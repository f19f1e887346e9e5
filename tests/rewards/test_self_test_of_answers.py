"""The self-test of rules that judge answers, on golds made from the grammar and on golds that a rule refuses."""

import random

import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards import rules
from grpo_jax.rewards.calls import RewardError
from grpo_jax.rewards.components import make_component
from grpo_jax.rewards.self_test import refuse_golds, run_self_test


def evaluate(component, calls):
  return [rules.evaluate(call) for call in calls]


def gold_and_misses(r):
  """An answer of a random kind, and wrong ones that are close to it."""
  a, b, c = r.randint(2, 99), r.randint(2, 99), r.randint(100, 999)
  d = a + b + 1  # coprime parts are not needed: a/d is below one
  return r.choice(
    (
      (f"{a}", [f"-{a}", f"{a + 1}", f"{a}{b}", f"{a}.5"]),
      (f"-{a}", [f"{a}", f"-{a + 1}"]),
      (f"{a}.{b}5", [f"{a}{b}5", f"{a}", f"-{a}.{b}5"]),
      (rf"\frac{{{a}}}{{{d}}}", [f"{a}", f"{d}", rf"\frac{{{d}}}{{{a}}}", rf"-\frac{{{a}}}{{{d}}}"]),
      (rf"{a}\frac{{1}}{{{b}}}", [f"{a}", rf"\frac{{{a}}}{{{b}}}"]),
      (rf"{a}\%", [rf"{a + 1}\%", rf"0.{b}123\%"]),
      (rf"\${c}", [rf"{c}\text{{ cents}}", rf"€{c}", f"{c + 1}"]),
      (rf"{a}\text{{ km}}", [rf"{a}\text{{ m}}", f"{a}000", rf"{a + 1}\text{{ km}}"]),
      (f"{a}^\\circ", [f"{a + 1}^\\circ", rf"{a}\text{{ radians}}"]),
      (f"({a}, -{b})", [f"(-{b}, {a})", f"{a}, -{b}", f"({a}, {b})"]),
      (f"[{a}, {c})", [f"[{a}, {c}]", f"({a}, {c})", f"[{a}, {c + 1})"]),
      (rf"(-\infty, {a}]", [rf"(-\infty, {a})", f"{a}", rf"[{a}, \infty)"]),
      (rf"\{{{a}, {c}, -{b}\}}", [rf"\{{{a}, {c}\}}", f"({a}, {c}, -{b})", f"{a}"]),
      (f"{a}, {c}", [f"{a}", f"{a}{c}", f"{a}, {c}, 1", f"({a}, {c})"]),
      (rf"{a}\sqrt{{3}}", [f"{a}", rf"{a}\sqrt{{2}}", rf"{a + 1}\sqrt{{3}}"]),
      (rf"\frac{{{a}\pi}}{{7}}", [f"{a}", rf"{a}\pi"]),
      (f"x^2 + {a}x - {b}", [f"x^2 + {a}x + {b}", f"y^2 + {a}y - {b}", f"{a}"]),
      (f"x = {a}", [f"x = -{a}", f"y = {a}", f"x > {a}", f"{a + 1}"]),
      (f"y = {a}x + {b}", [f"y = {a}x - {b}", f"x = {a}y + {b}", f"{b}"]),
      (f"x^2 + {a}y^2 = {b}", [f"x^2 - {a}y^2 = {b}", f"{b}"]),
      (r.choice(("\\text{(A)}", "(B)", "C")), ["D", "(A) or (B)", "ABC"]),
      (r.choice(("Monday", "\\text{even}", "yes")), ["no", "Tuesday", "Monday or Tuesday"]),
      (
        rf"\begin{{pmatrix}} {a} & {b} \\ 0 & 1 \end{{pmatrix}}",
        [rf"\begin{{pmatrix}} {a} & 0 \\ {b} & 1 \end{{pmatrix}}", f"{a}"],
      ),
      ("1101_2", ["1101_3", "13", "1011_2"]),
      (f"{a % 12 + 1}:{b % 50 + 10}", [f"{a % 12 + 1}", f"{a % 12 + 2}:{b % 50 + 10}"]),
      (f"{a}:{c}", [f"{c}:{a}", f"{a}"]),
      (rf"\pm {a}", [f"{a}", f"-{a}"]),
      (r"\emptyset", ["0", r"\{0\}"]),
      (f"{a}e7", [f"{a}e6", f"{a}"]),
      (rf"\log_2 {2 * a + 1}", [f"{a}", rf"\log_3 {2 * a + 1}"]),
    )
  )


def test_golds_of_every_kind_equal_themselves_and_no_near_miss():
  r, component = random.Random(0), make_component("correct", {"rule": "math"})
  cases = [gold_and_misses(r) for _ in range(1000)]
  examples = [Example("", gold) for gold, _ in cases]
  assert run_self_test([component], examples, evaluate, True) == {"gold": 1.0, "wrong": 0.0, "n": 1000}
  for gold, misses in cases:
    context = rules.RuleContext(1, False, 1)
    wrong = [
      miss for miss in misses if rules.evaluate(component.call(rf"\boxed{{{miss}}}", Example("", gold), context)).score
    ]
    assert not wrong, (gold, wrong)


@pytest.mark.parametrize(
  ("rule", "bad"),
  [
    ("numeric", "3/4"),
    ("numeric", "7 apples and 3 pears"),
    ("math", r"\int_0^1 x"),
    ("math", ""),
    ("exact", " "),
    ("string", "?!"),
  ],
)
def test_golds_that_a_rule_cannot_judge_are_counted_and_shown(rule, bad):
  component = make_component("correct", {"rule": rule})
  examples = [Example("", "5")] * 3 + [Example("", bad)] * 2
  with pytest.raises(RewardError) as error:
    refuse_golds(component, examples, evaluate)
  assert "2 of 5 examples" in str(error.value) and repr(bad) in str(error.value)


def lenient(completion, example, context):
  return float(example.answer.partition("/")[0].lstrip("-") in completion)


def test_near_misses_find_a_lenient_rule(monkeypatch):
  loose = rules.Rule(lenient, judges_answer=True, refuses=True)
  monkeypatch.setitem(rules.RULES, "loose", loose)
  component = make_component("correct", {"rule": "loose"})
  for answer in ("5", "-5", "3/4"):
    with pytest.raises(RewardError, match="scored the wrong text"):
      run_self_test([component], [Example("q", answer)], evaluate, True)


def test_a_rule_that_reads_the_prompt_is_found():
  component = make_component("correct", {"rule": "numeric"})
  examples = [Example(f"What is the last number: {n}", str(n)) for n in range(8)]
  with pytest.raises(RewardError, match="copied"):
    run_self_test([component], examples, evaluate, True)

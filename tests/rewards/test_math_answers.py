"""The rule `math` on worked answers."""

import random
import time

import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards import math_answers, rules
from grpo_jax.rewards.calls import Call, RuleContext
from grpo_jax.rewards.workers import WorkerPool

CASES = [
  ("72", "72", 1.0),
  ("so it is 72.", "72", 1.0),
  ("73", "72", 0.0),
  ("", "72", 0.0),
  (r"\boxed{72}", "72", 1.0),
  (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}", 1.0),
  (r"\boxed{0.5}", r"\frac{1}{2}", 1.0),
  (r"\boxed{1+1}", "2", 1.0),  # mathematically equal: known and documented
  ("$1,000", "1000", 1.0),
  # tags
  ("<answer>72</answer>", "72", 1.0),
  ("The answer is 5? No. <answer>72</answer>", "72", 1.0),
  ("<answer>5</answer> no: <answer>72</answer>", "72", 0.0),
  ("<answer>18 dollars</answer>", "18", 1.0),
  ("<answer>x^2 + 3</answer>", "x^2+3", 1.0),
  ("<answer>x^2 + 3</answer>", "3", 0.0),
  # unicode minus, on either side
  ("\N{MINUS SIGN}5", "-5", 1.0),
  (r"\boxed{-5}", "\N{MINUS SIGN}5", 1.0),
  ("\N{MINUS SIGN}5", "5", 0.0),
  # gold that is LaTeX, or text
  ("it is $3+x^2$", "x^2+3", 1.0),
  (r"\boxed{3+x^2}", "$x^2+3$", 1.0),
  (r"\boxed{(1,2)}", "(1,2)", 1.0),
  (r"\boxed{\text{Yes}}", "Yes", 1.0),
  (r"\boxed{\text{No}}", "Yes", 0.0),
  # several different boxes are wrong
  (r"\boxed{3}, no: \boxed{4}", "4", 0.0),
  (r"\boxed{4}, as said: \boxed{4}", "4", 1.0),
  (r"\boxed{3}, no: $\boxed{4}$", "3", 0.0),
  # hostile text
  ("72\x00", "72", 1.0),
  ("\ud800 72", "72", 1.0),
  ("\\boxed{" * 2000, "72", 0.0),
  ("9" * 2**16, "72", 0.0),
]


def call(completion, answer, **options):
  return Call("math", completion, Example("", answer), RuleContext(1, False, 1), options)


@pytest.fixture(scope="module")
def pool():
  pool = WorkerPool(2, ["math"], deadline_seconds=3.0)
  yield pool
  pool.close()


def test_known_answers(pool):
  outcomes = pool.run([call(completion, answer) for completion, answer, _ in CASES])
  for case, outcome in zip(CASES, outcomes, strict=True):
    assert outcome.score == case[2] and outcome.failure in ("", "bounded"), (case, outcome)


def test_after_keeps_earlier_numbers_out(pool):
  text = "The answer: 5 before tax and then 7\n#### 7"
  calls = [call(text, "7"), call(text, "7", after="####"), call("7", "7", after="####")]
  assert [outcome.score for outcome in pool.run(calls)] == [1.0, 1.0, 0.0]


def test_an_unreadable_gold_is_an_error_not_a_zero(pool):
  (outcome,) = pool.run([call("72", "")])
  assert outcome.failure == "error" and "cannot read the answer ''" in outcome.message


def test_towers_of_powers_are_bounded(pool):
  outcomes = pool.run([call(r"\boxed{9^{9^{9^9}}}", "72"), call("72", "72")])
  assert [(outcome.score, outcome.failure) for outcome in outcomes] == [(0.0, "bounded"), (1.0, "")]


def hostile_texts(n, seed=0):
  """Texts that cost a symbolic reader seconds or its stack."""
  random_ = random.Random(seed)
  forms = (
    lambda k: rf"{10**6 + k}!", lambda k: rf"10^{{10^{{{k}}}}}", lambda k: rf"(x+y+z)^{{{k}}}", lambda k: "(" * 30 * k,
    lambda k: "9^{" * k + "9" + "}" * k, lambda k: r"\sqrt{" * k + "2" + "}" * k, lambda k: "9" * 50 * k,
    lambda k: r"\frac{1}{" * k + "x" + "}" * k, lambda k: rf"\binom{{{10**k % 10**9}}}{{{k}}}", lambda k: "5" + "!" * k,
    lambda k: rf"\sum_{{n=1}}^{{10^{k}}} n", lambda k: rf"\int_0^{k} e^{{x^2}} dx", lambda k: "1," * 40 * k,
    lambda k: "-" * 90 * k,
    lambda k: rf"x^{{-{9**k}}}", lambda k: r"\{" * k, lambda k: r"\text{" * k, lambda k: "|" * k, lambda k: "a_" * k,
    lambda k: rf"0.\overline{{{'3' * k}}}", lambda k: rf"\sin(10^{{{k}}})", lambda k: rf"1.5e{9**k}",
    lambda k: r"\pm" * k + "1",
    lambda k: "2^" * k + "2", lambda k: r"\cup".join(["(0,1)"] * k), lambda k: r"\boxed{" * k, lambda k: "= 3 " * k,
    lambda k: r"\begin{pmatrix}" + r"1&1\\" * 20 * k + r"\end{pmatrix}", lambda k: rf"0^{{-{k}}}",
    lambda k: rf"{k}:" * k,
    lambda k: "1 000 " * 30 * k, lambda k: "1/2 " * 30 * k, lambda k: "$" * 30 * k, lambda k: "the answer is " * 30 * k,
  )  # fmt: skip
  for _ in range(n):
    text = random_.choice(forms)(random_.randint(1, 100))
    yield random_.choice((rf"\boxed{{{text}}}", f"The answer is {text}", f"${text}$", f"<answer>{text}</answer>", text))


def test_hostile_texts_cost_little_and_fail_nothing():
  slowest = 0.0
  for text in hostile_texts(1000):
    start = time.perf_counter()
    outcome = rules.evaluate(call(text, "72"))
    slowest = max(slowest, time.perf_counter() - start)
    assert outcome.failure in ("", "bounded") and outcome.score in (0.0, 1.0), (text[:80], outcome)
  print(f"worst stall {slowest:.3f} s")
  assert slowest < 2.0


def test_what_is_beyond_the_bounds_is_told_apart():
  context = RuleContext(1, False, 1)
  forms = {r"\boxed{10^{10^{10}}}": "bounded", r"\boxed{\int x}": "unreadable", "": "unstated", r"\boxed{3}": ""}
  assert {text: math_answers.judge(text, Example("", "3"), context)[1] for text in forms} == forms

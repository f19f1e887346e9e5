"""Hostile strings through every rule: none hangs past the deadline, none crashes, and every failure is counted."""

import collections
import json
import random
import time

import numpy as np
import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.rules import RULES

DEADLINE = 2.0
PIECES = (
  "9", "-", "1e999999999", ",", "1,234", ".", "$", "\\boxed{", "\\frac{1}{", "}", "^", "9^{9^{9^9}}", "(", ")", "[",
  "]", "{", '"', "<think>", "</think>", "<answer>", "</answer>", "####", "```", "```python\n", "\x00", "\ud800",
  "\udfff", "\u202e", "\u0315\u0300", "\N{MINUS SIGN}", "\U0001f600", "\r\n", "\n", " ", "\t", "7", "nan", "inf",
  "1/0", "!" * 50, "10**10**10", "9**9**9**9", "factorial(", "x", "the ", "lambda:", "def f(): return 0\n",
  "import os\nos._exit(0)\n", "__import__('os').abort()", "%s%n", "\\", "{}", "٣", "ﷺ",
  "\\sqrt{", "\\sum_{i=0}^{", "\\int ", "=", "<", "&&",
)  # fmt: skip
GYM = {"config": {}, "seed": 0, "size": 9, "index": 3}
ANSWERS = {
  "string": "seven", "countdown": '{"numbers": [3, 7], "target": 21}', "code": "assert f() == 1",
  "reasoning_gym": json.dumps(GYM | {"task": "gcd"}),
}  # fmt: skip
OPTIONS = {
  "soft_overlong": {"cache": 4}, "length": {"target": 4}, "language": {"language": "english"}, "code": {"seconds": 0.5},
}  # fmt: skip


def long_strings(size):
  """One thing over and over, up to `size` characters, and a few short ones that hang or die where they are run."""
  repeated = (
    "9", ",567", "(", "[", "\\boxed{", "<answer>", "<think>", "```", "####", " ", "\n", "-$", "\u0315\u0300", "a ",
    "\\frac", "$", "ﷺ", '{"a":', "-", "!", "\x00", "\ud800", "</think>", "e9", ".1",
  )  # fmt: skip
  begun = ("1,234,567", "1e9", "<answer>9", "#### 9", "<think>x", "```\n#", "\\boxed{9")
  texts = [piece * (size // len(piece)) for piece in repeated] + ["[" * (size // 2) + "]" * (size // 2)]
  texts += [start[:-1] + start[-1] * size for start in begun]
  short = (
    "", "while True: pass", "while True: print(1)", "\\boxed{9^{9^{9^9}}}", "x = 'a' * 10**10", "raise SystemExit",
    "import os\nwhile True: os.fork()", "import os\nos.kill(os.getppid(), 9)", "def f(): return f()", "1/0",
  )  # fmt: skip
  return [*texts, *short]


def hostile(n, size=2**14, seed=0):
  """The long strings, then random mixtures of pieces, most of them short."""
  generator = random.Random(seed)
  texts = long_strings(size)
  while len(texts) < n:
    pieces = generator.choices(PIECES, k=generator.choice((1, 2, 5, 20, 100)))
    texts.append("".join(piece * generator.choice((1, 1, 1, 2, 30)) for piece in pieces))
  return texts


def attack(rule, texts):
  """Scores all texts by one rule, of which none may stop the run; returns (seconds, scores, failures by kind)."""
  components = {"r": {"rule": rule, "options": OPTIONS.get(rule, {})}}
  start, shape = time.monotonic(), (1, len(texts))
  with Rewards(components, workers=2, deadline_seconds=DEADLINE, max_error_rate=0.0) as rewards:
    example = Example("?", ANSWERS.get(rule, "7"))
    scores = rewards([texts], [example], np.full(shape, 5), np.zeros(shape, bool), 10)
  kinds = collections.Counter(failure.kind for failure in scores.failures)
  assert (scores.errors, scores.deadlines, scores.bounded) == (0, kinds["deadline"], kinds["bounded"])
  assert scores.metrics()["reward/bounded"] == (kinds["bounded"], len(texts))
  assert np.isfinite(scores.rewards_BG).all() and np.abs(scores.rewards_BG).max() <= 1
  return time.monotonic() - start, scores.rewards_BG[0], kinds


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_few_hundred_hostile_strings(rule):
  texts = hostile(300)[:: {"math": 6, "code": 3}.get(rule, 1)]  # a hang costs math a new worker, a text code a process
  seconds, scores, kinds = attack(rule, texts)
  assert seconds < 60
  assert RULES[rule].isolated or not kinds  # in the main process nothing may fail
  assert len(scores) == len(texts)
  if rule in ("code", "countdown", "exact", "string", "reasoning_gym"):
    assert not [text for text, score in zip(texts, scores, strict=True) if score and text.strip() != "7"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", sorted(RULES))
def test_ten_thousand_hostile_strings(rule):
  seconds, scores, kinds = attack(rule, hostile(10_000, size=2**20, seed=1))
  print(f"\n{rule}: {seconds:.1f} s, mean score {scores.mean():.4f}, failures {dict(kinds)}")
  assert seconds < 3600 and scores.size == 10_000
  assert RULES[rule].isolated or not kinds


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["code", "reasoning_gym"])
def test_a_thousand_hostile_strings_stop_no_run(rule):
  """In batches as training has them, with the default settings and no error allowed; prints the worst stall."""
  settings, shape = {"workers": 2, "deadline_seconds": 5.0, "max_error_rate": 0.0}, (1, 50)
  options = {"code": {"seconds": 4.0}}.get(rule, {})
  texts, kinds, stalls = hostile(1000, seed=2), collections.Counter(), []
  with Rewards({"r": {"rule": rule, "options": options}}, **settings) as rewards:
    for start in range(0, len(texts), 50):
      begin = time.monotonic()
      batch = [texts[start : start + 50]]
      scores = rewards(batch, [Example("?", ANSWERS[rule])], np.full(shape, 5), np.zeros(shape, bool), 10)
      stalls.append(time.monotonic() - begin)
      kinds += collections.Counter(failure.kind for failure in scores.failures)
      assert not scores.rewards_BG.any()
  print(f"\n{rule}: 1000 strings, 0 runs stopped, failures {dict(kinds)}, a batch of 50 took"
        f" {np.mean(stalls):.1f} s, the worst {max(stalls):.1f} s")

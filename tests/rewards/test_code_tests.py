"""The rule `code`: what counts as a test, as the program and as the prompt's."""

import json
import time

import pytest
from code_cases import GOOD, HONEST, PROMPT, VACUOUS

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.code_answers import code
from grpo_jax.rewards.programs import find_program

TESTS = "assert add(1, 2) == 3\nassert add(0, 0) == 0\nassert not odd(2)\nassert odd(3)"


def score(program, tests=TESTS, **options):
  return code(program, Example("", tests), RuleContext(1, False, 1), **{"seconds": 10.0, **options})


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_passes(name):
  assert score(*HONEST[name]) == 1.0


@pytest.mark.parametrize("name", VACUOUS)
def test_a_test_that_asserted_nothing_has_failed(name):
  assert score(*VACUOUS[name], partial=True) == 0.0


def test_what_the_prompt_defines_beside_what_it_asks_for_comes_from_the_prompt():
  tests = "for i in range(9):\n  s = 'abcdefgh'[:i]\n  assert decode(encode(s)) == s"
  cheat, gold = "def encode(s): return s\ndef decode(s): return s", PROMPT + "    return encode(encode(s))\n"
  fenced = ({"role": "user", "content": f"Complete:\n```python\n{PROMPT}```\nThanks."},)
  in_prose = f"Complete this function.\n\n{PROMPT}\n\nReply with code only, don't explain."
  for prompt in (PROMPT, fenced, in_prose):
    example = Example(prompt, tests)
    alone = gold[gold.index("def decode") :]  # which may rely on what the prompt gives
    assert [code(p, example, RuleContext(1, False, 1)) for p in (gold, alone, cheat)] == [1, 1, 0]


def test_a_prompt_that_shows_a_program_to_be_mended_gives_nothing():
  prompt = "Mend this:\n```python\ndef add(a, b):\n  return a - b\ndef odd(n): return n % 2 == 1\n```"
  scores = [code(p, Example(prompt, TESTS), RuleContext(1, False, 1)) for p in (GOOD, "x = 1")]
  assert scores == [1, 0]


@pytest.mark.parametrize(
  "completion",
  [
    f"~~~python\n{GOOD}~~~",
    f"Sure:\n```python\n{GOOD}```\nUsage:\n```python\nprint(add(1, 2))\n```\nOutput:\n```\n3\n```\n```bash\nls\n```",
    "1. Do\n   ```py\n   " + GOOD.replace("\n", "\n   ") + "```\n",
    f"Here: ```python\n{GOOD.strip()}```",
    f"```python\nfrom typing import List\n```\n```python\n{GOOD.replace('(a', '(a: List')}```",
    f"````\n{GOOD}\n````\n",
    f"Here you are:\n\n{GOOD}\nUsage:\n\n    add(1, 2) gives 3\n",
    f"```python\n{GOOD}\nprint(add(int(input()), 2))\n```",
  ],
)
def test_the_program_is_found(completion):
  assert find_program(completion, {"add", "odd"}) and score(completion) == 1.0


def test_the_program_that_reads_and_prints_is_found():
  cases = json.dumps([{"input": "1 2\n", "output": "3"}])
  program = "```python\nprint(sum(map(int, input().split())))\n```"
  assert score(f"{program}\nExample:\n```\n1 2\n```\n```python\nprint('usage')\n```", cases) == 1.0


@pytest.mark.parametrize(
  ("tests", "why"),
  [
    ("import numpy as np\nassert np.all(f())", "import numpy, and only the standard library"),
    ("import pytest\n@pytest.fixture\ndef x(): return 1\ndef test_a(x): assert x", "fixtures are not supported"),
    ("def test_a(capsys):\n  f()\n  assert capsys.readouterr().out", "test_a takes arguments"),
    ("import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()) as s: f()\nassert s", "cannot see what"),
    ("async def test_a(): assert await f()", "asyncio does not run"),
  ],
)
def test_tests_that_cannot_run_here_are_named(tests, why):
  with pytest.raises(ValueError, match=why):
    score(GOOD, tests)


def test_fences_take_linear_time():
  long = 10**6
  for text in ("`" * long, "```" + " " * long + "`", "``` " * 10**5, "```\n" * 10**5, "x" * long + "```", ">" * long):
    start = time.monotonic()
    find_program(text, {"f"})
    assert time.monotonic() - start < 2

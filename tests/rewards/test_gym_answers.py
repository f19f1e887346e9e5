"""The rule `reasoning_gym`: what counts as the answer, and the audit of the scorers behind it."""

import json

import gym_audit
import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import Call, RuleContext
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.gym_answers import reasoning_gym, write
from grpo_jax.rewards.gym_tasks import OFFERED, RAISING, REFUSED
from grpo_jax.rewards.workers import WorkerPool

SETTINGS = {"workers": 1, "deadline_seconds": 20.0, "max_error_rate": 0.0}
CHEAP = ("chain_sum", "leg_counting", "spell_backward", "letter_counting", "prime_factorization", "number_sorting")


def answer(task, index=0, **config):
  return json.dumps({"task": task, "config": config, "seed": 3, "size": 10, "index": index})


def score(completion, gold, **options):
  return reasoning_gym(completion, Example("", gold), RuleContext(1, False, 1), **options)


@pytest.fixture
def pool(monkeypatch):
  monkeypatch.syspath_prepend(gym_audit.__file__.rpartition("/")[0])
  pool = WorkerPool(1, [gym_audit.RULE], deadline_seconds=5.0)
  yield pool
  pool.close()


def test_the_answer_is_found_where_the_options_say():
  gold = answer("chain_sum", 1, min_terms=2, max_terms=2)
  value = write(gold, {}).removeprefix("<answer>").removesuffix("</answer>")
  assert score(value, gold) == score(f"so <answer>0</answer> no: <answer> {value}\n</answer>.", gold) == 1.0
  assert score(f"x #### 0 #### {value}", gold, after="####") == 1.0
  assert score(f"#### {value}\nNext", gold, after="####", until="\n") == 1.0
  assert score(value, gold, after="####") == score("", gold) == score("<answer></answer>", gold) == 0.0
  assert score(f"Adding up:\n{value}", gold, last_line=True) == 1.0
  assert score(f"It is {value}", gold) == 0.0  # the scorer gives part marks, which do not count


def test_the_entry_is_made_from_its_config_seed_and_index():
  texts = {write(answer("chain_sum", i, min_terms=n, max_terms=n), {}) for i in range(3) for n in (2, 3)}
  assert len(texts) == 6


@pytest.mark.parametrize("bad", ["", "7", "[]", "{}", '{"task": "gcd"}', "\x00", "[" * 10**5, '{"task": []}'])
def test_an_answer_that_names_no_entry_is_an_error(bad):
  with pytest.raises(ValueError, match="names no reasoning-gym entry; give JSON"):
    score("7", bad)


def test_refused_and_unknown_tasks_are_errors_with_the_reason():
  for task, why in REFUSED.items():
    with pytest.raises(ValueError, match=f"{task!r} is not offered: {why[:20]}"):
      score("7", answer(task))
  with pytest.raises(ValueError, match="'nothing' is not offered: there is no such task"):
    score("7", answer("nothing"))


def test_the_table_is_about_the_tasks_that_there_are():
  from reasoning_gym.factory import DATASETS

  assert OFFERED.keys() | REFUSED.keys() == DATASETS.keys() - {"composite"} and not OFFERED.keys() & REFUSED.keys()
  assert OFFERED.keys() >= RAISING and all(mark < 1.0 for mark in OFFERED.values())


def test_self_test_and_nonsense_on_cheap_tasks():
  examples = [Example("", answer(task, i)) for task in CHEAP for i in range(3)]
  components = {
    "tags": {"rule": "reasoning_gym"},
    "after": {"rule": "reasoning_gym", "options": {"after": "Answer:", "until": "<end>"}},
  }
  with Rewards(components, **SETTINGS) as rewards:
    assert rewards.self_test(examples) == {"gold": 1.0, "wrong": 0.0, "n": len(examples)}
    with pytest.raises(ValueError, match="its scorer"):
      rewards.self_test([Example("", answer("coin_flip"))])
    assert nonsense(rewards, examples) == {(0.0, "")}


def nonsense(rewards, examples):
  """All (score, failure) that nonsense gets, by the rule."""
  texts = gym_audit.NONSENSE
  calls = [Call("reasoning_gym", text, example, RuleContext(1, False, 1)) for example in examples for text in texts]
  return {(outcome.score, outcome.failure) for outcome in rewards._pool.run(calls)}


def test_the_audit_finds_again_what_the_table_says(pool):
  for task in ("spell_backward", "complex_arithmetic", "prime_factorization"):
    found = gym_audit.audit(pool, task, entries=2)
    assert found["gold"] == 1.0
    assert found["junk"] == 1.0 if task in REFUSED else found["junk"] <= OFFERED[task]
    assert any("error" in kind for kind in found["failures"]) == (task in RAISING)


@pytest.mark.slow
def test_the_audit_of_every_task(pool):
  for task, mark in OFFERED.items():
    found = gym_audit.audit(pool, task)
    assert found["gold"] == 1.0 and found["junk"] <= mark + 1e-6, found
    assert any("error" in kind for kind in found["failures"]) == (task in RAISING), found


@pytest.mark.slow
def test_self_test_and_nonsense_on_every_task_offered():
  examples = [Example("", answer(task, i)) for task in OFFERED for i in range(5)]
  with Rewards({"gym": {"rule": "reasoning_gym"}}, **SETTINGS) as rewards:
    assert rewards.self_test(examples, n=len(examples)) == {"gold": 1.0, "wrong": 0.0, "n": len(examples)}
    assert nonsense(rewards, examples) == {(0.0, "")}

"""Countdown and reasoning-gym: solvable, deterministic, and split so that nothing is in both parts."""

import json
import re

import pytest

from grpo_jax.data.contamination import normalized
from grpo_jax.data.countdown import Countdown, is_heldout, written
from grpo_jax.data.gym import make_task
from grpo_jax.data.sources import MixtureSource, make_source


@pytest.mark.parametrize("options", [
  {}, {"count": 4, "high": 50, "words": True}, {"operations": "+-", "steps": True}, {"count": 2, "train_size": 100}])
def test_countdown_solutions_reach_the_target_with_each_number_once(options):
  problems = Countdown(**{"train_size": 300, "heldout_size": 40, **options})
  train, heldout = list(problems.examples("train")), list(problems.examples("heldout"))
  keys = []
  for example in train + heldout:
    problem = json.loads(example.answer)
    expression, careless = (text.split("]")[-1] for text in (example.chosen, example.rejected))
    assert eval(expression) == problem["target"] != eval(careless)
    assert sorted(map(int, re.findall(r"\d+", expression))) == sorted(problem["numbers"])
    assert example.solution == example.chosen and 1 <= problem["target"] <= 99
    keys.append((tuple(sorted(problem["numbers"])), problem["target"]))
    if problems.steps:
      assert all(eval(step.replace("=", "==")) for step in example.chosen[1:].split("]")[0].split(","))
  assert len(set(keys)) == len(keys) and [is_heldout(*key) for key in keys] == [False] * len(train) + [True] * 40
  assert list(problems.examples("heldout")) == heldout


@pytest.mark.parametrize("tree, text", [
  (("-", 9, ("-", 3, 1)), "9-(3-1)"), (("-", ("-", 9, 3), 1), "9-3-1"), (("*", 2, ("+", 3, 1)), "2*(3+1)"),
  (("/", 8, ("*", 2, 4)), "8/(2*4)"), (("+", 1, ("-", 3, 2)), "1+3-2"), (("*", 3, ("/", 8, 4)), "3*(8/4)"),
])
def test_brackets_where_they_are_needed(tree, text):
  assert written(tree) == text


def test_countdown_as_a_source(tmp_path):
  config = {"kind": "countdown", "data_dir": str(tmp_path), "train_size": 200, "heldout_size": 20, "slip": 0.5}
  train = make_source(config, "train")
  slips = [train[i].solution != train[i].chosen for i in range(200)]
  assert 60 < sum(slips) < 140 and re.fullmatch(r"\d+,\d+,\d+=\d+:", train[0].prompt)
  assert train[0] == next(iter(Countdown(train_size=200, heldout_size=20, slip=0.5).examples("train")))
  asked = make_source({**config, "words": True}, "heldout")[0]
  assert "make an expression that equals" in asked.prompt
  with pytest.raises(ValueError, match="train_size=10000 must not exceed the distinct problems"):
    make_source({"kind": "countdown", "data_dir": str(tmp_path), "count": 2, "high": 5}, "train")
  with pytest.raises(ValueError, match="count=9 must lie in 2 … 6"):
    make_source({"kind": "countdown", "count": 9}, "train")


GYM = {"kind": "reasoning_gym", "task": "chain_sum", "config": {"max_terms": 2, "max_digits": 2}, "train_size": 60,
       "heldout_size": 10}


def test_gym_entries_are_made_again_from_the_answer():
  parts = [make_source(GYM, split) for split in ("train", "heldout")]
  texts = [{normalized(part[i].prompt) for i in range(len(part))} for part in parts]
  assert [len(t) for t in texts] == [60, 10] and not texts[0] & texts[1]
  for part in parts:
    for i in (0, 7):
      example = part[i]
      recipe = json.loads(example.answer)
      assert set(recipe) == {"task", "config", "seed", "size", "index"} and recipe["index"] < recipe["size"]
      entry = make_task(recipe["task"], recipe["config"], recipe["seed"], recipe["size"])[recipe["index"]]
      assert (entry["question"], entry["answer"], "chain_sum") == (example.prompt, example.solution, example.source)
  again, other = make_source(GYM, "train"), make_source({**GYM, "seed": 1}, "train")
  assert again[3] == parts[0][3] != other[3]


def test_gym_tasks_in_equal_shares():
  tasks = {"leg_counting": {"max_animals": 4}, "chain_sum": {"max_terms": 2}}
  source = make_source({"kind": "reasoning_gym", "tasks": tasks, "train_size": 20}, "train")
  assert isinstance(source, MixtureSource) and source.weights == (1.0, 1.0)
  assert [part[0].source for part in source.sources] == ["chain_sum", "leg_counting"]


@pytest.mark.parametrize("options, words", [
  ({"task": "chain_summ"}, "task='chain_summ' must be one of"),
  ({"config": {"terms": 2}}, "config={'terms': 2} must be options of the task chain_sum"),
  ({"config": {"min_terms": 1, "max_terms": 1, "max_digits": 1}}, "train_size=60 must not exceed the distinct"),
  ({"tasks": {"leg_counting": {}}}, "one of the two must be given"),
  ({"seed": -1}, "seed=-1 must lie in 0"),
])
def test_gym_configs_that_cannot_work(options, words):
  with pytest.raises(ValueError) as error:
    make_source({**GYM, **options}, "train")
  assert words in str(error.value)

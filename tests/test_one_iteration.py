"""The iteration, the loop and the tasks are spelt once: who calls what, read from the sources."""

import ast
import collections
import functools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = {str(p.relative_to(ROOT)): p.read_text() for p in sorted((ROOT / "grpo_jax").rglob("*.py"))}
PROGRAMS = (
  "policy_step", "value_step", "make_experience", "reference_of", "critic_values", "take_rows", "end_iteration")
ELSEWHERE = {  # each for its own reason
  "make_experience": {"grpo_jax/tools/variants.py"},  # other rows' advantages, as weights of one gradient
  "end_iteration": {"grpo_jax/runs/supervised.py"},  # steps without a rollout
}


@functools.cache
def calls() -> dict[str, set[str]]:
  """{name: files that call it, or hand it to one that may call it, such as partial, jit or ops}."""
  found = collections.defaultdict(set)
  for file, source in SOURCES.items():
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
      for part in (call.func, *call.args):
        if isinstance(part, ast.Name | ast.Attribute):
          found[part.id if isinstance(part, ast.Name) else part.attr].add(file)
  return found


def users(name: str) -> set[str]:
  """Files that call a function."""
  return calls().get(name, set())


def test_users_are_found():
  assert users("tree_logps") >= {"grpo_jax/training/experience.py", "grpo_jax/training/look.py"}
  assert users("wilson") and not users("no_such_function")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_the_iteration_is_called_in_the_iteration_alone(name):
  assert users(name) - ELSEWHERE.get(name, set()) == {"grpo_jax/runs/iteration.py"}


def test_all_stages_have_one_loop():
  """Whoever trains hands a step to `loop`; nobody else resumes, steps and saves."""
  assert users("loop") - {"grpo_jax/sampling/generate.py"} == {f"grpo_jax/{name}.py" for name in (
    "runs/rl", "runs/supervised", "sweeps/vmapped")}
  for method in ("maybe_save", "resume(state", "warm_up(state"):
    callers = {file for file, source in SOURCES.items() if f"stage.{method}" in source}
    assert callers == {"grpo_jax/runs/loop.py"}, method


def test_a_task_is_read_in_one_place():
  parsing = re.compile(r'\btask\b\)?\.(startswith|endswith|split|remove)|\.task (==|!=|in) |"_then_"|"sft_then_')
  found = {file for file, source in SOURCES.items() if parsing.search(source)}
  assert found - {"grpo_jax/data/arithmetic.py"} == {"grpo_jax/config/stages.py"}  # its own `task` is a kind of problem


BEHIND_THE_DOOR = (
  "runs/iteration", "runs/ops", "runs/loop", "runs/collect", "runs/curriculum", "runs/signals", "runs/kept",
  "training/experience")


@pytest.mark.parametrize("name", BEHIND_THE_DOOR)
def test_stages_take_what_they_need_and_not_a_config_or_a_run(name):
  tree = ast.parse(SOURCES[f"grpo_jax/{name}.py"])
  names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
  names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
  assert names and not names & {"config", "run", "ConfigDict"}

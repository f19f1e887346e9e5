"""The doctor finds each planted fault in a real run, and nothing in the healthy default one."""

import pathlib

import jax
import jax.numpy as jnp
import pytest
import test_whole_runs as whole

from grpo_jax import main
from grpo_jax.config.defaults import default_config
from grpo_jax.metrics import read_rows
from grpo_jax.runs import rl
from grpo_jax.runs.doctor import CHECKS, Unhealthy, diagnose

ROOT = pathlib.Path(__file__).parents[2]
LIMITS = default_config().doctor
pytestmark = pytest.mark.usefixtures("one_device")

FAULTS = {
  "truncated": {"completion_buckets": (5,)},
  "no_signal": {"rewards.components": {"correct": {"rule": "faulty_rules:constant"}}},
  "verifier": {"rewards.components": {"correct": {"rule": "faulty_rules:broken"}}, "rewards.max_error_rate": 1.0},
  "kl": {"optimizer.learning_rate": 0.3},
  "reward_hacking": {
    "rewards.components": {"hack": {"rule": "faulty_rules:hackable"},
                           "correct": {"rule": "numeric", "weight": 0.0, "options": {"after": "]"}}},
    "evaluate.component": "hack", "evaluate.verifier": "correct"},
}


def faulty(changes, iterations=6):
  c = whole.tiny()
  c.task, c.train.iterations, c.evaluate.every, c.rewards.self_test = "rl", iterations, 0, 0
  with c.unlocked():
    c.update_from_flattened_dict({k: v for k, v in changes.items() if k != "rewards.components"})
    if "rewards.components" in changes:
      c.rewards.components = {name: {"weight": 1.0} | rule for name, rule in changes["rewards.components"].items()}
  return c


def findings(config, workdir):
  return {f["name"]: f for f in main.run(config, workdir)["findings"]}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path, capsys):
  found = findings(faulty(FAULTS[fault]), tmp_path)
  assert fault in found and found[fault]["evidence"] and found[fault]["advice"]
  assert f"FINDING {fault}: " in capsys.readouterr().out


def test_a_late_compilation_is_found_and_a_strict_run_stops_there(tmp_path, monkeypatch):
  original = rl.iterate

  def compiling(*args):
    if args[-1] == 3:
      jax.jit(lambda x: x * jnp.float32(0.123))(jnp.ones(77)).block_until_ready()
    return original(*args)

  c = faulty({"doctor.strict": True, "doctor.truncated": 1.0, "checkpoint.every": 1})
  monkeypatch.setattr(rl, "iterate", compiling)
  with pytest.raises(Unhealthy, match=r"rl step 3: FINDING recompiled: .* compiled at 3"):
    main.run(c, tmp_path)
  trained = [r["step"] for r in read_rows(tmp_path / "rl" / "metrics.jsonl") if r["kind"] == "train"]
  assert trained == [1, 2, 3]
  monkeypatch.setattr(rl, "iterate", original)
  summary = main.run(c, tmp_path)  # the same command goes on from what was saved, and does not say it again
  assert summary["end"]["step"] == 6


def test_the_healthy_default_run_has_no_findings():
  for log in ("sft_metrics.jsonl", "metrics.jsonl"):
    rows = read_rows(ROOT / "docs" / "results" / "arithmetic" / log)
    assert len(rows) > 150 and diagnose(rows, LIMITS) == []


def lines(n, **numbers):
  named = {name.replace("__", "/"): number for name, number in numbers.items()}
  return [{"step": i + 1, "kind": "train", **{name: number(i) for name, number in named.items()}} for i in range(n)]


@pytest.mark.parametrize("name, numbers, step", [
  ("truncated", {"length__truncated": lambda i: 0.3}, 5),
  ("truncated", {"length__truncated": lambda i: 0.04 * i}, 9),  # the mean of 0.12 … 0.28 is at the limit
  ("kl", {"policy__kl": lambda i: 2.0 * (i >= 10)}, 13),
  ("entropy", {"policy__entropy": lambda i: 1.0 if i < 10 else 0.05, "reward__total": lambda i: 0.1}, 15),
  ("sampler_gap", {"policy__sampler_gap": lambda i: 0.1}, 5),
  ("stalled", {"time__iteration": lambda i: 400.0 if i == 7 else 2.0}, 8),
  ("skipped", {"update__skipped": lambda i: float(i == 4)}, 5),
])
def test_a_finding_is_made_once_when_it_begins(name, numbers, step):
  assert [(f.name, f.step) for f in diagnose(lines(20, **numbers), LIMITS)] == [(name, step)]


def test_a_finding_that_ceases_may_come_again():
  found = diagnose(lines(40, policy__kl=lambda i: 3.0 * (i // 10 % 2)), LIMITS)
  assert [f.name for f in found] == ["kl", "kl"]


@pytest.mark.parametrize("numbers", [
  {"groups__no_signal": lambda i: 0.95, "reward__correct": lambda i: 0.97},  # solved
  {"policy__entropy": lambda i: float(i < 10), "reward__correct": lambda i: 0.95, "reward__total": lambda i: 1.0},
  {"policy__entropy": lambda i: 1.0 if i < 10 else 0.01},  # of a supervised stage
  {"time__iteration": lambda i: 20.0 if i == 7 else 0.1},  # a hiccup of a quick run
  {"length__truncated": lambda i: 0.9 * (i == 9)},  # one line
  {"policy__kl": lambda i: float("nan")},
])
def test_what_is_no_finding(numbers):
  assert diagnose(lines(20, **numbers), LIMITS) == []


def test_every_check_has_a_test():
  tested = {*FAULTS, "recompiled", "truncated", "kl", "entropy", "sampler_gap", "stalled", "skipped"}
  assert set(CHECKS) == tested

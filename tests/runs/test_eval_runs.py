"""task=eval over a finished run and its exports; converting and talking to them; the hold-out verifier's alarm."""

import io
import json

import jax
import numpy as np
import pytest
import test_whole_runs as whole

from grpo_jax import main
from grpo_jax.evaluation.heldout import Answers, verified
from grpo_jax.metrics import read_rows
from grpo_jax.models.load import load_any
from grpo_jax.runs.model import load_run
from grpo_jax.tools import convert, sample

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def finished(one_device, tmp_path_factory):
  """A short run and its own last evaluation."""
  c, path = whole.tiny(), tmp_path_factory.mktemp("runs") / "trained"
  c.completion_buckets, c.prompt_buckets, c.train.iterations = (9,), (6,), 2
  main.run(c, path)
  return c, path, read_rows(path / "rl" / "metrics.jsonl")[-1]


def evaluated(c, model, folder):
  c = c.copy_and_resolve_references()
  c.task, c.model.path = "eval", str(model)
  with c.unlocked():
    c.rewards.components.check = {"rule": "exact", "weight": 0.0, "options": {"after": "]"}}
  c.evaluate.verifier = "check"
  return main.run(c, folder)["heldout"]


def test_evaluating_a_run_gives_its_own_last_figures(finished, tmp_path):
  c, path, last = finished
  metrics = evaluated(c, path, tmp_path)
  for name in ("greedy", "greedy_low", "pass_rate", "pass@2", "pass@2_high", "length", "truncated"):
    assert metrics[name] == last[name], name
  assert metrics["verifier"] == metrics["greedy"] and metrics["alarm/verifier"] == 0
  assert metrics["self_test/gold"] == 1 and "maj@2" in metrics
  rows = [json.loads(line) for line in (tmp_path / "eval" / "heldout.jsonl").read_text().splitlines()]
  assert len(rows) == c.evaluate.problems * (1 + c.evaluate.samples)
  greedy = [row["right"] for row in rows if row["member"] == 0]
  assert np.mean(greedy) == metrics["greedy"]
  assert "| heldout | 16 |" in (tmp_path / "eval" / "table.md").read_text()


def test_what_is_converted_says_the_same(finished, tmp_path):
  c, path, last = finished
  hf, orbax, again = (str(tmp_path / name) for name in ("hf", "orbax", "again"))
  assert convert.main(["--source", str(path), "--target", hf]) == 0
  assert convert.main(["--source", hf, "--target", orbax, "--to", "checkpoint"]) == 0
  assert convert.main(["--source", orbax, "--target", again]) == 0
  run = load_run(str(path)).weights()
  for name in ("hf", "orbax", "again"):
    jax.tree.map(np.testing.assert_array_equal, run, load_any(tmp_path / name)[1])
  assert evaluated(c, tmp_path / "orbax", tmp_path / "eval")["greedy"] == last["greedy"]


def test_folders_that_cannot_be_read_are_named(finished, tmp_path, capsys):
  _, path, _ = finished
  assert convert.main(["--source", f"{path}@77", "--target", str(tmp_path / "x")]) == 1
  assert "has no checkpoint 77, it has ['2']" in capsys.readouterr().err
  assert sample.main([str(tmp_path), "--prompt", "1+2="]) == 1
  assert "config.json" in capsys.readouterr().err


def test_talking_to_a_run(finished, monkeypatch, capsys):
  _, path, _ = finished
  options = [str(path), "--max-new-tokens", "5", "--seed", "3"]
  assert sample.main([*options, "--prompt", "12+34=", "--samples", "2"]) == 0
  first = capsys.readouterr().out
  assert first.count("---") == 1
  assert sample.main([*options, "--prompt", "12+34=", "--samples", "2"]) == 0
  assert capsys.readouterr().out == first  # the seed says it all
  monkeypatch.setattr("sys.stdin", io.StringIO("12+34=\nx\n/quit\n9+9=\n"))
  assert sample.main([*options, "--temperature", "0"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2 and lines[1].startswith("error: text 'x'")


def test_the_alarm_is_raised_where_only_the_reward_is_pleased():
  scores = {"correct": np.ones((4, 1)), "check": np.array([[1.0], [0], [0], [0]])}
  answers = Answers([], [], scores, np.ones((4, 1)), np.zeros((4, 1)))
  assert verified(answers, "correct", "check", 0.1) == {"verifier": 0.25, "verifier_gap": 0.75, "alarm/verifier": 1.0}
  assert verified(answers, "correct", "check", 0.8)["alarm/verifier"] == 0

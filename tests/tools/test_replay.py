"""A finished run, executed again: the same bytes from a checkpoint and from its beginning; other rows on its tokens."""

import csv
import dataclasses
import functools
import json
import random
import runpy
import time

import jax
import numpy as np
import pytest

from grpo_jax import main
from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.reports.rollouts import kept_steps, read_rollout, rollout_file, write_rollout
from grpo_jax.runs import setup
from grpo_jax.tools import replay, variants, view

ITERATIONS, SAVED = 6, 3


def config():
  """SFT, then RL with one update per rollout; iterations 3 and 6 are saved, all are kept."""
  c = runpy.run_path("tests/runs/tiny_run.py")["get_config"]()
  c.model.num_layers, c.prompt_buckets, c.completion_buckets, c.sft.steps = 1, (6,), (9,), 40
  c.train.iterations, c.train.minibatch_prompts, c.train.micro_prompts = ITERATIONS, 0, 4
  c.evaluate.every, c.evaluate.problems, c.evaluate.samples, c.rewards.self_test = 0, 8, 0, 4
  c.checkpoint.every, c.log.rollouts = SAVED, 1
  return c


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(setup, "make_mesh", functools.partial(make_mesh, devices=jax.devices()[:1]))
    folder = tmp_path_factory.mktemp("run")
    main.run(config(), folder)
    yield folder


def replayed(workdir, step, *more):
  return replay.main(["--workdir", str(workdir), f"--step={step}", *more])


def test_any_iteration_is_executed_again_bit_for_bit(workdir, capsys):
  """One after a checkpoint, and one before the first, which begins with the weights of SFT."""
  assert kept_steps(workdir) == list(range(1, ITERATIONS + 1))
  files = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}
  chosen = random.Random(time.time_ns())
  for step, first in ((chosen.randint(SAVED + 1, ITERATIONS), SAVED + 1), (chosen.randint(1, SAVED), 1)):
    assert replayed(workdir, step) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert "Nothing differs" in said and "DIFFERS" not in said
    assert said.count("same") == 6 * (step - first + 1)
  assert files == {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}


def test_what_differs_is_named_with_its_place(workdir, capsys):
  path = rollout_file(workdir, SAVED + 1)
  whole = path.read_bytes()
  kept = read_rollout(path)
  tokens, state = kept.tokens_BGT.copy(), kept.state.copy()
  tokens[2, 1, 0] += 1
  state[-1, 0] ^= 1
  more = kept.signals["rewards_BG"] + np.eye(*kept.lengths_BG.shape, dtype=np.float32)
  changed = {"tokens_BGT": tokens, "state": state, "signals": {**kept.signals, "rewards_BG": more}}
  write_rollout(path, dataclasses.replace(kept, **changed))
  assert replayed(workdir, SAVED + 1) == 1
  said = " ".join(capsys.readouterr().out.split())
  numbers = f"{tokens[2, 1, 0]} recorded, {tokens[2, 1, 0] - 1} replayed (1 differ)"
  assert f"tokens differ first at prompt 2, completion 1, token 0: {numbers}" in said
  assert "rewards differ first at prompt 0, completion 0" in said and "the state after it differs in 1 arrays" in said
  path.write_bytes(whole[:-200] + b"x" * 200)
  assert replayed(workdir, SAVED + 1) == 1 and "cannot be read" in capsys.readouterr().err
  path.unlink()
  log = workdir / "rl" / "metrics.jsonl"
  lines = [json.loads(line) for line in log.read_text().splitlines()]
  before = log.read_text()
  next(row for row in lines if row["step"] == SAVED + 1)["policy/entropy"] += 1e-9
  log.write_text("".join(json.dumps(row) + "\n" for row in lines))
  assert replayed(workdir, SAVED + 1) == 1
  said = capsys.readouterr().out
  assert "policy/entropy is" in said and "was not kept" in said
  log.write_text(before)
  path.write_bytes(whole)


def test_other_rows_on_the_same_tokens(workdir, capsys, monkeypatch):
  seen = []
  measured = variants.Measured.moved
  monkeypatch.setattr(variants.Measured, "moved", lambda self, spec: seen.append(measured(self, spec)) or seen[-1])
  steps = []
  compared = replay.compare_rows
  monkeypatch.setattr(replay, "compare_rows", lambda *args: steps.append(args[1]) or compared(*args))
  assert replayed(workdir, ITERATIONS, "--variants=grpo,dr_grpo,run:beta=1.0,remax,ppo,grpo_process") == 0
  said = capsys.readouterr().out
  out = rollout_file(workdir, ITERATIONS).with_name(f"{ITERATIONS:06}_variants.csv")
  rows = {row["row"]: row for row in csv.DictReader(out.open())}
  assert float(rows["grpo"]["gradient cosine"]) == float(rows["grpo"]["update cosine"]) == 1
  assert float(rows["grpo"]["gradient norm ratio"]) == 1 and float(rows["run"]["prompt variance"]) > 0
  for name in ("dr_grpo", "run:beta=1.0"):
    assert -1 < float(rows[name]["gradient cosine"]) < 0.9999 and float(rows[name]["gradient norm ratio"]) != 1
    assert name in said
  for name, why in (("remax", "greedy completion"), ("ppo", "critic"), ("grpo_process", "rewards.step_ends")):
    assert why in rows[name]["left out"] and f"left out: {name}" in said
  assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
  real, done = seen[0], steps[0]  # the run made one update of the whole rollout: this one
  actual = jax.tree.map(np.subtract, done.after.params, done.before.params)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-7), actual, real[1])


def test_spread_by_hand():
  """Parts (1, 0) and (0, 3): their mean is (.5, 1.5), |c - g|² is 2.5 for both, variance 5, |g|² 2.5."""
  found = variants.spread({"w": np.array([0.5, 1.5], np.float32)}, np.array([1.0, 3.0]))
  assert found == {"prompt variance": pytest.approx(5), "noise scale": pytest.approx(1)}


def test_bad_input_is_one_sentence(workdir, tmp_path, capsys):
  for step in (0, ITERATIONS + 1):
    assert replayed(workdir, step) == 1
    assert f"--step={step} must be one of the run's iterations, 1 to {ITERATIONS}" in capsys.readouterr().err
  assert replayed(tmp_path, 1) == 1 and "not the folder of a run" in capsys.readouterr().err
  for text, words in (("grop", "'grop' is no row"), ("run:betta=1", "did you mean 'algorithm.beta'"),
                      ("run:beta=x", "must be")):
    with pytest.raises(ValueError, match=words):
      variants.row_config(replay.run_config(workdir), text)


def test_the_page_of_the_run(workdir, capsys):
  assert view.main(["--workdir", str(workdir), "--steps=2-4,6", "--prompts=3"]) == 0
  page = (workdir / "samples.html").read_text()
  data = json.loads(page.split('id="data">')[1].split("</script>")[0])
  assert [s["step"] for s in data["steps"]] == [2, 3, 4, 6] and {len(s["prompts"]) for s in data["steps"]} == {3}
  assert {q["key"] for q in data["quantities"]} >= {"advantage", "share", "log_ratio", "clip", "kl", "entropy"}
  assert ["<eos>", 1, 2] in data["pieces"]
  assert view.main(["--workdir", str(workdir), "--steps=9"]) == 1
  assert "iteration 9 was not kept" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind, variant", [("critic", "ppo"), ("groups", "dr_grpo"), ("remax", "remax")])
def test_rows_that_keep_more_are_replayed_and_asked_too(kind, variant, tmp_path, workdir, capsys):
  """Critic, adaptive beta, resampling and curriculum; dynamic groups; a greedy member. `workdir`: one device."""
  c = runpy.run_path("tests/runs/tiny_rows.py")["get_config"]("critic" if kind == "critic" else "groups")
  if kind == "remax":
    c.sampling.group_sizes, c.algorithm.preset = (), "remax"
  c.model.num_layers, c.train.iterations, c.log.rollouts = 1, 4, 2
  main.run(c, tmp_path)
  assert replayed(tmp_path, 4, f"--variants={variant},rloo") == 0
  said = capsys.readouterr().out
  assert "Nothing differs" in said and "DIFFERS" not in said and said.count("same") == 6 + 1
  rows = {row["row"]: row for row in csv.DictReader((tmp_path / "rl/rollouts/000004_variants.csv").open())}
  assert float(rows["run"]["gradient cosine"]) == 1 and abs(float(rows["rloo"]["gradient cosine"])) < 0.9999
  assert float(rows[variant]["gradient norm"]) > 0
  assert view.main(["--workdir", str(tmp_path)]) == 0

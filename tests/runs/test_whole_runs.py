"""Whole runs in this process: shipped configs shrunk, nothing compiled after warm-up, health metrics, export."""

import functools
import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest
from pod import stopping

from grpo_jax import main
from grpo_jax.config.identity import identity
from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.distributed.preemption import Preempted
from grpo_jax.metrics import read_rows
from grpo_jax.runs import setup
from grpo_jax.runs.stage import Stage

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("one_device")


def load(path, *args):
  spec = importlib.util.spec_from_file_location("config_file", ROOT / path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(*args)


def tiny():
  config = load("tests/runs/tiny_run.py")
  config.train.iterations, config.sft.steps = 4, 2
  return config


def gsm8k():
  """The shipped config on a 260K-parameter model and twenty of its own problems."""
  c = load("configs/gsm8k.py", str(ROOT / "tests/data/stories260k"))
  sample = str(ROOT / "tests/data/gsm8k_sample.jsonl")
  with c.unlocked():
    del c.data.heldout_path
    c.data.path, c.data.heldout_fraction = sample, 0.3
    parts = {name: {**c.data.to_dict(), "source": name} for name in "ab"}  # two sources: metrics of each
    c.data = {"kind": "mixture", "sources": parts, "weights": {"a": 1.0, "b": 1.0}}
  c.prompt_buckets, c.completion_buckets = (416,), (8, 16)
  c.train.iterations, c.train.prompts, c.train.micro_prompts, c.sampling.group_size = 2, 2, 1, 2
  c.evaluate.problems, c.evaluate.batch, c.rewards.workers, c.rewards.self_test = 2, 2, 1, 4
  c.log.tensorboard = False
  return c


@pytest.fixture
def compilations(monkeypatch):
  """Compilations inside and outside the loops of stages: {"warm": n, "late": n}."""
  count, state = {"warm": 0, "late": 0}, {"phase": "warm"}

  def listen(name, seconds, **_):
    if name == "/jax/core/compile/backend_compile_duration":
      count[state["phase"]] += 1

  for method, phase in (("resume", "late"), ("finish", "warm")):
    original = getattr(Stage, method)

    def switched(self, *args, original=original, phase=phase):
      state["phase"] = phase
      return original(self, *args)

    monkeypatch.setattr(Stage, method, switched)
  jax.monitoring.register_event_duration_secs_listener(listen)
  yield count
  state["phase"] = "over"
  count["over"] = 0


@pytest.mark.parametrize("config", [tiny, gsm8k])
def test_nothing_compiles_after_warm_up(config, tmp_path, compilations):
  c = config()
  main.run(c, tmp_path)
  assert compilations["warm"] > 4
  assert compilations["late"] == 0
  rows = [r for r in read_rows(tmp_path / "rl/metrics.jsonl") if r["kind"] == "train"]
  assert len(rows) == c.train.iterations
  for row in rows:
    assert np.isfinite(row["loss/policy"])
    assert row["policy/sampler_gap_max"] <= 1e-4
    assert 0 <= row["groups/no_signal"] <= 1 and 0 <= row["length/truncated"] <= 1
  if config is gsm8k:
    assert all(row["source/a/share"] == 0.5 and row["source/b/reward"] == 0 for row in rows)
    last = [r for r in read_rows(tmp_path / "rl/metrics.jsonl") if r["kind"] == "eval"][-1]
    assert last["source/a/greedy"] == last["source/b/greedy"] == 0 == last["heldout/in_training"]
    assert rows[-1]["groups/no_signal"] == 1  # far too small to solve a problem, and the metric says so


def test_the_sampler_on_its_own_layout_samples_the_same(tmp_path, monkeypatch):
  """Parameters split over fsdp in training and whole in sampling: same tokens, same losses, nothing compiled late."""
  monkeypatch.setattr(setup, "make_mesh", functools.partial(make_mesh, devices=jax.devices()[:4]))
  rows = {}
  for layout in ("same", "gathered"):
    c = tiny()
    c.task, c.mesh.fsdp, c.mesh.tensor, c.mesh.sampler = "rl", 2, 2, layout
    c.train.iterations, c.completion_buckets, c.prompt_buckets, c.evaluate.every = 2, (9,), (6,), 0
    main.run(c, tmp_path / layout)
    rows[layout] = [r for r in read_rows(tmp_path / layout / "rl/metrics.jsonl") if r["kind"] == "train"]
  for same, gathered in zip(*rows.values(), strict=True):
    for name in ("length/mean", "reward/total", "loss/policy", "policy/entropy", "update/grad_norm"):
      np.testing.assert_allclose(gathered[name], same[name], rtol=1e-5, atol=1e-7)


ROWS = {
  "greedy": {"preset": "remax", "kl": "exact", "kl_place": "loss", "truncated": "mask"},
  "steps": {"preset": "grpo_dpo", "advantage": "process", "surrogate": "kl_cov", "ratio": "sequence_token"},
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_ask_for_more_run_and_compile_nothing_late(name, tmp_path, compilations):
  c = tiny()
  c.algorithm.update(ROWS[name])
  c.rewards.step_ends = "]"
  c.train.iterations, c.completion_buckets, c.prompt_buckets, c.task = 2, (9,), (6,), "rl"
  main.run(c, tmp_path)
  assert compilations["late"] == 0
  rows = [r for r in read_rows(tmp_path / "rl/metrics.jsonl") if r["kind"] == "train"]
  assert len(rows) == 2 and all(np.isfinite(r["loss/policy"]) and r["policy/sampler_gap_max"] <= 1e-4 for r in rows)


def test_dynamic_group_size_follows_the_pass_rate_and_compiles_nothing_late(tmp_path, compilations):
  c = tiny()
  c.sampling.group_sizes, c.sampling.group_signal, c.task = (2, 4), 0.5, "rl"
  c.train.iterations, c.completion_buckets, c.prompt_buckets = 4, (9,), (6,)
  main.run(c, tmp_path)
  assert compilations["late"] == 0
  rows = [r for r in read_rows(tmp_path / "rl/metrics.jsonl") if r["kind"] == "train"]
  sizes = [r["groups/size"] for r in rows]
  assert sizes[0] == 2 and sizes[-1] > 2  # a pass rate of a half needs two members; one near zero as many as there are
  p = 0.5
  for row, size in zip(rows, sizes, strict=True):
    assert size == next((n for n in (2, 3) if 1 - p**n - (1 - p) ** n >= 0.5), 4)
    p = 0.8 * p + 0.2 * row["reward/correct"]


@pytest.mark.parametrize("kind", ["dpo", "reward_model"])
def test_preference_stages_learn_resume_and_are_judged(kind, tmp_path, compilations, monkeypatch):
  c = tiny()
  c.task, c.preference.steps, c.preference.batch, c.preference.micro_batch = kind, 12, 16, 8
  c.optimizer.learning_rate, c.checkpoint.every = 3e-3, 4
  summary = main.run(c, tmp_path / "whole")
  assert compilations["late"] == 0
  train = [r for r in read_rows(tmp_path / f"whole/{kind}/metrics.jsonl") if r["kind"] == "train"]
  assert train[-1]["loss/pairs"] < train[0]["loss/pairs"]
  np.testing.assert_allclose(train[0]["loss/pairs"], 0.6931472, atol=1e-6)  # equal margins
  assert summary["end"]["step"] == 12 and summary["start"]["problems"] == 16
  if kind == "reward_model":  # it resumes by the same code
    return
  with monkeypatch.context() as patch, pytest.raises(Preempted):
    patch.setattr(Stage, "maybe_save", stopping(kind, 8))
    main.run(c, tmp_path / "cut")
  main.run(c, tmp_path / "cut")
  without_time = lambda rows: [{k: v for k, v in r.items() if not k.startswith("time/")} for r in rows]  # noqa: E731
  cut, whole = (without_time(read_rows(tmp_path / f"{name}/{kind}/metrics.jsonl")) for name in ("cut", "whole"))
  assert cut == whole


def test_summary_curve_and_export(tmp_path):
  config = tiny()
  config.checkpoint.export = True
  summary = main.run(config, tmp_path)
  assert {"start", "end", "greedy_gain"} <= set(summary) == set(json.loads((tmp_path / "summary.json").read_text()))
  assert (tmp_path / "learning_curve.png").read_bytes()[:4] == b"\x89PNG"
  from grpo_jax.models.load import load_any

  cfg, _, tokenizer = load_any(tmp_path / "export")
  assert cfg.num_layers == config.model.num_layers
  assert tokenizer.decode(tokenizer.encode("12+3=", add_special_tokens=False)).replace(" ", "") == "12+3="


def test_identity_ignores_what_only_watches_and_sees_what_computes():
  a, b = tiny(), tiny()
  b.log.every = 7
  assert identity(a) == identity(b)
  b.algorithm.beta = 0.01
  assert identity(a) != identity(b)

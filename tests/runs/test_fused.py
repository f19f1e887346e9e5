"""Iterations that are one program: the same run as from the host, K iterations a dispatch, nothing on the host."""

import gzip
import json
import os
import re
import signal
import subprocess

import jax
import numpy as np
import pytest
import tiny_fused
from killed import ROOT, command, environment, leaves, rows

from grpo_jax import main
from grpo_jax.distributed.preemption import Preempted
from grpo_jax.runs.fused import compile_fused, feed, fused, many, stretch, token_rewards
from grpo_jax.runs.ops import Compile, Run
from grpo_jax.runs.parts import RLParts
from grpo_jax.runs.setup import make_setup
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.validate import validate

pytestmark = pytest.mark.usefixtures("one_device")


def config(**changes):
  c = tiny_fused.get_config()
  c.update_from_flattened_dict(changes)
  return c


@pytest.fixture(scope="module")
def whole(one_device, tmp_path_factory):
  """The folder of a fused run that nothing disturbed."""
  workdir = tmp_path_factory.mktemp("whole")
  main.run(config(), workdir)
  return workdir


def agree(fused, host):
  """Same samples, rewards and draws; what is computed from them to 1e-6, as XLA without optimizations leaves it."""
  assert [(r["step"], r["kind"]) for r in fused] == [(r["step"], r["kind"]) for r in host]
  for mine, theirs in zip(fused, host, strict=True):
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
      if re.match("loss|policy|update|critic", name):
        np.testing.assert_allclose(mine[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
      else:
        assert mine[name] == value, name


def test_a_fused_run_is_the_run_from_the_host(whole, tmp_path):
  main.run(config(**{"train.fused_iterations": 0}), tmp_path)
  fused = rows(whole, "rl")
  agree(fused, rows(tmp_path, "rl"))
  train = [r for r in fused if r["kind"] == "train"]
  assert [r["step"] for r in train] == list(range(1, 8))
  assert [r["step"] for r in fused if r["kind"] == "eval"] == [0, 4, 7]
  assert all(r["groups/no_signal"] < 1 and r["reward/holds"] > 0 for r in train)
  assert sum(r["data/dropped"] for r in train) > 0


ROWS = {
  "ppo": {"algorithm.preset": "ppo", "algorithm.beta_control": "adaptive", "train.minibatch_prompts": 0},
  "remax": {"algorithm.preset": "remax", "algorithm.kl": "exact", "algorithm.kl_place": "loss"},
}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_rows_that_ask_for_more_are_fused_too(row, tmp_path):
  for K in (0, 4):
    main.run(config(**ROWS[row], **{"train.fused_iterations": K}), tmp_path / str(K))
  agree(*(rows(tmp_path / name, "rl") for name in "40"))


@pytest.mark.slow
def test_adapters_are_fused_too(whole, tmp_path):
  lora = {"model.path": str(whole), "lora.rank": 2, "train.iterations": 3}
  for K in (0, 4):
    main.run(config(**lora, **{"train.fused_iterations": K}), tmp_path / str(K))
  agree(*(rows(tmp_path / name, "rl") for name in "40"))


@pytest.mark.slow
def test_with_the_compiler_as_users_have_it_both_are_equal_bit_for_bit(tmp_path, monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "")
  for K in (0, 4):
    options = [f"--config.train.fused_iterations={K}"]
    done = subprocess.run([*command(tmp_path / str(K), "tiny_fused.py"), *options], cwd=ROOT, env=environment(),
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
  assert rows(tmp_path / "4", "rl") == rows(tmp_path / "0", "rl")
  assert leaves(tmp_path / "4", "rl") == leaves(tmp_path / "0", "rl")


def test_a_run_asked_to_stop_goes_on_bit_for_bit(whole, tmp_path, monkeypatch):
  log = Stage.log

  def asked(self, step, kind, *rest):
    log(self, step, kind, *rest)
    if (step, kind) == (3, "train"):
      os.kill(os.getpid(), signal.SIGTERM)

  with monkeypatch.context() as patch, pytest.raises(Preempted, match="saved rl step 3 of 7"):
    patch.setattr(Stage, "log", asked)
    main.run(config(), tmp_path)
  main.run(config(), tmp_path)
  assert rows(tmp_path, "rl") == rows(whole, "rl")
  assert leaves(tmp_path, "rl") == leaves(whole, "rl")


def dispatches(folder) -> int:
  """Executables that a recorded profile saw run."""
  (file,) = folder.glob("**/*.trace.json.gz")
  events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
  return sum("ExecuteHelper" in event.get("name", "") for event in events)


def test_k_iterations_are_one_dispatch_of_a_program_without_the_host(tmp_path):
  c = config()
  setup = make_setup(c)
  programs = Compile(setup.mesh)
  parts, rewards = RLParts.of(setup), token_rewards(setup)
  state, feeds = parts.fresh_state(), feed(parts, rewards, 4, 0, 0, 4).feeds
  compile_fused(programs, parts, rewards, state)
  (hlo,) = (program.as_text() for key, program in programs.executables.items() if key[0][0] is many)
  assert "while" in hlo
  assert not re.search(r"callback|\b(infeed|outfeed|send|recv)\b", hlo)
  run, options = Run(programs.executables), jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # in a process that has run much, tracing Python takes minutes
  with jax.profiler.trace(str(tmp_path), profiler_options=options):
    state, told = jax.block_until_ready(fused(run, parts, rewards, state, feeds, np.int32(4)))
  assert dispatches(tmp_path) == 1
  assert int(state.iteration) == 4 and told.rewards_BG.shape == (4, 8, 4)


def test_stretches_end_where_the_run_saves_evaluates_or_ends():
  i, ends = 0, []
  while i < 7:
    i += stretch(config(), i)
    ends.append(i)
  assert ends == [3, 4, 6, 7]


@pytest.mark.parametrize("key, value, words", [
  ("train.fused_iterations", -1, "must be a whole number in [0, 1e5]"),
  ("train.resample_attempts", 2, "must be 0"),
  ("sampling.group_sizes", (2, 4), "must be ()"),
  ("curriculum.low", 0.1, "must be 0.0"),
  ("mesh.sampler", "gathered", "must be 'same'"),
  ("prompt_buckets", (5, 6), "must be a single length"),
  ("completion_buckets", (6, 9), "must be a single length"),
  ("algorithm.advantage", "process", "on the host"),
])
def test_what_needs_the_host_is_refused(key, value, words):
  c = config(**{"rewards.step_ends": "]", key: value})
  with pytest.raises(ValueError) as error:
    validate(c)
  message = str(error.value)
  assert message.startswith(f"{key}={value!r}") and words in message
  assert key == "train.fused_iterations" or "train.fused_iterations=0" in message


def test_a_rule_without_a_form_on_the_device_is_refused():
  c = config()
  with c.unlocked():
    c.rewards.components.correct = {"rule": "numeric"}
  with pytest.raises(ValueError, match=r"components\.correct\.rule='numeric' has no form on the device; choose one"):
    validate(c)

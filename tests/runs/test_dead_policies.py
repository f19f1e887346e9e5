"""What is not finite is refused where it arises, counted, and never ends as a run that is done."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file

from grpo_jax.config.defaults import default_config
from grpo_jax.models.hf_io import load_hf, save_hf
from grpo_jax.models.layers import Head
from grpo_jax.models.logps import hidden_logps
from grpo_jax.runs.claim import claim
from grpo_jax.runs.faults import NothingLearned
from grpo_jax.runs.report import write_report
from grpo_jax.runs.stage import Stage
from grpo_jax.sampling.draw import sample
from grpo_jax.training.optimizer import OptimizerSpec, apply_gradients
from grpo_jax.training.state import new_state


@pytest.mark.parametrize("changes", [
  {"learning_rate": 1e38}, {"learning_rate": np.inf}, {"b1": 1.0}, {"b2": np.nan}, {"weight_decay": np.nan}])
def test_an_update_that_would_leave_numbers_that_are_not_finite_is_refused(changes):
  state = new_state({"w": jnp.full((3,), 10.0)}, 0, reference=False)
  spec = OptimizerSpec(**({"learning_rate": 0.1, "weight_decay": 1.0} | changes))
  after, metrics = jax.jit(apply_gradients)(state, {"w": jnp.ones(3)}, spec)
  kept = [jax.tree.leaves((s.params, s.opt_state)) for s in (after, state)]
  for new, old in zip(*kept, strict=True):
    np.testing.assert_array_equal(new, old)
  assert int(metrics["update/skipped"][0]) == int(after.skipped) == 1 and int(metrics["update/applied"][0]) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_sampler_flags_a_row_that_is_not_finite_and_stays_in_the_vocabulary(bad):
  token, logp = jax.jit(sample)(jnp.asarray([[1, bad, 3, 4], [1, 2, 3, 4.0]]), jnp.asarray([0.5, 0.5]))
  assert 0 <= int(token[0]) < 4 and np.isnan(logp[0]) and np.isfinite(logp[1])


def test_the_entropy_of_a_token_that_cannot_come():
  head = Head(jnp.asarray([[0.0, 0.0, -jnp.inf]]))
  one = jnp.ones((1, 1, 1), bool)
  logp, entropy = hidden_logps(jnp.ones((1, 1, 1, 1)), head, jnp.zeros((1, 1, 1), jnp.int32), one, 1.0)
  np.testing.assert_allclose([float(logp.sum()), float(entropy.sum())], [-np.log(2), np.log(2)], rtol=1e-6)


def test_a_weight_that_is_not_finite_is_refused_by_name(tmp_path):
  cfg = tiny.config(num_layers=2)
  path = save_hf(tmp_path / "m", cfg, tiny.params(cfg)) / "model.safetensors"
  name = "model.layers.1.mlp.down_proj.weight"
  tensors = load_file(path)
  tensors[name][0, 0] = np.nan
  save_file(tensors, path, metadata={"format": "pt"})
  with pytest.raises(ValueError, match=f"not finite .*{name}"):
    load_hf(path.parent)


@pytest.mark.parametrize("applied, stops_at", [([0] * 9, 3), ([1, 0, 0, 1, 0, 0, 1, 0, 0], None), ([0, 0], 2)])
def test_a_stage_stops_where_no_update_is_made(tmp_path, applied, stops_at):
  config = default_config()
  config.train.max_skips, config.log.tensorboard = 3, False
  stage, state, reached = Stage(tmp_path, config, total=len(applied), name="rl"), {"w": jnp.zeros(())}, 0
  stage.resume(state)
  try:
    for step, one in enumerate(applied, 1):
      reached = step
      stage.log(step, "train", {"update/applied": one, "update/skipped": 1 - one}, "")
    assert stops_at is None
  except NothingLearned as error:
    assert reached == stops_at and "not finite" in str(error)
  finally:
    stage._leave()


def test_a_run_without_any_signal_does_not_end_as_done(tmp_path, capsys):
  config = default_config()
  config.train.max_skips = 2
  claim(tmp_path, config)
  (tmp_path / "rl").mkdir()
  for name, values, done in (("groups/no_signal", [1.0], True), ("groups/no_signal", [1.0, 1.0], False),
                             ("groups/no_signal", [1.0, 0.9], True), ("update/applied", [0.0, 0.0], False),
                             ("update/applied", [0.0, 1.0], True)):
    rows = [{"step": i + 1, "kind": "train", name: value} for i, value in enumerate(values)]
    (tmp_path / "rl" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
      write_report(tmp_path, config)
      assert done
    except NothingLearned as error:
      assert not done and "ended without learning" in str(error)
    assert ("run is done" in capsys.readouterr().out) == done and (tmp_path / "report.html").exists()

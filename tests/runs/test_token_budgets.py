"""A run whose rows are packed is the run whose rows have room for all: same samples, updates equal to rounding."""

import re

import jax
import numpy as np
import pytest
import tiny_run
from killed import rows

from grpo_jax import main
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.table import Signals
from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.runs.programs import Programs
from grpo_jax.runs.rl_programs import make_experience
from grpo_jax.runs.token_budgets import cut_of, learned_lengths, share_of, with_row
from grpo_jax.training.dealing import fullest_row
from grpo_jax.types import Prompts, Rollout

pytestmark = pytest.mark.usefixtures("one_device")


def config(budgets, **changes):
  c = tiny_run.get_config()
  c.task, c.train.iterations, c.train.token_budgets, c.log.rollouts, c.model.num_layers = "rl", 2, budgets, 1, 1
  c.prompt_buckets, c.completion_buckets, c.evaluate.every, c.evaluate.problems = (6,), (9,), 0, 8
  c.update_from_flattened_dict(changes)
  return c


def test_a_packed_run_is_the_padded_run(tmp_path, monkeypatch):
  used, call = [], Programs.__call__
  monkeypatch.setattr(Programs, "__call__", lambda self, key, *args: (used.append(key), call(self, key, *args))[1])
  for name, budgets in (("packed", (0.9,)), ("padded", ())):
    main.run(config(budgets), tmp_path / name)
  assert any(key[-1] == 0.9 for key in used if key[0] == "update"), "no update was packed"
  for mine, theirs in zip(rows(tmp_path / "packed", "rl"), rows(tmp_path / "padded", "rl"), strict=True):
    for name, value in theirs.items():
      if re.match("loss|policy|update", name):
        np.testing.assert_allclose(mine[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
      else:
        assert mine[name] == value, name


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (8, 1)])
def test_the_smallest_row_that_holds_all_is_taken(sizes):
  mesh = make_mesh(*sizes, devices=jax.devices()[: sizes[0] * sizes[1]])
  c, rng, taken = config((0.4, 0.7), **{"train.prompts": 8}), np.random.default_rng(0), []
  for mean in (5, 12, 20, 1000):
    lengths = np.minimum(rng.geometric(1 / mean, (8, 8)), 64)
    taken.append(share_of(lengths, 64, c, mesh))
    cut = with_row(cut_of(c), taken[-1], 8, 8, 64, mesh)
    assert not cut.row or fullest_row(lengths, 64, cut, mesh) <= cut.row
  assert taken == sorted(taken) and taken[0] == 0.4 and taken[-1] == 1


def test_lengths_known_to_the_host_are_those_of_the_mask():
  B, G, T = 2, 3, 4
  rng, lengths = np.random.default_rng(0), np.array([[4, 2, 3], [1, 4, 4]])
  mask, truncated, present = np.arange(T) < lengths[..., None], lengths == T, np.array([[True, True, False]] * B)
  prompts = Prompts(np.ones((B, 2), np.int32), np.ones((B, 2), bool), np.arange(B, dtype=np.int32))
  rollout = Rollout(prompts, mask.astype(np.int32), mask, np.zeros(mask.shape, np.float32), truncated)
  signals = Signals(rng.normal(size=(B, G)).astype(np.float32), present_BG=present)
  for spec in (make_spec("grpo", kl="off"), make_spec("grpo", kl="off", truncated="mask")):
    batch = make_experience(rollout, signals, None, None, None, {}, spec, np.uint32(0), np.int32(0), T=T)
    np.testing.assert_array_equal(learned_lengths(lengths, rollout, signals, spec), batch.mask_BGT.sum(-1))

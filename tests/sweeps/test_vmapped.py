"""Arms as one program: each is its solo run, has the files of one, is split over devices, and goes on after a stop."""

import functools
import json

import jax
import numpy as np
import pytest
import tiny_fused
from killed import leaves, rows

from grpo_jax import main
from grpo_jax.distributed.mesh import make_mesh, sweep_mesh
from grpo_jax.distributed.preemption import Preempted
from grpo_jax.runs import setup
from grpo_jax.runs.fused import TokenJudge, many, metrics_of
from grpo_jax.runs.model import load_run
from grpo_jax.runs.setup import make_setup
from grpo_jax.runs.stage import Stage
from grpo_jax.sweeps.arms import many_over_arms
from grpo_jax.sweeps.vmapped import Arms, check_arms, run_vmapped

ARMS = [
  {"seed": 0, "algorithm.beta": 0.0, "optimizer.learning_rate": 2e-3},
  {"seed": 1, "algorithm.epsilon_high": 0.1, "sampling.temperature": 1.3},
  {"seed": 2, "algorithm.preset": "deepseekmath", "optimizer.b2": 0.9},
  {"seed": 0, "train.refresh_reference_every": 2, "optimizer.clip_norm": 0.1},
]


def configs(arms, **changes):
  made = []
  for arm, numbers in enumerate(arms):
    c = tiny_fused.get_config()
    c.mesh.data, c.train.prompts, c.train.minibatch_prompts, c.evaluate.samples = 1, 4, 2, 1
    c.optimizer.epsilon = 1e-3  # a minibatch without signal has a gradient of rounding, which Adam would make a step of
    c.update_from_flattened_dict({"name": f"arm{arm}", **changes, **numbers})
    made.append(c)
  return made


def close(mine: dict, theirs: dict, tolerance=1e-5, where=""):
  assert mine.keys() == theirs.keys()
  for name, value in theirs.items():
    np.testing.assert_allclose(mine[name], value, rtol=tolerance, atol=tolerance, err_msg=f"{name} {where}")


def test_an_arm_is_its_solo_run_on_stored_samples(K=20):
  """Twenty iterations of each arm alone, then all at once on the rollouts they recorded: metrics agree to 1e-5."""
  arms = [numbers | {"data_seed": arm // 2} for arm, numbers in enumerate(ARMS)]
  made = configs(arms, **{"train.iterations": K, "train.fused_iterations": K})
  every = Arms(made, [], make_setup(made[0], devices=jax.devices()[:1]))
  states, feds = jax.device_get(every.fresh_state(None)), every.feeds([0] * len(arms), 0, K)
  choices, judge = every.parts[0].choices, TokenJudge(every.rewards, greedy=False)
  solo = jax.jit(lambda s, f, n: many(s, f, K, n, choices=choices, judge=judge, keep_rollout=True))
  take = lambda tree, arm: jax.tree.map(lambda a: a[arm], tree)  # noqa: E731
  alone = [jax.device_get(solo(take(states, a), fed.feeds, take(every.numbers, a))[1]) for a, fed in enumerate(feds)]
  feeds = every.stacked(feds).replace(rollout=jax.tree.map(lambda *a: np.stack(a), *[told.rollout for told in alone]))
  together = jax.jit(many_over_arms(sweep_mesh(len(arms)), choices, judge, feeds, every.one_stream))
  _, told = jax.device_get(together(states, feeds, np.int32(K), every.numbers))
  curves = []
  for a, fed in enumerate(feds):
    mine = [metrics_of(take(told, a), k, fed, 1.0) for k in range(K)]
    for k in range(K):
      close(mine[k], metrics_of(alone[a], k, fed, 1.0), where=f"of arm {a}, iteration {k + 1}")
    curves.append([m["policy/entropy"] for m in mine])
  assert np.ptp([curve[-1] for curve in curves]) > 1e-3  # the arms do differ


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
  """Four arms on as many of the eight devices, and their folders."""
  folder = tmp_path_factory.mktemp("batch")
  workdirs = [folder / str(arm) for arm in range(len(ARMS))]
  return workdirs, run_vmapped(configs(ARMS), workdirs)


def test_arms_are_split_over_devices_that_divide_them():
  assert [sweep_mesh(n).shape["sweep"] for n in (4, 32, 6, 7, 9, 1)] == [4, 8, 6, 7, 3, 1]


def test_each_arm_has_the_files_of_a_run_of_its_own(batch, tmp_path, monkeypatch):
  workdirs, summaries = batch
  config = configs(ARMS)[2]
  monkeypatch.setattr(setup, "make_mesh", functools.partial(make_mesh, devices=jax.devices()[:1]))
  main.run(config, tmp_path)
  mine, solo = rows(workdirs[2], "rl"), rows(tmp_path, "rl")
  assert [(r["step"], r["kind"]) for r in mine] == [(r["step"], r["kind"]) for r in solo]
  for a, b in zip(mine, solo, strict=True):
    close({k: v for k, v in a.items() if k != "kind"}, {k: v for k, v in b.items() if k != "kind"}, 1e-4,
          f"of step {a['step']}")
  for name in ("summary.json", "config.json"):
    assert json.loads((workdirs[2] / name).read_text()).keys() == json.loads((tmp_path / name).read_text()).keys()
  assert summaries[2]["end"]["step"] == 7 and summaries[2]["name"] == "arm2"
  assert leaves(workdirs[2], "rl").keys() == leaves(tmp_path, "rl").keys()
  assert load_run(str(workdirs[2])).weights()["embed"].shape == load_run(str(tmp_path)).weights()["embed"].shape
  assert main.run(config, workdirs[2]) == summaries[2]  # a finished run, whole by its hashes


@pytest.mark.slow
def test_a_batch_that_was_stopped_goes_on(batch, tmp_path, monkeypatch):
  workdirs = [tmp_path / str(arm) for arm in range(len(ARMS))]
  original = Stage.maybe_save

  def stopped(self, step, *rest):
    original(self, step, *rest)
    if step == 3:
      self.saved.wait()
      raise Preempted("stopped")

  with monkeypatch.context() as patch, pytest.raises(Preempted):
    patch.setattr(Stage, "maybe_save", stopped)
    run_vmapped(configs(ARMS), workdirs)
  run_vmapped(configs(ARMS), workdirs)
  for mine, whole in zip(workdirs, batch[0], strict=True):
    assert rows(mine, "rl") == rows(whole, "rl")
    assert leaves(mine, "rl") == leaves(whole, "rl")


@pytest.mark.parametrize("key, value, words", [
  ("algorithm.kl", "k2", "is 'k3' in arm 0, which is another program"),
  ("algorithm.preset", "dapo", "algorithm.kl='off' in arm 1"),
  ("optimizer.schedule", "cosine", "is 'linear' in arm 0"),
  ("train.iterations", 9, "is 7 in arm 0"),
  ("model.width", 24, "is 16 in arm 0"),
])
def test_arms_that_differ_in_more_than_numbers_are_refused(key, value, words):
  with pytest.raises(ValueError, match="give them one value or run the arms one by one") as error:
    check_arms(configs([{}, {key: value}]))
  assert words in str(error.value)


@pytest.mark.parametrize("key, value", [("train.fused_iterations", 0), ("mesh.fsdp", 2), ("task", "sft"),
                                        ("train.resample_attempts", 2)])
def test_what_cannot_be_vmapped_is_refused(key, value):
  with pytest.raises(ValueError, match="run the arms one by one") as error:
    check_arms(configs([{}, {}], **{key: value}))
  assert str(error.value).startswith(f"{key}={value!r}")

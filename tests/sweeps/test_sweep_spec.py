"""A sweep as data: which runs it stands for, what identifies them, and what is refused before anything starts."""

import pathlib
import re

import jax
import pytest

from grpo_jax.algorithms.spec import PRESETS
from grpo_jax.models.config import param_shapes
from grpo_jax.runs.model import load_model
from grpo_jax.sweeps.budget import flops_per_iteration, iterations_within, tokens_per_iteration
from grpo_jax.sweeps.overrides import changed
from grpo_jax.sweeps.run import shard_of
from grpo_jax.sweeps.spec import Sweep, crossed, expand, grid, listed, load, zipped

BASE = "tests/sweeps/tiny_base.py"
FILES = sorted(p.stem for p in pathlib.Path("configs/sweeps").glob("*.py"))


def sweep(**changes) -> Sweep:
  return Sweep(**{"name": "s", "base": BASE, "arms": grid(**{"algorithm.beta": (0.0, 0.5)}), "seeds": 2, **changes})


def test_grids_zips_lists_and_their_products():
  assert grid(algorithm__beta=(0.1, 0.2), **{"train.prompts": (4, 8)}) == {
    "beta=0.1,prompts=4": {"algorithm.beta": 0.1, "train.prompts": 4},
    "beta=0.1,prompts=8": {"algorithm.beta": 0.1, "train.prompts": 8},
    "beta=0.2,prompts=4": {"algorithm.beta": 0.2, "train.prompts": 4},
    "beta=0.2,prompts=8": {"algorithm.beta": 0.2, "train.prompts": 8}}
  pairs = zipped(**{"sampling.group_size": (2, 4), "train.prompts": (8, 4)})
  assert list(pairs) == ["group_size=2,prompts=8", "group_size=4,prompts=4"]
  both = crossed(pairs, listed({"algorithm.kl": "off"}, {"algorithm.kl": "k3", "algorithm.beta": 0.1}))
  assert list(both)[1] == "group_size=2,prompts=8,kl=k3,beta=0.1" and len(both) == 4
  assert both["group_size=4,prompts=4,kl=off"] == {
    "sampling.group_size": 4, "train.prompts": 4, "algorithm.kl": "off"}
  twice = grid(**{"optimizer.schedule": ("linear",), "sft_optimizer.schedule": ("cosine",)})
  assert list(twice) == ["optimizer.schedule=linear,sft_optimizer.schedule=cosine"]
  with pytest.raises(ValueError, match="give each as many"):
    zipped(**{"sampling.group_size": (2, 4), "train.prompts": (8,)})
  with pytest.raises(ValueError, match=r"grid: algorithm.kl='k3' must be a tuple"):
    grid(**{"algorithm.kl": "k3"})


def test_runs_are_paired_and_named_by_what_they_compute(tmp_path):
  plan = expand(sweep(sft={}), tmp_path)
  assert [(r.arm, r.seed) for r in plan.runs] == [("beta=0.0", 0), ("beta=0.5", 0), ("beta=0.0", 1), ("beta=0.5", 1)]
  for run in plan.runs:
    c = run.config
    assert c.seed == c.data_seed == run.seed and f"beta={c.algorithm.beta}" == run.arm
    assert c.task == "rl" and c.model.path == str(plan.stage.workdir) == str(tmp_path / f"sft-{plan.stage.hash}")
    assert run.workdir == tmp_path / f"{run.name}-{run.hash}"
  elsewhere = expand(sweep(sft={}), tmp_path / "b")
  assert [r.hash for r in elsewhere.runs] == [r.hash for r in plan.runs] and len({r.hash for r in plan.runs}) == 4
  longer = expand(sweep(sft={"sft.steps": 5}), tmp_path)
  assert longer.stage.hash != plan.stage.hash and longer.runs[0].hash != plan.runs[0].hash
  assert expand(sweep(sft={}, seeds=(0, 7)), tmp_path).runs[0].hash == plan.runs[0].hash  # more seeds, same runs


def test_the_best_of_each_side_is_what_is_compared(tmp_path):
  """configs/sweeps/ppo_vs_grpo.py: as many settings for both sides, winners by pass rate, nothing of half a table."""
  file = "configs/sweeps/ppo_vs_grpo.py"
  tuning = load(file, "get_sweep")
  sides = [arm.split(",")[0] for arm in tuning.arms]
  assert sides.count("grpo") == sides.count("ppo") == 8 and not set(tuning.seed_list) & {0, 1, 2, 3, 4}
  rates = {arm: (7 * i) % 16 / 16 for i, arm in enumerate(tuning.arms)}
  rows = [f'"{arm}",2,{rate}' for arm, rate in rates.items()]
  (tmp_path / "table.csv").write_text("\n".join(["arm,runs,pass_rate", *rows]))
  chosen = load(f"{file}:{tmp_path}", "get_sweep").arms
  for side in ("grpo", "ppo"):
    winner = max((arm for arm in rates if arm.startswith(side)), key=rates.get)
    assert chosen[side] == tuning.arms[winner] and chosen[side]["algorithm.preset"] == side
  (tmp_path / "table.csv").write_text("\n".join(["arm,runs,pass_rate", *rows[1:]]))
  with pytest.raises(ValueError, match="has 15 of the 16 arms of the tuning sweep"):
    load(f"{file}:{tmp_path}", "get_sweep")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_share_out_every_run_once(count, tmp_path):
  plan = expand(sweep(seeds=4), tmp_path)
  shards = [plan.shard(i, count) for i in range(1, count + 1)]
  assert sorted(r.name for s in shards for r in s) == sorted(r.name for r in plan.runs)
  if count == 2:  # as many as there are arms: each has of both
    assert all({r.arm for r in s} == set(plan.sweep.arms) for s in shards)


def test_shard_flags():
  assert shard_of("2/3") == (2, 3)
  assert shard_of("array", {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "8"}) == (4, 8)
  for wrong in ("0/2", "3/2", "1", "a/b", "array"):
    with pytest.raises(ValueError, match=r"--shard=.* must be i/n with 1 <= i <= n"):
      shard_of(wrong, {})


@pytest.mark.parametrize("changes, words", [
  ({"arms": listed({"algorithm.beto": 0.1})}, ["run beto=0.1-s0: algorithm.beto=", "did you mean 'algorithm.beta'?"]),
  ({"arms": listed({"train.prompts": "four"})}, ["run prompts=four-s0: train.prompts='four' must be int"]),
  ({"arms": listed({"algorithm.beta": "x"})}, ["algorithm.beta='x' must be"]),
  ({"arms": listed({"sampling.group_size": 1})}, ["run group_size=1-s0: sampling.group_size=1 must be at least 2"]),
  ({"arms": listed({"data.digts": 2})}, ["data: digts=2 is no option of columns"]),
  ({"arms": listed({"rewards.components.correct.options.aftr": "]"})}, ["options.aftr=']' is unknown"]),
  ({"arms": listed({"model.compute_dtype": "float8"})}, ["compute_dtype = 'float8'"]),
  ({"arms": listed({"task": "eval"})}, ["task='eval' trains nothing"]),
  ({"arms": listed({"seed": 3})}, ["arm seed=3: seed=3 is set by the sweep"]),
  ({"arms": {"a": {"train.prompts": 4}, "b": {}}}, ["run b-s0 is the run a-s0 again"]),
  ({"arms": listed({"model.width": 32}), "sft": {}}, ["arm width=32: model.width=32 cannot differ", "drop `sft`"]),
  ({"arms": {}}, ["arms={} is empty"]),
  ({"seeds": 0}, ["seeds=0 must be"]),
  ({"budget": {"hours": 3}}, ["budget={'hours': 3} must be empty or a positive number of one of"]),
  ({"budget": {"tokens": 10}}, ["budget={'tokens': 10} is less than one iteration may take, 64 tokens; raise it"]),
  ({"budget": {"steps": 3}, "common": {"train.iterations": 4}}, ["both say how long a run is; leave one out"]),
  ({"baseline": "none"}, ["baseline='none' is no arm; choose one of"]),
  ({"base": "nowhere.py"}, ["'nowhere.py' names no file"]),
  ({"base": f"{BASE}:big"}, ["takes no argument; leave out ':big'"]),
])
def test_what_cannot_run_is_refused_in_a_sentence(changes, words, tmp_path):
  with pytest.raises(ValueError) as error:
    expand(sweep(**changes), tmp_path / "w")
  assert all(word in str(error.value) for word in words), str(error.value)
  assert not (tmp_path / "w").exists()


def test_every_bad_arm_is_named_at_once(tmp_path):
  bad = listed({"sampling.group_size": 1}, {"train.prompts": 8}, {"algorithm.kl": "k9"})
  with pytest.raises(ValueError) as error:
    expand(sweep(arms=bad), tmp_path)
  lines = str(error.value).splitlines()
  assert len(lines) == 2 and "group_size=1-s0" in lines[0] and "kl=k9-s0: algorithm.kl='k9'" in lines[1]


def test_overrides_replace_whole_sections_and_add_to_open_ones():
  config = changed(load(BASE, "get_config"), {
    "rewards.components.length.weight": 0.25, "data": {"kind": "countdown"}, "prompt_buckets": [4, 6],
    "rewards.components.form": {"rule": "length", "options": {"target": 3}}})
  assert config.data.to_dict() == {"kind": "countdown"} and config.prompt_buckets == (4, 6)
  assert config.rewards.components.length.weight == 0.25
  assert config.rewards.components.form.to_dict() == {"rule": "length", "options": {"target": 3}}


def test_budgets_by_hand():
  """4 prompts × 2 completions × at most 8 tokens; a model of N parameters, a sampling pass, three for the update."""
  config = load(BASE, "get_config")
  assert tokens_per_iteration(config) == 64 and iterations_within({"tokens": 200}, config) == 3
  assert iterations_within({"steps": 7}, config) == 7
  shapes = jax.tree.leaves(param_shapes(load_model(config).cfg), is_leaf=lambda x: isinstance(x, tuple))
  V, D, F = shapes[0][0], 16, 32
  N = V * D + 4 * D * 16 + 3 * D * F + 3 * D
  assert flops_per_iteration(config) == 2 * N * 4 * 4 * (4 + 2 * 8)
  assert iterations_within({"flops": 2.5 * flops_per_iteration(config)}, config) == 2
  with_reference = changed(load(BASE, "get_config"), {"algorithm.preset": "grpo", "train.update_epochs": 2})
  assert flops_per_iteration(with_reference) == 2 * N * (1 + 1 + 1 + 6) * 4 * (4 + 2 * 8)
  greedy = changed(load(BASE, "get_config"), {"algorithm.preset": "remax", "train.resample_attempts": 3})
  assert tokens_per_iteration(greedy) == 3 * 4 * 3 * 8


def test_a_budget_sets_the_length_of_each_arm(tmp_path):
  arms = grid(**{"sampling.group_size": (2, 4)})
  plan = expand(sweep(arms=arms, budget={"tokens": 640}), tmp_path)
  assert [r.config.train.iterations for r in plan.runs] == [10, 5, 10, 5]


@pytest.mark.parametrize("name", FILES)
def test_shipped_sweeps_are_as_their_docstrings_say(name, tmp_path):
  path = f"configs/sweeps/{name}.py"
  declared = load(path, "get_sweep")
  text = pathlib.Path(path).read_text()
  plan = expand(declared, tmp_path)
  assert f"--sweep={path}" in text
  if name != "ppo_vs_grpo":  # its first half chooses, on two seeds
    assert f"{len(declared.arms)} arms × {len(declared.seed_list)} seeds" in text and len(declared.seed_list) >= 5
  assert len(plan.runs) == len(declared.arms) * len(declared.seed_list)
  assert all(r.config.train.iterations <= (60 if plan.stage else 100) for r in plan.runs)


def test_the_eight_classics_are_there_and_all_presets():
  claims = {"ppo_vs_grpo", "length_bias", "difficulty_bias"}
  assert set(FILES) - claims == {"group_size", "kl", "advantage", "reduction", "epsilon_high", "update_epochs",
                                 "temperature", "presets"}
  assert set(load("configs/sweeps/presets.py", "get_sweep").arms) == set(PRESETS)


def test_the_ten_lines_of_the_page_are_a_sweep(tmp_path):
  page = pathlib.Path("docs/ablations.md").read_text()
  python, shell = (re.search(rf"```{name}\n(.*?)```", page, re.DOTALL)[1] for name in ("python", "bash"))
  assert len([line for line in (python + shell).splitlines() if line]) <= 10
  (tmp_path / "mine.py").write_text(python)
  plan = expand(load(str(tmp_path / "mine.py"), "get_sweep"), tmp_path / "w")
  assert len(plan.runs) == 15 and {r.config.train.iterations for r in plan.runs} == {60} and plan.stage
  for name in re.findall(r"`((?:configs|docs|grpo_jax|launch)/[\w/.]+\.\w+)", page):
    assert pathlib.Path(name).exists(), name

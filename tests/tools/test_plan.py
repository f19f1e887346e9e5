"""Plan before paying: chips, topologies, batch arithmetic, knobs, the page; one real TPU compile where libtpu is."""

import importlib.util
import json
import os
import pathlib
import re
import runpy
import subprocess
import sys
import types

import jax
import pytest

from grpo_jax.config.defaults import default_config
from grpo_jax.models.config import param_shapes
from grpo_jax.models.shapes import SHAPES, shape_named
from grpo_jax.runs.validate import validate
from grpo_jax.tools import plan_fit
from grpo_jax.tools.hlo import Collective
from grpo_jax.tools.plan_chips import CHIPS, parse_topology
from grpo_jax.tools.plan_estimate import batch_arithmetic, estimate, fits, headroom, seconds_per_iteration
from grpo_jax.tools.plan_fit import KNOBS, bring_in, changed, splits
from grpo_jax.tools.plan_programs import GIB, Plan, Program, wanted_bytes

ROOT = pathlib.Path(__file__).parents[2]
PODS = sorted((ROOT / "configs" / "pods").glob("*.py"))


def parameters(cfg) -> int:
  leaves = jax.tree.leaves(param_shapes(cfg), is_leaf=lambda x: isinstance(x, tuple))
  return sum(int(jax.numpy.prod(jax.numpy.asarray(s, float))) for s in leaves)


@pytest.mark.parametrize("name, billions", [
  ("qwen2.5-0.5b", 0.494), ("qwen2.5-1.5b", 1.544), ("qwen2.5-7b", 7.616), ("deepseekmath-7b", 6.910)])
def test_named_shapes_have_the_published_number_of_parameters(name, billions):
  assert parameters(SHAPES[name]) / 1e9 == pytest.approx(billions, abs=1e-3)


def test_an_unknown_shape_answers_with_the_known_ones():
  with pytest.raises(ValueError, match=r"model\.shape='x' is unknown.*qwen2\.5-7b"):
    shape_named("x")


def test_topologies():
  assert parse_topology("v5e:16x16").chip.name == "TPU v5e"
  two = parse_topology("2xv5p:2x4x4")
  assert (two.slices, two.kind, two.shape) == (2, "v5p", "2x4x4")
  for bad in ("v5e", "v9:2x2", "v5e:16", "xv5e:2x2"):
    with pytest.raises(ValueError, match="is not"):
      parse_topology(bad)


def test_chips_are_as_published():
  assert {k: (c.flops * c.per_chip / 1e12, c.hbm_gib * c.per_chip, c.hbm_bandwidth * c.per_chip / 1e9)
          for k, c in CHIPS.items()} == {
    "v5e": (197, 16, 819), "v5p": (459, 95, 2765), "v6e": (918, 32, 1638), "tpu7x": (2307, 192, 7380)}


def test_batch_arithmetic_of_four_updates_per_rollout():
  config = changed(default_config(), {
    "train.prompts": 512, "train.minibatch_prompts": 128, "train.micro_prompts": 64, "sampling.group_size": 5,
    "prompt_buckets": (1024,), "completion_buckets": (2048,)})
  batch = batch_arithmetic(config, rows=64)
  assert batch["sequences per rollout"] == 2560 and batch["updates per rollout"] == 4
  assert batch["sequences per update"] == 640 and batch["sequences per device and update"] == 10
  assert batch["microbatches per update"] == 2 and batch["sequences per device and microbatch"] == 5
  assert batch["most tokens per rollout"] == 512 * 1024 + 2560 * 2048


def tiny_plan(programs, **keys):
  """A plan of a small model on a mesh of one device, with these programs."""
  config = changed(default_config(), {"rewards.components": {}, **keys})
  mesh = types.SimpleNamespace(shape={"data": 2, "fsdp": 2, "sequence": 1, "tensor": 1}, size=4)
  setup = types.SimpleNamespace(cfg=SHAPES["qwen2.5-0.5b"], mesh=mesh)
  return Plan(config, setup, state_bytes=GIB, weight_bytes=GIB, shard_bytes=GIB // 4, programs=programs)


def test_headroom_counts_what_lies_beside():
  chip = CHIPS["v5e"]
  program = Program("make_experience", "make_experience", 0, 1.0, peak=10 * GIB, beside=5 * GIB)
  assert headroom(program, chip) == 0.75 * GIB and fits(tiny_plan([program]), chip)
  program.beside = 6 * GIB
  assert not fits(tiny_plan([program]), chip)
  program.peak, program.error = 0, "RESOURCE_EXHAUSTED"
  assert not fits(tiny_plan([program]), chip)


def test_the_roofline_is_the_longest_of_three_and_updates_repeat():
  chip = CHIPS["v5e"]
  slow = Collective("all-gather", ("data",), 1, 0, int(3.125e9), between_slices=True)  # a second between slices
  ours = Collective("all-gather", ("fsdp",), 1, 0, int(200e9 / 2))  # half a second inside
  update = Program("end_iteration", "end_iteration", int(4 * 197e12 * 0.25), 1.0, collectives=[slow, ours])
  plan = tiny_plan([update])
  found = estimate(plan, update, chip)
  assert (found.compute, found.memory, found.network) == (0.25, 0, 1.5) and found.bound == "network"
  experience = Program("make_experience", "make_experience", 4 * 197 * 10**12, 1.0)
  both = tiny_plan([update, experience], **{"train.prompts": 8, "train.minibatch_prompts": 2})
  assert seconds_per_iteration(both, chip) == 2.5
  update.kind = "take_rows"  # four of them in an iteration
  assert seconds_per_iteration(both, chip) == 4 * 1.5 + 1


def test_decoding_reads_the_weights_for_every_token():
  chip, sampler = CHIPS["v5e"], Program("sample 64 4", "sample", 0, 1.0)
  keys = {"completion_buckets": (100,), "mesh.sampler": "gathered"}
  gathered = estimate(tiny_plan([sampler], **keys), sampler, chip).memory
  same = estimate(tiny_plan([sampler], **keys | {"mesh.sampler": "same"}), sampler, chip).memory
  assert gathered - same == pytest.approx(100 * 0.75 * GIB / 819e9)


def test_what_the_compiler_wanted():
  assert wanted_bytes("RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
                      "Used 17.50G of 15.75G hbm. Exceeded hbm capacity by 1.75G.") == 17.5 * GIB
  assert wanted_bytes("the total memory required for HLO temporaries (512.00M) exceeds") == GIB // 2
  assert wanted_bytes("RESOURCE_EXHAUSTED: no size is named") == 1024 * GIB


def test_knobs_turn_in_the_documented_order():
  config = changed(default_config(), {"train.prompts": 8, "sampling.group_size": 5, "mesh.sampler": "gathered"})
  mesh, cfg = {"data": 4, "fsdp": 2, "tensor": 1, "sequence": 1}, SHAPES["qwen2.5-7b"]
  assert [knob(config, mesh, cfg) for knob, _ in KNOBS] == [
    {"train.micro_prompts": 4}, {"train.micro_members": 1}, {"model.remat": True}, {"train.logit_chunk": 32},
    {"mesh.data": 2, "mesh.fsdp": 4}, {"mesh.fsdp": 1, "mesh.tensor": 2}, {"mesh.sampler": "same"}]
  spent = changed(config, {"train.micro_prompts": 1, "train.micro_members": 1, "model.remat": True,
                           "train.logit_chunk": 1, "mesh.sampler": "same"})
  assert not any(knob(spent, {"data": 1, "fsdp": 1, "tensor": 4}, cfg) for knob, _ in KNOBS)


def test_a_knob_is_turned_until_it_fits_and_one_that_gains_nothing_is_left(monkeypatch):
  """The search itself, on a compiler whose update takes 4 GiB a prompt and 16 GiB without remat: by hand, 2 prompts."""
  calls = []

  def compiler(config, devices, kinds=None, report=None):
    calls.append((config.train.micro_prompts, kinds))
    size = (4 * (config.train.micro_prompts or 8)) * GIB
    return tiny_plan([Program("end_iteration", "policy_step" if kinds else "end_iteration", 0, 1.0, peak=size)])

  monkeypatch.setattr(plan_fit, "compile_plan", compiler)
  monkeypatch.setattr(plan_fit, "abstract_setup", lambda config, devices: tiny_plan([]).setup)
  start = tiny_plan([Program("policy_step 1 1 1", "policy_step", 0, 1.0, peak=32 * GIB, error="RESOURCE_EXHAUSTED")])
  changes, plan = bring_in(start, [], CHIPS["v5e"], say=lambda line: None)
  assert changes == {"train.micro_prompts": 2} and plan is not None
  assert calls == [(4, {"policy_step"}), (2, {"policy_step"}), (2, None)]


def test_splits_keep_to_the_heads():
  found = list(splits(8, num_kv_heads=2))
  assert len(found) == 4 + 3 and all(s["mesh.data"] * s["mesh.fsdp"] * s["mesh.tensor"] == 8 for s in found)
  assert {s["mesh.tensor"] for s in found} == {1, 2}


@pytest.mark.parametrize("path", PODS, ids=lambda p: p.stem)
def test_pod_configs_are_valid_in_every_layout(path):
  module = runpy.run_path(str(path))
  for layout in module.get("LAYOUTS", ("",)):
    config = module["get_config"](f",{layout}" if layout else "")
    validate(config)
    assert config.model.shape in SHAPES and config.model.scan_layers and config.model.remat
  assert module["get_config"]("some/model").model.path == "some/model"
  assert "Hardware:" in module["__doc__"] if "__doc__" in module else True


def test_plans_named_in_pod_configs_exist():
  for path in PODS:
    for name in re.findall(r"([\w]+\.md)", path.read_text()):
      assert (ROOT / "docs" / "plans" / name).exists(), name


def command(*arguments, **environment):
  line = [sys.executable, "-m", "grpo_jax.tools.plan", *arguments]
  return subprocess.run(line, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


CONFIG = f"--config={ROOT / 'tests' / 'tools' / 'plan_run.py'}"


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_one_sentence_says_what_to_install():
  done = command(CONFIG, "--topology=v5e:2x2")
  assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith("error: planning needs the TPU")
  assert "pip install libtpu==" in done.stderr or "pip install jax[tpu]" in done.stderr


def test_a_bad_topology_ends_in_one_sentence():
  done = command(CONFIG, "--topology=v5e")
  assert done.returncode == 1 and "error: --topology='v5e' is not" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install libtpu")
def test_a_tiny_run_compiles_for_four_chips(tmp_path):
  arguments = (CONFIG, "--topology=v5e:2x2", f"--json={tmp_path / 'plan.json'}")
  done = command(*arguments, JAX_EXEC_TIME_OPTIMIZATION_EFFORT="-1")
  assert done.returncode == 0, done.stderr[-2000:]
  assert "It fits." in done.stdout and "| policy_step 16 16 4 |" in done.stdout and (tmp_path / "plan.json").exists()
  programs = {p["name"]: p["kernels"] for p in json.loads((tmp_path / "plan.json").read_text())["programs"]}
  assert not programs["end_iteration"]
  assert programs["policy_step 16 16 4"] >= 3  # forward, and the gradients of queries and of keys


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install libtpu")
def test_every_kind_of_layer_compiles_into_kernels_for_v5p():
  """Windows and soft caps, in a scan over several kinds, forward and backward."""
  done = subprocess.run(
    [sys.executable, str(ROOT / "tests" / "tools" / "compile_kernels.py")], capture_output=True, text=True,
    env=os.environ | {"JAX_PLATFORMS": "cpu"}, timeout=600)
  assert done.returncode == 0, done.stderr[-2000:]
  assert int(done.stdout.split()[-1]) >= 6

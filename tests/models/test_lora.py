"""Adapters over a frozen base: the decoder under them, merged and in PEFT's format."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.models.lora import MATRICES, LoraSpec, adapted, init_adapters, matched, merged
from grpo_jax.models.peft_io import load_peft, save_peft
from grpo_jax.models.rows import tree_logps

SPEC = LoraSpec(rank=3, alpha=6.0, targets=("q", "v", "o", "up", "down"))


@pytest.fixture(scope="module")
def adapters(cfg):
  """Adapters whose b is not zero any more."""
  fresh = init_adapters(cfg, SPEC, 0)
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: x + jnp.asarray(rng.normal(0, 0.1, x.shape), x.dtype), fresh)


def logps(cfg, params, prompts):
  batch = tiny.experience(prompts)
  return tree_logps(params, cfg, prompts, batch.tokens_BGT, batch.mask_BGT, 1.0)[0]


def test_fresh_adapters_change_nothing(cfg, params, prompts):
  over = adapted(params, init_adapters(cfg, SPEC, 0), SPEC.scale)
  np.testing.assert_array_equal(logps(cfg, over, prompts), logps(cfg, params, prompts))


@pytest.mark.parametrize("scan", [False, True])
def test_adapted_equals_merged(cfg, params, prompts, adapters, scan):
  cfg = tiny.config(scan_layers=scan)
  over = logps(cfg, adapted(params, adapters, SPEC.scale), prompts)
  into = logps(cfg, merged(params, adapters, SPEC.scale), prompts)
  assert np.abs(over - into).max() <= 1e-5
  assert np.abs(over - logps(cfg, params, prompts)).max() > 1e-2  # they are not idle


def test_the_product_by_hand():
  base = {"layers": {"q": np.ones((1, 2, 2), np.float32)}}
  pair = {"a": np.array([[[1.0], [2.0]]], np.float32), "b": np.array([[[10.0, 20.0]]], np.float32)}
  into = merged(base, {"layers": {"q": pair}}, 0.5)
  np.testing.assert_array_equal(into["layers"]["q"][0], [[1 + 5, 1 + 10], [1 + 10, 1 + 20]])


def test_gradients_of_adapters_are_those_of_the_merged_weights(cfg, params, prompts, adapters):
  """dL/dB = scale · A^T dL/dW and dL/dA = scale · dL/dW B^T."""
  whole = jax.grad(lambda w: logps(cfg, w, prompts).sum())(merged(params, adapters, SPEC.scale))
  low = jax.grad(lambda a: logps(cfg, adapted(params, a, SPEC.scale), prompts).sum())(adapters)
  for name in SPEC.targets:
    dw, pair, got = whole["layers"][name], adapters["layers"][name], low["layers"][name]
    assert tiny.gap(got["b"], SPEC.scale * jnp.einsum("lir,lio->lro", pair["a"], dw)) <= 1e-4
    assert tiny.gap(got["a"], SPEC.scale * jnp.einsum("lio,lro->lir", dw, pair["b"])) <= 1e-4


@pytest.mark.parametrize("patterns, names", [
  (("q", "v"), ("q", "v")), (("q_proj", "down_proj"), ("q", "down")), (("[qkvo]",), ("q", "k", "v", "o")),
  ((".*",), MATRICES), (("gate|up",), ("gate", "up")),
])
def test_targets_are_patterns_of_either_name(patterns, names):
  assert matched(patterns) == names


def test_a_pattern_that_matches_nothing_is_named():
  with pytest.raises(ValueError, match=r"lora\.targets=.*'w_qkv', which matches none of q, k, v"):
    matched(("q", "w_qkv"))


def test_peft_files_and_back(cfg, adapters, tmp_path):
  save_peft(tmp_path, SPEC, adapters, base="some/model")
  config = json.loads((tmp_path / "adapter_config.json").read_text())
  assert (config["r"], config["lora_alpha"], config["peft_type"]) == (3, 6.0, "LORA")
  assert config["target_modules"] == ["down_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
  from safetensors.numpy import load_file

  tensors = load_file(tmp_path / "adapter_model.safetensors")
  a = tensors["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"]
  np.testing.assert_array_equal(a, adapters["layers"]["q"]["a"][1].T)  # torch stores [out, in]
  assert tensors["base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"].shape == (cfg.width, 3)
  spec, back = load_peft(tmp_path, cfg.num_layers)
  assert spec == SPEC
  jax.tree.map(np.testing.assert_array_equal, back, adapters)


def test_peft_adapters_of_another_depth_are_refused(cfg, adapters, tmp_path):
  save_peft(tmp_path, SPEC, adapters)
  with pytest.raises(ValueError, match=r"lacks .*layers\.2\..*all 3 layers"):
    load_peft(tmp_path, 3)
  with pytest.raises(ValueError, match="unknown to its config"):
    load_peft(tmp_path, 1)

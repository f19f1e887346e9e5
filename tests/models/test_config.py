"""ModelConfig: what it validates, and the same facts as a Hugging Face config.json."""

import json

import numpy as np
import pytest
from families import CONFIGS, FAMILIES, SIZES

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.hf_config import from_hf, to_hf
from grpo_jax.models.rope import RopeScaling, rope_frequencies


@pytest.mark.parametrize("name", CONFIGS)
def test_config_round_trip(name):
  assert from_hf(json.loads(json.dumps(to_hf(CONFIGS[name])))) == CONFIGS[name]


def test_config_reads_both_rope_formats_and_the_defaults_of_transformers():
  data = to_hf(CONFIGS["llama"])
  old = {k: v for k, v in data.items() if k not in ("rope_parameters", "head_dim", "num_key_value_heads")}
  cfg = from_hf(old | {"rope_theta": 7.0, "rope_scaling": None})
  assert (cfg.rope_theta, cfg.head_width, cfg.num_kv_heads) == (7.0, 4, 4)
  new = {k: v for k, v in data.items() if k not in ("rope_theta", "tie_word_embeddings", "rms_norm_eps")}
  cfg = from_hf(new | {"rope_parameters": {"rope_type": "default", "rope_theta": 8.0}})
  assert (cfg.rope_theta, cfg.tie_embeddings, cfg.norm_epsilon) == (8.0, False, 1e-6)


def test_config_reads_gemma3_as_transformers_4_wrote_it():
  old = {
    "model_type": "gemma3_text", "vocab_size": 24, "num_hidden_layers": 8, "hidden_size": 16, "intermediate_size": 20,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rope_theta": 7e5, "rope_local_base_freq": 70.0,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window": 5, "sliding_window_pattern": 3}
  cfg = from_hf(old)
  assert cfg.layer_windows == (5, 5, 0, 5, 5, 0, 5, 5) and cfg.tie_embeddings and cfg.query_scalar == 256
  assert cfg.rope_of(0) == (7e5, RopeScaling("linear", 8.0)) and cfg.rope_of(5) == (70.0, None)
  bare = {k: v for k, v in old.items() if "rope" not in k and "sliding" not in k}
  cfg = from_hf(bare)
  assert cfg.layer_windows == (4096,) * 5 + (0,) + (4096,) * 2
  assert cfg.rope_of(0) == (1e6, None) and cfg.rope_of(4096) == (1e4, None)


@pytest.mark.parametrize("change, words", [
  ({"model_type": "mamba"}, "mamba.*llama, qwen2, qwen3, gemma2, gemma3_text"),
  ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 5e5}}, "rope type 'longrope'"),
  ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "'llama3' needs low_freq_factor"),
  ({"rope_parameters": {"rope_type": "yarn", "factor": 8.0, "mscale": 1.0}}, "yarn' with mscale"),
  ({"rope_parameters": {"rope_type": "linear", "factor": 8.0, "beta_fast": 32}}, "'linear' has no beta_fast"),
  ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 0}}, "factor = 0"),
  ({"rope_parameters": {"full_attention": {"rope_theta": 7.0}}}, "only for gemma3_text"),
  ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
  ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
  ({"mlp_bias": True}, "mlp_bias"),
  ({"attention_bias": True}, "attention_bias"),
  ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
  ({"model_type": "gemma2", "hidden_activation": "gelu"}, "hidden_activation = 'gelu'"),
  ({"model_type": "gemma3_text", "attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
  ({"model_type": "gemma2", "use_bidirectional_attention": True}, "bidirectional"),
  ({"quantization_config": {"bits": 4}}, "quantization_config"),
  ({"hidden_size": None}, "hidden_size missing"),
  ({"model_type": "qwen3", "layer_types": ["full_attention", "sliding_attention"]}, "no sliding_window"),
  ({"model_type": "qwen3", "layer_types": ["full_attention", "chunked_attention"]}, "type chunked_attention"),
])
def test_config_refuses_what_is_not_computed(change, words):
  with pytest.raises(ValueError, match=words):
    from_hf(to_hf(CONFIGS["llama"]) | change)


@pytest.mark.parametrize("change, words", [
  ({"sandwich_norms": True}, "no Hugging Face model type has .*sandwich_norms = True"),
  ({"logit_cap": 30.0}, "llama model cannot have logit_cap = 30.0"),
  ({"qk_norm": True, "layer_windows": (4, 0, 8)}, r"qwen3 model cannot have layer_windows = \(4, 0, 8\)"),
  (FAMILIES["gemma3"] | {"window_rope_theta": None}, "gemma3_text model cannot have window_rope_theta"),
])
def test_config_writes_no_model_that_transformers_would_compute_otherwise(change, words):
  with pytest.raises(ValueError, match=words):
    to_hf(ModelConfig(**SIZES | change))


def test_rope_scalings_by_hand():
  """theta = 1, so every pair turns once in 2π ≈ 6.28 positions unless it is scaled."""
  def slowed(scaling, theta=1.0):
    plain, scaled = (rope_frequencies(theta, s, 4, np.float64) for s in (None, scaling))
    assert plain[1] == 1.0
    return (plain[0] / scaled[0]).tolist(), scaled[1]

  assert slowed(RopeScaling("linear", 4.0)) == ([4.0, 4.0], 1.0)
  llama3 = {"low_freq_factor": 1.0, "high_freq_factor": 3.0}
  for context, factor in ((6, 4.0), (20, 1.0), (4 * np.pi, 1 / (0.5 + 0.5 / 4))):  # under 1 turn, over 3, and 2
    scaling = RopeScaling("llama3", 4.0, **llama3, original_max_position_embeddings=context)
    np.testing.assert_allclose(slowed(scaling)[0], factor)
  yarn = RopeScaling("yarn", 4.0, original_max_position_embeddings=100, beta_fast=50.0)  # ramp from index 0 to 3
  np.testing.assert_allclose(slowed(yarn, theta=10.0)[0], [1, 1 / (2 / 3 + 1 / 3 / 4)])
  assert slowed(yarn, theta=10.0)[1] == pytest.approx(1.1386294)


def test_config_accepts_a_window_that_no_layer_uses():
  unused = {"sliding_window": 8, "use_sliding_window": False}
  assert from_hf(to_hf(CONFIGS["qwen2"]) | unused) == CONFIGS["qwen2"]
  beyond = {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 3}
  assert from_hf(to_hf(CONFIGS["qwen2"]) | beyond) == CONFIGS["qwen2"]


@pytest.mark.parametrize("change, words", [
  ({"num_kv_heads": 3}, "num_kv_heads = 3 does not divide"),
  ({"head_width": 5}, "head_width = 5 is odd"),
  ({"width": 0}, "width = 0"),
  ({"norm_epsilon": 0.0}, "norm_epsilon"),
  ({"compute_dtype": "float16"}, "float32 or bfloat16"),
  ({"qk_norm": True, "attention_bias": True}, "both"),
  ({"activation": "relu"}, "silu or gelu_tanh"),
  ({"layer_windows": (4, 0)}, "2 entries for num_layers = 3"),
  ({"layer_windows": (4, 0, -1)}, "numbers of tokens"),
  ({"logit_cap": -1.0}, "logit_cap = -1.0"),
  ({"query_scalar": 0.0}, "query_scalar = 0.0"),
  ({"window_rope_scaling": RopeScaling("linear", 2.0)}, "needs window_rope_theta"),
])
def test_config_validates(change, words):
  with pytest.raises(ValueError, match=words):
    ModelConfig(**(SIZES | change))

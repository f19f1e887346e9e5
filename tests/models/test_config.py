"""ModelConfig: what it validates, and the same facts as a Hugging Face config.json."""

import json

import pytest

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.hf_config import from_hf, to_hf

SIZES = dict(vocab_size=24, num_layers=3, width=16, ffn_width=20, num_heads=4, num_kv_heads=2, head_width=4)
CONFIGS = {
  "llama": ModelConfig(**SIZES),
  "llama_untied": ModelConfig(**SIZES, tie_embeddings=False, rope_theta=500000.0, max_positions=99),
  "qwen2": ModelConfig(**SIZES, attention_bias=True, norm_epsilon=1e-6),
  "qwen3": ModelConfig(**(SIZES | {"head_width": 8}), qk_norm=True, tie_embeddings=False),
}


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


@pytest.mark.parametrize("change, words", [
  ({"model_type": "mamba"}, "mamba.*llama, qwen2, qwen3"),
  ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}}, "rope type 'llama3'"),
  ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2}}, "rope type 'linear'"),
  ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
  ({"mlp_bias": True}, "mlp_bias"),
  ({"attention_bias": True}, "attention_bias"),
  ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
  ({"quantization_config": {"bits": 4}}, "quantization_config"),
  ({"hidden_size": None}, "hidden_size missing"),
  ({"model_type": "qwen3", "layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
  ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "slid"),
])
def test_config_refuses_what_is_not_computed(change, words):
  with pytest.raises(ValueError, match=words):
    from_hf(to_hf(CONFIGS["llama"]) | change)


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
])
def test_config_validates(change, words):
  with pytest.raises(ValueError, match=words):
    ModelConfig(**(SIZES | change))

"""Every model family as changes to `tiny.config`: windows shorter than the tests' sequences, rope scalings in force."""

import jax
import numpy as np

from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.models.rope import RopeScaling

GEMMA = {
  "num_layers": 3, "activation": "gelu_tanh", "sandwich_norms": True, "norm_offset": True, "scale_embeddings": True,
  "query_scalar": 6.0,
}
LLAMA3 = RopeScaling(
  "llama3", 8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8)
FAMILIES = {
  "llama": {},
  "tied": {"tie_embeddings": True},
  "llama3": {"rope_theta": 100.0, "rope_scaling": LLAMA3},
  "qwen2": {"attention_bias": True},
  "qwen2_window": {
    "attention_bias": True, "layer_windows": (0, 4), "rope_theta": 100.0,
    "rope_scaling": RopeScaling("yarn", 4.0, original_max_position_embeddings=8)},
  "qwen3": {"qk_norm": True},
  "gemma2": GEMMA | {"layer_windows": (3, 0, 3), "attention_cap": 4.0, "logit_cap": 6.0},
  "gemma3": GEMMA | {
    "qk_norm": True, "tie_embeddings": True, "layer_windows": (3, 3, 0), "rope_theta": 1000.0,
    "rope_scaling": RopeScaling("linear", 8.0), "window_rope_theta": 100.0},
}
SIZES = dict(vocab_size=24, num_layers=3, width=16, ffn_width=20, num_heads=4, num_kv_heads=2, head_width=4)
CONFIGS = {  # of the tests of weights and configs, where no two sizes are equal
  "llama": ModelConfig(**SIZES),
  "llama_untied": ModelConfig(**SIZES, tie_embeddings=False, rope_theta=500000.0, max_positions=99),
  "llama_scaled": ModelConfig(**SIZES, rope_scaling=LLAMA3),
  "qwen2": ModelConfig(**SIZES, attention_bias=True, norm_epsilon=1e-6),
  "qwen2_window": ModelConfig(**SIZES | FAMILIES["qwen2_window"] | {"layer_windows": (0, 4, 4)}),
  "qwen3": ModelConfig(**(SIZES | {"head_width": 8}), qk_norm=True, tie_embeddings=False),
  "gemma2": ModelConfig(**SIZES | FAMILIES["gemma2"] | {"tie_embeddings": False}),
  "gemma3": ModelConfig(**SIZES | FAMILIES["gemma3"], max_positions=77),
}


def random_params(cfg: ModelConfig, seed: int = 0):
  """Float32 normal numbers for every parameter."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda shape: rng.normal(size=shape).astype(np.float32), param_shapes(cfg),
    is_leaf=lambda x: isinstance(x, tuple))


def assert_same(a, b):
  """Two trees of arrays agree in every bit and every type."""
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert jax.tree.map(lambda x: x.dtype, a) == jax.tree.map(lambda x: x.dtype, b)

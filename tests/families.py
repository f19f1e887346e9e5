"""Every model family as changes to `tiny.config`: windows shorter than the tests' sequences, rope scalings in force."""

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
    "qk_norm": True, "tie_embeddings": True, "layer_windows": (3, 3, 0), "rope_theta": 1000.0, "rope_scaling": RopeScaling("linear", 8.0),
    "window_rope_theta": 100.0},
}

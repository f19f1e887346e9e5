"""Published models by name, sizes without weights: for planning and for speed, where no file is needed."""

from grpo_jax.models.config import ModelConfig

_QWEN = {"rope_theta": 1e6, "norm_epsilon": 1e-6, "attention_bias": True}

# As in the `config.json` of each model on the Hugging Face Hub.
SHAPES = {
  "qwen2.5-0.5b": ModelConfig(  # Qwen/Qwen2.5-0.5B
    vocab_size=151936, num_layers=24, width=896, ffn_width=4864, num_heads=14, num_kv_heads=2, head_width=64,
    max_positions=32768, **_QWEN),
  "qwen2.5-1.5b": ModelConfig(  # Qwen/Qwen2.5-1.5B
    vocab_size=151936, num_layers=28, width=1536, ffn_width=8960, num_heads=12, num_kv_heads=2, head_width=128,
    max_positions=131072, **_QWEN),
  "qwen2.5-7b": ModelConfig(  # Qwen/Qwen2.5-7B
    vocab_size=152064, num_layers=28, width=3584, ffn_width=18944, num_heads=28, num_kv_heads=4, head_width=128,
    max_positions=131072, tie_embeddings=False, **_QWEN),
  "deepseekmath-7b": ModelConfig(  # deepseek-ai/deepseek-math-7b-instruct, a llama
    vocab_size=102400, num_layers=30, width=4096, ffn_width=11008, num_heads=32, num_kv_heads=32, head_width=128,
    rope_theta=10000.0, norm_epsilon=1e-6, tie_embeddings=False, max_positions=4096),
}


def shape_named(name: str) -> ModelConfig:
  """The sizes of a published model. Raises ValueError for a name that is not in `SHAPES`."""
  if name not in SHAPES:
    raise ValueError(f"model.shape={name!r} is unknown; choose one of {sorted(SHAPES)}, or '' for the sizes beside it.")
  return SHAPES[name]

"""What other formats call our parameters. Data only.

A row is: our name → (their name, transposed). `{}` stands for the layer number; "transposed" says that they
store a matrix `[out, in]` where we store `[in, out]`.
"""

HF = {
  "model": {
    "embed": ("model.embed_tokens.weight", False),
    "final_norm": ("model.norm.weight", False),
    "lm_head": ("lm_head.weight", True),
  },
  "layers": {
    "attention_norm": ("model.layers.{}.input_layernorm.weight", False),
    "q": ("model.layers.{}.self_attn.q_proj.weight", True),
    "k": ("model.layers.{}.self_attn.k_proj.weight", True),
    "v": ("model.layers.{}.self_attn.v_proj.weight", True),
    "o": ("model.layers.{}.self_attn.o_proj.weight", True),
    "q_bias": ("model.layers.{}.self_attn.q_proj.bias", False),
    "k_bias": ("model.layers.{}.self_attn.k_proj.bias", False),
    "v_bias": ("model.layers.{}.self_attn.v_proj.bias", False),
    "q_norm": ("model.layers.{}.self_attn.q_norm.weight", False),
    "k_norm": ("model.layers.{}.self_attn.k_norm.weight", False),
    "mlp_norm": ("model.layers.{}.post_attention_layernorm.weight", False),
    "gate": ("model.layers.{}.mlp.gate_proj.weight", True),
    "up": ("model.layers.{}.mlp.up_proj.weight", True),
    "down": ("model.layers.{}.mlp.down_proj.weight", True),
  },
}

GGUF = {
  "model": {
    "embed": ("token_embd.weight", False),
    "final_norm": ("output_norm.weight", False),
    "lm_head": ("output.weight", True),
  },
  "layers": {
    "attention_norm": ("blk.{}.attn_norm.weight", False),
    "q": ("blk.{}.attn_q.weight", True),
    "k": ("blk.{}.attn_k.weight", True),
    "v": ("blk.{}.attn_v.weight", True),
    "o": ("blk.{}.attn_output.weight", True),
    "q_bias": ("blk.{}.attn_q.bias", False),
    "k_bias": ("blk.{}.attn_k.bias", False),
    "v_bias": ("blk.{}.attn_v.bias", False),
    "q_norm": ("blk.{}.attn_q_norm.weight", False),
    "k_norm": ("blk.{}.attn_k_norm.weight", False),
    "mlp_norm": ("blk.{}.ffn_norm.weight", False),
    "gate": ("blk.{}.ffn_gate.weight", True),
    "up": ("blk.{}.ffn_up.weight", True),
    "down": ("blk.{}.ffn_down.weight", True),
  },
}

# Endings of Hugging Face names: buffers that old checkpoints carry and that are recomputed here.
HF_RECOMPUTED = ("rotary_emb.inv_freq",)

# The switches that each GGUF architecture implies; "permuted": q and k rows interleave the two rotary halves.
GGUF_FAMILIES = {
  "llama": {"permuted": True, "attention_bias": False, "qk_norm": False},
  "qwen2": {"permuted": False, "attention_bias": True, "qk_norm": False},
  "qwen3": {"permuted": False, "attention_bias": False, "qk_norm": True},
}

TOKENIZER_FILES = (
  "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
  "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
)

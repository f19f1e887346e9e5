"""What other formats call our parameters, and what they leave unsaid about each model family. Data only.

A row of a name table is: our name → (their name, transposed). `{}` stands for the layer number; "transposed" says
that they store a matrix `[out, in]` where we store `[in, out]`.
"""

PLAIN = {
  "attention_bias": False, "qk_norm": False, "activation": "silu",
  "sandwich_norms": False, "norm_offset": False, "scale_embeddings": False,
}
GEMMA = {
  "attention_bias": False, "qk_norm": False, "activation": "gelu_tanh",
  "sandwich_norms": True, "norm_offset": True, "scale_embeddings": True,
}
BASE = {
  "class": None, "switches": PLAIN, "head_width": None, "max_positions": 32768, "tied": False,
  "rope_theta": 10000.0, "local_rope_theta": None, "windows": "last", "query_scalar": None, "caps": {},
}

# Hugging Face model_type → its class; the fields of ModelConfig that it fixes; the transformers defaults of absent
# keys; `windows`: None has no layer types, "last" windows the last layers on request, n all but every n-th layer.
FAMILIES = {
  "llama": BASE | {"class": "LlamaForCausalLM", "max_positions": 2048, "windows": None},
  "qwen2": BASE | {"class": "Qwen2ForCausalLM", "switches": PLAIN | {"attention_bias": True}},
  "qwen3": BASE | {"class": "Qwen3ForCausalLM", "switches": PLAIN | {"qk_norm": True}, "head_width": 128},
  "gemma2": BASE | {
    "class": "Gemma2ForCausalLM", "switches": GEMMA, "head_width": 256, "max_positions": 8192, "tied": True,
    "windows": 2, "query_scalar": 256,
    "caps": {
      "attention_cap": ("attn_logit_softcapping", 50.0), "logit_cap": ("final_logit_softcapping", 30.0)},
  },
  "gemma3_text": BASE | {
    "class": "Gemma3ForCausalLM", "switches": GEMMA | {"qk_norm": True}, "head_width": 256, "max_positions": 131072,
    "tied": True, "rope_theta": 1000000.0, "local_rope_theta": 10000.0, "windows": 6, "query_scalar": 256,
    "caps": {"logit_cap": ("final_logit_softcapping", None)},
  },
}

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

SANDWICH = HF["layers"] | {  # where the same words mean the norm after attention
  "attention_out_norm": ("model.layers.{}.post_attention_layernorm.weight", False),
  "mlp_norm": ("model.layers.{}.pre_feedforward_layernorm.weight", False),
  "mlp_out_norm": ("model.layers.{}.post_feedforward_layernorm.weight", False),
}
HF_SANDWICH = {"model": HF["model"], "layers": SANDWICH}

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
    "attention_out_norm": ("blk.{}.post_attention_norm.weight", False),
    "mlp_norm": ("blk.{}.ffn_norm.weight", False),
    "mlp_out_norm": ("blk.{}.post_ffw_norm.weight", False),
    "gate": ("blk.{}.ffn_gate.weight", True),
    "up": ("blk.{}.ffn_up.weight", True),
    "down": ("blk.{}.ffn_down.weight", True),
  },
}

# Endings of Hugging Face names: buffers that old checkpoints carry and that are recomputed here.
HF_RECOMPUTED = ("rotary_emb.inv_freq",)

# GGUF architecture → Hugging Face model_type; "permuted": q and k rows interleave the two rotary halves; "windows": all
# but every n-th layer are windowed; "largest": with so many layers the query scalar is width / heads (27B).
GGUF_FAMILIES = {
  "llama": {"model_type": "llama", "permuted": True, "windows": 0, "largest": 0},
  "qwen2": {"model_type": "qwen2", "permuted": False, "windows": 0, "largest": 0},
  "qwen3": {"model_type": "qwen3", "permuted": False, "windows": 0, "largest": 0},
  "gemma2": {"model_type": "gemma2", "permuted": False, "windows": 2, "largest": 46},
  "gemma3": {"model_type": "gemma3_text", "permuted": False, "windows": 6, "largest": 62},
}

TOKENIZER_FILES = (
  "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
  "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
)

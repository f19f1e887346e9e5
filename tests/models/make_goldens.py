"""Makes the golden logits of tests/models/goldens with torch and transformers. From the repository root:

    python -m venv .bench/torch && .bench/torch/bin/pip install torch==2.13.0 transformers==5.23.0
    python -m grpo_jax.tools.convert --source smollm2-135m --target .cache/smollm2-135m
    python -m grpo_jax.tools.convert --source gemma3-270m --target .cache/gemma3-270m
    .bench/torch/bin/python tests/models/make_goldens.py --smollm2 .cache/smollm2-135m --gemma3 .cache/gemma3-270m

For stories260K and for tiny seeded models of every family, with rope scalings in force and windows shorter than the
sequence, NAME.npz holds `tokens_NT` (2 × 24) and `logits_NTV`; the tiny models' weights are beside it, in a directory
as transformers writes it. smollm2_135m.npz and gemma3_270m.npz hold for each prompt i `tokens_i` and, at its last 4
positions, `logits_i` of the token ids `ids` (about a thousand) and `logsumexp_i` over all of them, all float32.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import transformers

HERE = Path(__file__).parent
SIZES = dict(
  vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
  num_key_value_heads=2, max_position_embeddings=128)
LLAMA = dict(**SIZES, rms_norm_eps=1e-5)
GEMMA = dict(
  **(SIZES | {"num_hidden_layers": 3}), head_dim=16, rms_norm_eps=1e-6, sliding_window=8, query_pre_attn_scalar=20)
TINY = {  # every switch that a family adds, and values that are not the defaults
  "tiny_llama": transformers.LlamaConfig(
    **LLAMA, rope_parameters={"rope_type": "default", "rope_theta": 500.0}, tie_word_embeddings=False),
  "tiny_llama3": transformers.LlamaConfig(
    **LLAMA, tie_word_embeddings=True, rope_parameters={
      "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 32}),
  "tiny_linear": transformers.LlamaConfig(
    **LLAMA, rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0}, tie_word_embeddings=True),
  "tiny_yarn": transformers.LlamaConfig(
    **LLAMA, tie_word_embeddings=True, rope_parameters={
      "rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32}),
  "tiny_qwen2": transformers.Qwen2Config(
    **SIZES, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    tie_word_embeddings=True),
  "tiny_qwen2_window": transformers.Qwen2Config(
    **SIZES, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    tie_word_embeddings=True, use_sliding_window=True, sliding_window=8, max_window_layers=1),
  "tiny_qwen3": transformers.Qwen3Config(
    **SIZES, head_dim=16, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    tie_word_embeddings=True),
  "tiny_gemma2": transformers.Gemma2Config(**GEMMA, attn_logit_softcapping=4.0, final_logit_softcapping=6.0),
  "tiny_gemma3": transformers.Gemma3TextConfig(
    **GEMMA, layer_types=["sliding_attention", "full_attention", "sliding_attention"], rope_parameters={
      "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 8.0},
      "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}),
}
SMOLLM2_PROMPTS = (
  "Question: What is 17 + 25?\nAnswer:",
  "<|im_start|>user\nName the larger of 3 and 12.<|im_end|>\n<|im_start|>assistant\n",
  "The capital of France is Paris, and the capital of Italy is",
)
GEMMA3_PROMPTS = (  # the last is longer than the window of 512 tokens
  "Question: What is 17 + 25?\nAnswer:",
  "The capital of France is Paris, and the capital of Italy is",
  "The secret word is tangerine. " + "The quick brown fox jumps over the lazy dog. " * 60 + "The secret word is",
)


def load(path):
  return transformers.AutoModelForCausalLM.from_pretrained(
    path, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def logits(model, tokens):
  return model(torch.as_tensor(tokens, dtype=torch.long)).logits.numpy()


@torch.no_grad()
def make_tiny(name):
  """Weights far from their usual start, so that a wrong norm, bias or rotation shows in the logits."""
  torch.manual_seed(0)
  model = transformers.AutoModelForCausalLM.from_config(TINY[name], dtype=torch.float32)
  for parameter_name, parameter in model.named_parameters():
    if "norm" in parameter_name:
      parameter.normal_(1.0, 0.2)
    else:
      parameter.normal_(0.0, 0.3)
  model.save_pretrained(HERE / "goldens" / name)


def save_small(name, path):
  model = load(path)
  tokens_NT = np.random.default_rng(1).integers(0, model.config.vocab_size, (2, 24), dtype=np.int32)
  arrays = {"tokens_NT": tokens_NT, "logits_NTV": logits(model, tokens_NT)}
  np.savez_compressed(HERE / "goldens" / f"{name}.npz", **arrays)


def save_real(name, path, prompts):
  model, tokenizer = load(path), transformers.AutoTokenizer.from_pretrained(path)
  arrays = {"ids": np.arange(0, model.config.vocab_size, model.config.vocab_size // 1024, dtype=np.int32)}
  for i, prompt in enumerate(prompts):
    tokens = np.array(tokenizer(prompt).input_ids, np.int32)
    last = logits(model, tokens[None])[0, -4:]
    arrays |= {
      f"tokens_{i}": tokens,
      f"logits_{i}": last[:, arrays["ids"]],
      f"logsumexp_{i}": torch.logsumexp(torch.as_tensor(last), -1).numpy(),
    }
    print(len(tokens), repr(prompt[-60:]), "->", repr(tokenizer.decode(last[-1].argmax())))
  np.savez_compressed(HERE / "goldens" / f"{name}.npz", **arrays)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--smollm2", help="SmolLM2-135M-Instruct as a Hugging Face directory (optional)")
  parser.add_argument("--gemma3", help="Gemma-3-270m as a Hugging Face directory (optional)")
  options = parser.parse_args()
  torch.set_num_threads(2)
  for name in TINY:
    make_tiny(name)
    save_small(name, HERE / "goldens" / name)
  save_small("stories260k", HERE.parent / "data" / "stories260k")
  if options.smollm2:
    save_real("smollm2_135m", options.smollm2, SMOLLM2_PROMPTS)
  if options.gemma3:
    save_real("gemma3_270m", options.gemma3, GEMMA3_PROMPTS)


if __name__ == "__main__":
  main()

"""Makes the golden logits of tests/models/goldens with torch and transformers. From the repository root:

    python -m venv .bench/torch && .bench/torch/bin/pip install torch==2.13.0 transformers==5.23.0
    python -m grpo_jax.tools.convert --source smollm2-135m --target .cache/smollm2-135m
    .bench/torch/bin/python tests/models/make_goldens.py --smollm2 .cache/smollm2-135m

For stories260K and for tiny seeded llama, qwen2 and qwen3 models, NAME.npz holds `tokens_NT` (2 × 24) and
`logits_NTV`; the tiny models' weights are beside it, in a directory as transformers writes it.
smollm2_135m.npz holds for each prompt i `tokens_i` and, at its last 4 positions, `logits_i` of the token ids
`ids` (every 48th) and `logsumexp_i` over all of them. Everything is float32.
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
TINY = {  # every switch that a family adds, and values that are not the defaults
  "tiny_llama": transformers.LlamaConfig(
    **SIZES, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    tie_word_embeddings=False),
  "tiny_qwen2": transformers.Qwen2Config(
    **SIZES, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    tie_word_embeddings=True),
  "tiny_qwen3": transformers.Qwen3Config(
    **SIZES, head_dim=16, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    tie_word_embeddings=True),
}
PROMPTS = (
  "Question: What is 17 + 25?\nAnswer:",
  "<|im_start|>user\nName the larger of 3 and 12.<|im_end|>\n<|im_start|>assistant\n",
  "The capital of France is Paris, and the capital of Italy is",
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


def save_smollm2(path):
  model, tokenizer = load(path), transformers.AutoTokenizer.from_pretrained(path)
  arrays = {"ids": np.arange(0, model.config.vocab_size, 48, dtype=np.int32)}
  for i, prompt in enumerate(PROMPTS):
    tokens = np.array(tokenizer(prompt).input_ids, np.int32)
    last = logits(model, tokens[None])[0, -4:]
    arrays |= {
      f"tokens_{i}": tokens,
      f"logits_{i}": last[:, arrays["ids"]],
      f"logsumexp_{i}": torch.logsumexp(torch.as_tensor(last), -1).numpy(),
    }
    print(repr(prompt), "->", repr(tokenizer.decode(last[-1].argmax())))
  np.savez_compressed(HERE / "goldens" / "smollm2_135m.npz", **arrays)


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--smollm2", help="SmolLM2-135M-Instruct as a Hugging Face directory (optional)")
  options = parser.parse_args()
  torch.set_num_threads(2)
  for name in TINY:
    make_tiny(name)
    save_small(name, HERE / "goldens" / name)
  save_small("stories260k", HERE.parent / "data" / "stories260k")
  if options.smollm2:
    save_smollm2(options.smollm2)


if __name__ == "__main__":
  main()

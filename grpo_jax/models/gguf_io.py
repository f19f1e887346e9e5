"""GGUF import: config, dequantized weights and tokenizer from one file.

The format: docs/gguf.md of github.com/ggml-org/ggml.
"""

import os
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.hf_io import assemble
from grpo_jax.models.hf_names import GGUF, GGUF_FAMILIES

QWEN2_WORDS = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
  r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# Features not computed here: key → the only value accepted.
UNMODELLED = {"rope.scaling.type": "none", "attention.sliding_window": 0, "expert_count": 0}
SPECIAL_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def _smollm():
  """Every digit alone, then GPT-2 words of bytes."""
  words = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
  return None, pre_tokenizers.Sequence(words)


def _qwen2():
  """Qwen2 words (every digit alone) over NFC text, then bytes."""
  words = [
    pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
  ]
  return normalizers.NFC(), pre_tokenizers.Sequence(words)


PRE_TOKENIZERS = {"smollm": _smollm, "qwen2": _qwen2}


def _known(value: str, known: Mapping[str, Any], key: str):
  if value not in known:
    raise ValueError(f"GGUF {key} {value!r} is not supported; known are {', '.join(known)}.")
  return known[value]


def gguf_config(metadata: Mapping[str, Any], vocab_size: int, tie_embeddings: bool) -> ModelConfig:
  """The ModelConfig that GGUF metadata describes; ValueError for what this code does not compute."""
  arch = metadata["general.architecture"]
  family = _known(arch, GGUF_FAMILIES, "general.architecture")

  def get(key, default=None):
    value = metadata.get(f"{arch}.{key}", default)
    if value is None:
      raise ValueError(f"GGUF metadata lacks {arch}.{key}.")
    return value

  for key, harmless in UNMODELLED.items():
    if get(key, harmless) != harmless:
      raise ValueError(f"GGUF {arch}.{key} = {get(key)!r} is not supported yet; only {harmless!r}.")
  heads, width = get("attention.head_count"), get("embedding_length")
  head_width = get("attention.key_length", width // heads)
  for key in ("rope.dimension_count", "attention.value_length"):
    if get(key, head_width) != head_width:
      raise ValueError(f"GGUF {arch}.{key} = {get(key)} is not supported; only the head width, {head_width}.")
  return ModelConfig(
    vocab_size=vocab_size,
    num_layers=get("block_count"),
    width=width,
    ffn_width=get("feed_forward_length"),
    num_heads=heads,
    num_kv_heads=get("attention.head_count_kv", heads),
    head_width=head_width,
    rope_theta=get("rope.freq_base", 10000.0),
    norm_epsilon=float(f"{get('attention.layer_norm_rms_epsilon'):.6g}"),  # 1e-5 was stored as a float32
    tie_embeddings=tie_embeddings,
    attention_bias=family["attention_bias"],
    qk_norm=family["qk_norm"],
    max_positions=get("context_length"),
  )


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
  """Undoes the row order of llama GGUF files for q or k, `[heads * E, D]`.

  Each head there interleaves the two rotary halves (0, E/2, 1, E/2 + 1, …); here they lie side by side.
  """
  return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def gguf_tokenizer(metadata: Mapping[str, Any]) -> PreTrainedTokenizerFast:
  """A fast tokenizer from GGUF metadata: byte-level BPE, control tokens as special tokens, chat template.

  Raises:
    ValueError: a tokenizer model or pre-tokenizer that is not known, by name.
  """
  prefix = "tokenizer.ggml."
  model = metadata.get(prefix + "model", "none")
  if model != "gpt2":
    raise ValueError(f"GGUF tokenizer.ggml.model {model!r} is not supported; only 'gpt2' (byte-level BPE).")
  normalizer, words = _known(metadata.get(prefix + "pre", "default"), PRE_TOKENIZERS, prefix + "pre")()
  tokens, types = metadata[prefix + "tokens"], metadata[prefix + "token_type"]
  merges = [tuple(merge.split(" ")) for merge in metadata[prefix + "merges"]]
  tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
  if normalizer is not None:
    tokenizer.normalizer = normalizer
  tokenizer.pre_tokenizer, tokenizer.decoder = words, decoders.ByteLevel()
  control, user = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED
  pairs = list(zip(tokens, types, strict=True))
  tokenizer.add_special_tokens([AddedToken(token, special=True) for token, kind in pairs if kind == control])
  tokenizer.add_tokens([AddedToken(token, normalized=False) for token, kind in pairs if kind == user])
  names = {}
  for name, key in SPECIAL_TOKENS.items():
    token_id = metadata.get(f"{prefix}{key}_token_id")
    if token_id is not None:
      names[name] = tokens[token_id]
  if metadata.get(prefix + "add_bos_token"):
    bos = names["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
      single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokens.index(bos))])
  return PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    chat_template=metadata.get("tokenizer.chat_template"),
    clean_up_tokenization_spaces=False,
    model_max_length=metadata.get(f"{metadata['general.architecture']}.context_length"),
    **names,
  )


def load_gguf(file: str | os.PathLike, *, dtype=np.float32):
  """Reads a GGUF file of the llama, qwen2 or qwen3 architecture, any quantization that `gguf` dequantizes.

  Returns:
    (ModelConfig, the tree of `config.param_shapes` as numpy arrays of `dtype`, PreTrainedTokenizerFast).
  Raises:
    ValueError: an unsupported architecture, feature or tokenizer, or tensors that do not match one to one.
  """
  reader = gguf.GGUFReader(file)
  metadata = {key: field.contents() for key, field in reader.fields.items()}
  tensors = {tensor.name: tensor for tensor in reader.tensors}
  if "token_embd.weight" not in tensors:
    raise ValueError(f"{file} has no token_embd.weight: it holds no language model.")
  vocab_size = int(tensors["token_embd.weight"].shape[-1])  # GGUF lists the fastest axis first
  cfg = gguf_config(metadata, vocab_size, tie_embeddings="output.weight" not in tensors)
  permuted = GGUF_FAMILIES[metadata["general.architecture"]]["permuted"]

  def read(name):
    weights = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)
    if permuted and name.endswith(("attn_q.weight", "attn_k.weight")):
      return unpermute(weights, cfg.num_heads if "attn_q" in name else cfg.num_kv_heads)
    return weights

  return cfg, assemble(cfg, GGUF, tensors, read, dtype), gguf_tokenizer(metadata)

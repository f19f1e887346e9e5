"""GGUF import: config, dequantized weights and tokenizer from one file.

The format: docs/gguf.md of github.com/ggml-org/ggml.
"""

import os
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np

from grpo_jax.models.config import SIZES, ModelConfig, check_size
from grpo_jax.models.gguf_check import check_gguf
from grpo_jax.models.gguf_tokenizer import gguf_tokenizer, known_value
from grpo_jax.models.hf_names import FAMILIES, GGUF, GGUF_FAMILIES
from grpo_jax.models.rope import RopeScaling, rope_frequencies
from grpo_jax.models.tensors import Tensor, assemble
from grpo_jax.reading import reading

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
ROPE_DIVISORS = "rope_freqs.weight"  # a tensor, where frequencies were scaled as in Llama 3.1


def _scaling(get, divisors: np.ndarray | None, theta: float, head_width: int) -> RopeScaling | None:
  """The rope scaling of the metadata, or the one whose divisors of the frequencies are stored."""
  kind = get("rope.scaling.type", "none")
  if kind not in ("none", "linear"):
    raise ValueError(f"GGUF rope.scaling.type = {kind!r} is not supported yet; only 'none' and 'linear'.")
  if divisors is None:
    return RopeScaling("linear", get("rope.scaling.factor")) if kind == "linear" else None
  scaling = RopeScaling("llama3", float(np.max(divisors)), **LLAMA3)
  plain, scaled = (rope_frequencies(theta, s, head_width, np.float64)[0] for s in (None, scaling))
  if kind != "none" or divisors.shape != plain.shape or not np.allclose(plain / scaled, divisors, rtol=1e-3):
    raise ValueError(f"GGUF tensor {ROPE_DIVISORS} is not the frequency scaling of Llama 3.1; no other is supported.")
  return scaling


def _windows(get, family: Mapping[str, Any], layers: int) -> tuple[int, ...]:
  """`ModelConfig.layer_windows`: all but every n-th layer, where the family has windows."""
  window, every = get("attention.sliding_window", 0), family["windows"]
  if not window:
    return ()
  every = get("attention.sliding_window_pattern", every)
  if not family["windows"] or not isinstance(every, int) or every < 1:
    raise ValueError(f"GGUF attention.sliding_window = {window} with pattern {every!r} is not supported here.")
  return tuple(window if (i + 1) % every else 0 for i in range(layers))


def gguf_config(
  metadata: Mapping[str, Any], vocab_size: int, tie_embeddings: bool, divisors: np.ndarray | None = None
) -> ModelConfig:
  """The ModelConfig that GGUF metadata describes; ValueError for what this code does not compute.

  `divisors`: the tensor of rotary frequency divisors, where the file has one.
  """
  arch = metadata.get("general.architecture")
  family = known_value(arch, GGUF_FAMILIES, "general.architecture")
  hf = FAMILIES[family["model_type"]]

  def get(key, default=None):
    value = metadata.get(f"{arch}.{key}", default)
    if value is None:
      raise ValueError(f"GGUF metadata lacks {arch}.{key}.")
    return value

  heads, width, layers = get("attention.head_count"), get("embedding_length"), get("block_count")
  sizes = {"attention.head_count": "num_heads", "embedding_length": "width", "block_count": "num_layers"}
  for key, ours in sizes.items():
    check_size(f"GGUF {arch}.{key}", get(key), SIZES[ours])
  head_width, theta = get("attention.key_length", width // heads), get("rope.freq_base", hf["rope_theta"])
  for key, only in (("rope.dimension_count", head_width), ("attention.value_length", head_width), ("expert_count", 0)):
    if get(key, only) != only:
      raise ValueError(f"GGUF {arch}.{key} = {get(key)} is not supported; only {only}.")
  local = hf["local_rope_theta"]
  return ModelConfig(
    vocab_size=vocab_size,
    num_layers=layers,
    width=width,
    ffn_width=get("feed_forward_length"),
    num_heads=heads,
    num_kv_heads=get("attention.head_count_kv", heads),
    head_width=head_width,
    rope_theta=theta,
    rope_scaling=_scaling(get, divisors, theta, head_width),
    window_rope_theta=local and get("rope.freq_base_swa", local),
    norm_epsilon=float(f"{get('attention.layer_norm_rms_epsilon'):.6g}"),  # 1e-5 was stored as a float32
    tie_embeddings=tie_embeddings,
    query_scalar=width / heads if layers == family["largest"] else None,
    layer_windows=_windows(get, family, layers),
    max_positions=get("context_length"),
    **{ours: get(theirs, default or 0.0) for ours, (theirs, default) in hf["caps"].items()},
    **hf["switches"],
  )


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
  """Undoes the row order of llama GGUF files for q or k, `[heads * E, D]`.

  Each head there interleaves the two rotary halves (0, E/2, 1, E/2 + 1, …); here they lie side by side.
  """
  return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def open_gguf(file: str | os.PathLike):
  """What a GGUF file holds, weights not read yet, of the llama, qwen2, qwen3, gemma2 or gemma3 architecture.

  Any quantization that `gguf` dequantizes. A slice costs the dequantization of its whole tensor.

  Returns:
    (ModelConfig, name → `tensors.Tensor`, PreTrainedTokenizerFast).
  Raises:
    ValueError: an unsupported architecture, feature or tokenizer.
  """
  with reading(file, "GGUF file", "it is cut off, damaged or not supported: fetch it again"):
    return _open(file)


def _open(file: str | os.PathLike):
  check_gguf(file)
  reader = gguf.GGUFReader(file)
  metadata = {key: field.contents() for key, field in reader.fields.items()}
  stored = {tensor.name: tensor for tensor in reader.tensors}
  if "token_embd.weight" not in stored:
    raise ValueError(f"{file} has no token_embd.weight: it holds no language model.")
  vocab_size = int(stored["token_embd.weight"].shape[-1])  # GGUF lists the fastest axis first
  divisors = stored.pop(ROPE_DIVISORS, None)
  cfg = gguf_config(metadata, vocab_size, "output.weight" not in stored, divisors and np.array(divisors.data))
  permuted = GGUF_FAMILIES[metadata["general.architecture"]]["permuted"]

  def read(name, index):
    weights = gguf.quants.dequantize(stored[name].data, stored[name].tensor_type)
    if permuted and name.endswith(("attn_q.weight", "attn_k.weight")):
      weights = unpermute(weights, cfg.num_heads if "attn_q" in name else cfg.num_kv_heads)
    if cfg.norm_offset and name.endswith("norm.weight"):
      weights = weights - 1  # stored as applied; we keep the difference from 1, as Hugging Face does
    return weights[index]

  tensors = {
    name: Tensor(tuple(int(n) for n in t.shape[::-1]), "F32", lambda index, name=name: read(name, index))
    for name, t in stored.items()}
  return cfg, tensors, gguf_tokenizer(metadata)


def load_gguf(file: str | os.PathLike, *, dtype=np.float32):
  """Reads a GGUF file whole, as `open_gguf`.

  Returns:
    (ModelConfig, the tree of `config.param_shapes` as numpy arrays of `dtype`, PreTrainedTokenizerFast).
  Raises:
    ValueError: as `open_gguf`, or tensors that do not match one to one.
  """
  cfg, tensors, tokenizer = open_gguf(file)
  return cfg, assemble(cfg, GGUF, tensors, dtype), tokenizer

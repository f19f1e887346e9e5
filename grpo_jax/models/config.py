"""What a decoder is: sizes and switches, its parameter tree, and the same facts as a Hugging Face config."""

import dataclasses
from collections.abc import Mapping
from typing import Any

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
COMPUTE_DTYPES = ("float32", "bfloat16", "float64")
SIZES = (
  "vocab_size", "num_layers", "width", "ffn_width",
  "num_heads", "num_kv_heads", "head_width", "max_positions",
)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Sizes and switches of a pre-norm decoder with rotary positions and a gated SiLU MLP.

  Hashable, so that jit takes it as a static argument. Raises ValueError for values that cannot work.
  """

  vocab_size: int  # V
  num_layers: int  # L
  width: int  # D
  ffn_width: int  # F
  num_heads: int  # H, query heads
  num_kv_heads: int  # K, a divisor of H
  head_width: int  # E, even
  rope_theta: float = 10000.0  # base of the rotary wavelengths; half-split layout
  norm_epsilon: float = 1e-5  # added to the mean square in every RMS norm
  tie_embeddings: bool = True  # the output matrix is the transposed embedding
  attention_bias: bool = False  # biases on q, k and v, never on o (Qwen2)
  qk_norm: bool = False  # RMS norm of each query and key head before the rotation (Qwen3)
  max_positions: int = 2048  # longest sequence the weights were trained for, in tokens
  # Choices of the run, in no checkpoint:
  compute_dtype: str = "float32"  # activations: float32 | bfloat16; parameters stay float32
  remat: bool = False  # recompute each layer in the backward pass: less memory, about a third more time
  scan_layers: bool = True  # loop over one compiled layer; False unrolls (faster on CPU, slower to compile)

  def __post_init__(self):
    for name in SIZES:
      value = getattr(self, name)
      if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"ModelConfig.{name} = {value!r} is not a positive integer; give one.")
    for name in ("rope_theta", "norm_epsilon"):
      if not getattr(self, name) > 0:
        raise ValueError(f"ModelConfig.{name} = {getattr(self, name)!r}; give a positive number.")
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f"ModelConfig.num_kv_heads = {self.num_kv_heads} does not divide num_heads = {self.num_heads}; "
        "choose a divisor.")
    if self.head_width % 2:
      raise ValueError(
        f"ModelConfig.head_width = {self.head_width} is odd; rotary positions turn pairs, make it even.")
    if self.attention_bias and self.qk_norm:
      raise ValueError(
        "ModelConfig.attention_bias and qk_norm are both True; no known model family has both, turn one off.")
    if self.compute_dtype not in COMPUTE_DTYPES:
      raise ValueError(
        f"ModelConfig.compute_dtype = {self.compute_dtype!r}; choose {' or '.join(COMPUTE_DTYPES)}.")


def param_shapes(cfg: ModelConfig) -> dict[str, Any]:
  """The parameter tree, shapes for arrays: the one place that says which parameters exist.

  Layers are stacked on axis 0; matrices are `[in, out]`, so that `y = x @ w`.
  """
  L, D, F = cfg.num_layers, cfg.width, cfg.ffn_width
  queries, keys = cfg.num_heads * cfg.head_width, cfg.num_kv_heads * cfg.head_width
  layers = {
    "attention_norm": (L, D),
    "q": (L, D, queries), "k": (L, D, keys), "v": (L, D, keys), "o": (L, queries, D),
    "mlp_norm": (L, D),
    "gate": (L, D, F), "up": (L, D, F), "down": (L, F, D),
  }
  if cfg.attention_bias:
    layers |= {"q_bias": (L, queries), "k_bias": (L, keys), "v_bias": (L, keys)}
  if cfg.qk_norm:
    layers |= {"q_norm": (L, cfg.head_width), "k_norm": (L, cfg.head_width)}
  shapes = {"embed": (cfg.vocab_size, D), "layers": layers, "final_norm": (D,)}
  if not cfg.tie_embeddings:
    shapes["lm_head"] = (D, cfg.vocab_size)
  return shapes


def _rope(data: Mapping[str, Any]) -> dict[str, Any]:
  """Rotary settings: `rope_parameters` of transformers 5, or `rope_theta` beside `rope_scaling` of 4."""
  scaling = data.get("rope_parameters") or data.get("rope_scaling") or {}
  kind = scaling.get("rope_type") or scaling.get("type") or "default"
  theta = scaling.get("rope_theta") or data.get("rope_theta") or 10000.0
  partial = scaling.get("partial_rotary_factor") or data.get("partial_rotary_factor") or 1.0
  return {"rope_type": kind, "rope_theta": float(theta), "partial_rotary_factor": partial}


def _refuse_unmodelled(data: Mapping[str, Any], rope: Mapping[str, Any]) -> None:
  """Raises ValueError for features of these families that this code does not compute."""
  model_type = data["model_type"]
  if rope["rope_type"] != "default":
    raise ValueError(
      f"config.json: rope type {rope['rope_type']!r} is not supported yet; only 'default' (no scaling).")
  if rope["partial_rotary_factor"] != 1.0:
    raise ValueError(
      f"config.json: partial_rotary_factor = {rope['partial_rotary_factor']} is not supported yet; only 1.0.")
  if data.get("hidden_act", "silu") != "silu":
    raise ValueError(f"config.json: hidden_act = {data['hidden_act']!r} is not supported; only 'silu'.")
  if data.get("mlp_bias"):
    raise ValueError("config.json: mlp_bias = true is not supported yet; only MLPs without biases.")
  if data.get("attention_bias") and model_type != "qwen2":
    raise ValueError(
      f"config.json: attention_bias = true with model_type {model_type!r} biases the output projection too, "
      "which is not supported; only the biases of qwen2 (q, k, v) are.")
  if data.get("quantization_config"):
    raise ValueError("config.json: quantization_config is not supported; use the unquantized checkpoint.")
  layer_types = data.get("layer_types")
  if layer_types is None and data.get("use_sliding_window") and data.get("sliding_window") is not None:
    full = data.get("max_window_layers", 28)  # the transformers default
    layer_types = ["full_attention"] * full + ["sliding_attention"] * (data["num_hidden_layers"] - full)
  windowed = sorted(set(layer_types or ()) - {"full_attention"})
  if windowed and model_type != "llama":  # llama has no layer types: the key is dead there
    raise ValueError(
      f"config.json: layers of type {', '.join(windowed)} are not supported yet; only full_attention.")


def from_hf(data: Mapping[str, Any]) -> ModelConfig:
  """A ModelConfig from the contents of a Hugging Face `config.json` (transformers 4 or 5 format).

  Absent optional keys take the defaults of the transformers classes: that is what absence means there.

  Raises:
    ValueError: unknown `model_type`, a missing size, or a feature this code does not compute.
  """
  model_type = data.get("model_type")
  if model_type not in ARCHITECTURES:
    raise ValueError(
      f"config.json: model_type {model_type!r} is not supported; known are {', '.join(ARCHITECTURES)}.")
  required = ("vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
  missing = [key for key in required if data.get(key) is None]
  if missing:
    raise ValueError(f"config.json: {', '.join(missing)} missing; add what the checkpoint was trained with.")
  rope = _rope(data)
  _refuse_unmodelled(data, rope)
  width, heads = data["hidden_size"], data["num_attention_heads"]
  return ModelConfig(
    vocab_size=data["vocab_size"],
    num_layers=data["num_hidden_layers"],
    width=width,
    ffn_width=data["intermediate_size"],
    num_heads=heads,
    num_kv_heads=data.get("num_key_value_heads") or heads,
    head_width=data.get("head_dim") or (128 if model_type == "qwen3" else width // heads),
    rope_theta=rope["rope_theta"],
    norm_epsilon=float(data.get("rms_norm_eps", 1e-6)),
    tie_embeddings=bool(data.get("tie_word_embeddings", False)),
    attention_bias=model_type == "qwen2",
    qk_norm=model_type == "qwen3",
    max_positions=data.get("max_position_embeddings") or (2048 if model_type == "llama" else 32768),
  )


def to_hf(cfg: ModelConfig, dtype: str = "float32") -> dict[str, Any]:
  """The `config.json` that transformers 4 and 5 load this model with; `dtype` is the stored weights'."""
  model_type = "qwen3" if cfg.qk_norm else "qwen2" if cfg.attention_bias else "llama"
  data = {
    "architectures": [ARCHITECTURES[model_type]],
    "model_type": model_type,
    "vocab_size": cfg.vocab_size,
    "num_hidden_layers": cfg.num_layers,
    "hidden_size": cfg.width,
    "intermediate_size": cfg.ffn_width,
    "num_attention_heads": cfg.num_heads,
    "num_key_value_heads": cfg.num_kv_heads,
    "head_dim": cfg.head_width,
    "hidden_act": "silu",
    "max_position_embeddings": cfg.max_positions,
    "rms_norm_eps": cfg.norm_epsilon,
    "rope_theta": cfg.rope_theta,  # read by transformers 4
    "rope_parameters": {"rope_type": "default", "rope_theta": cfg.rope_theta},  # read by transformers 5
    "tie_word_embeddings": cfg.tie_embeddings,
    "bos_token_id": None,  # an absent key would mean 1 (bos) and 2 (eos) for llama
    "eos_token_id": None,
    "torch_dtype": dtype,
    "dtype": dtype,
  }
  if model_type != "qwen2":  # qwen2 means biases without saying so
    data["attention_bias"] = False
  return data | ({"mlp_bias": False} if model_type == "llama" else {"use_sliding_window": False})

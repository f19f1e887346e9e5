"""A ModelConfig from the `config.json` of a Hugging Face model, and back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from grpo_jax.models.config import SIZES, ModelConfig, check_size, is_number
from grpo_jax.models.hf_names import FAMILIES
from grpo_jax.models.rope import RopeScaling

REQUIRED = ("vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
INTEGERS = {  # their name → ours, whose limit holds for it
  "vocab_size": "vocab_size", "num_hidden_layers": "num_layers", "hidden_size": "width",
  "intermediate_size": "ffn_width", "num_attention_heads": "num_heads", "num_key_value_heads": "num_kv_heads",
  "head_dim": "head_width", "max_position_embeddings": "max_positions", "sliding_window": "max_positions",
  "sliding_window_pattern": "num_layers",
}
CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
POSITIVE = ("rms_norm_eps", "rope_theta", "rope_local_base_freq", "query_pre_attn_scalar")
OTHERS = {  # their name → type, and what a message calls it
  "tie_word_embeddings": (bool, "true or false"), "use_sliding_window": (bool, "true or false"),
  "max_window_layers": (int, "a number of layers"), "layer_types": (list, "a list with a kind for each layer"),
  "hidden_act": (str, "a name"), "hidden_activation": (str, "a name"),
  "rope_parameters": (dict, "an object"), "rope_scaling": (dict, "an object"),
}
NULL_IS_NONE = (*CAPS, "sliding_window")  # null: no cap, no window
ACTIVATION_NAMES = {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"}  # ours → theirs
FULL, SLIDING = "full_attention", "sliding_attention"
RUN_CHOICES = ("compute_dtype", "remat", "scan_layers")  # fields that no checkpoint knows


def _refuse_partial(factor) -> None:
  if factor not in (None, 1.0):
    raise ValueError(f"config.json: partial_rotary_factor = {factor} is not supported yet; only 1.0.")


def _known(data: Mapping[str, Any]) -> dict[str, Any]:
  """The keys that say something, null ones left out where null means the default; ValueError for wrong types."""
  data = {key: value for key, value in data.items() if value is not None or key in NULL_IS_NONE}
  if not isinstance(data.get("model_type"), str) or data["model_type"] not in FAMILIES:
    raise ValueError(
      f"config.json: model_type {data.get('model_type')!r} is not supported; known are {', '.join(FAMILIES)}.")
  missing = [key for key in REQUIRED if key not in data]
  if missing:
    raise ValueError(f"config.json: {', '.join(missing)} missing; add what the checkpoint was trained with.")
  given = {key: value for key, value in data.items() if value is not None}
  for key in INTEGERS.keys() & given.keys():
    check_size(f"config.json: {key}", given[key], SIZES[INTEGERS[key]])
  for key in POSITIVE:
    if key in given and (not is_number(given[key]) or given[key] <= 0):
      raise ValueError(f"config.json: {key} = {given[key]!r} is not a positive number; give one.")
  for key in CAPS:
    if key in given and (not is_number(given[key]) or given[key] < 0):
      raise ValueError(f"config.json: {key} = {given[key]!r} must be a positive number, or null for none; correct it.")
  for key, (kind, words) in OTHERS.items():
    if key in given and not isinstance(given[key], kind):
      raise ValueError(f"config.json: {key} = {given[key]!r:.60} must be {words}; correct it.")
  return data


def _rope_of(given: Mapping[str, Any] | None, theta: float, max_positions: int):
  """(theta, RopeScaling or None) of one group of rotary settings; ValueError for what is not computed."""
  if given is not None and not isinstance(given, Mapping):
    raise ValueError(f"config.json: rope_parameters has {given!r:.60} where an object belongs; correct it.")
  given = {k: v for k, v in (given or {}).items() if v is not None}
  kind = given.pop("rope_type", given.get("type", "default"))
  given.pop("type", None)
  theta = given.pop("rope_theta", theta)
  if not isinstance(kind, str) or not is_number(theta):
    raise ValueError(f"config.json: rope_type = {kind!r}, rope_theta = {theta!r}: must be a name and a number.")
  theta = float(theta)
  _refuse_partial(given.pop("partial_rotary_factor", 1.0))
  if kind == "default":
    return theta, None
  if kind in ("llama3", "yarn"):
    given.setdefault("original_max_position_embeddings", max_positions)
  unknown = given.keys() - {field.name for field in dataclasses.fields(RopeScaling)}
  if unknown:
    raise ValueError(f"config.json: rope type {kind!r} with {', '.join(sorted(unknown))} is not supported.")
  if kind == "linear":
    given.pop("original_max_position_embeddings", None)  # changes nothing there
  try:
    return theta, RopeScaling(kind, **given)
  except (TypeError, ValueError) as error:
    raise ValueError(f"config.json: {error}") from error


def _ropes(data: Mapping[str, Any], family: Mapping[str, Any], max_positions: int) -> dict[str, Any]:
  """Rotary fields from `rope_parameters` of transformers 5, or `rope_theta` beside `rope_scaling` of 4."""
  given = data.get("rope_parameters") or data.get("rope_scaling") or {}
  theta = data.get("rope_theta") or family["rope_theta"]
  local_theta = data.get("rope_local_base_freq") or family["local_rope_theta"]
  nested = FULL in given or SLIDING in given
  if nested and local_theta is None:
    raise ValueError("config.json: rope_parameters by layer type are supported only for gemma3_text.")
  rope = _rope_of(given.get(FULL) if nested else given, theta, max_positions)
  fields = dict(zip(("rope_theta", "rope_scaling"), rope, strict=True))
  if local_theta is not None:
    local = _rope_of(given.get(SLIDING) if nested else None, local_theta, max_positions)
    fields |= zip(("window_rope_theta", "window_rope_scaling"), local, strict=True)
  return fields


def _windows(data: Mapping[str, Any], family: Mapping[str, Any]) -> tuple[int, ...]:
  """`ModelConfig.layer_windows` from `layer_types` and `sliding_window`, or from the older keys."""
  layers = data["num_hidden_layers"]
  if family["windows"] is None:
    return ()  # llama has no layer types: the keys are dead there
  if family["windows"] == "last":
    window = data.get("sliding_window") if data.get("use_sliding_window") else None
    whole = data.get("max_window_layers", 28) if window is not None else layers
    kinds = [FULL if i < whole else SLIDING for i in range(layers)]
  else:
    window = data.get("sliding_window", 4096)
    every = data.get("sliding_window_pattern") or family["windows"]
    kinds = [SLIDING if (i + 1) % every else FULL for i in range(layers)]
  kinds = data.get("layer_types", kinds)
  unknown = sorted({str(kind) for kind in kinds} - {FULL, SLIDING})
  if unknown:
    raise ValueError(f"config.json: layers of type {', '.join(unknown)} are not supported; only {FULL} and {SLIDING}.")
  if SLIDING in kinds and not window:
    raise ValueError(f"config.json: layer_types has {SLIDING} but no sliding_window is in force; give its tokens.")
  if len(kinds) != layers:
    raise ValueError(f"config.json: layer_types has {len(kinds)} entries for num_hidden_layers = {layers}; correct it.")
  if SLIDING not in kinds:
    return ()
  return tuple(window if kind == SLIDING else 0 for kind in kinds)


def _refuse_unmodelled(data: Mapping[str, Any]) -> None:
  """Raises ValueError for features of these families that this code does not compute."""
  model_type = data["model_type"]
  switches = FAMILIES[model_type]["switches"]
  key = "hidden_act" if switches["activation"] == "silu" else "hidden_activation"  # hidden_act is dead in Gemma
  expected = ACTIVATION_NAMES[switches["activation"]]
  if (data.get(key) or expected) != expected:
    raise ValueError(f"config.json: {key} = {data[key]!r} is not supported for {model_type}; only {expected!r}.")
  _refuse_partial(data.get("partial_rotary_factor"))
  if data.get("mlp_bias"):
    raise ValueError("config.json: mlp_bias = true is not supported yet; only MLPs without biases.")
  if data.get("attention_bias") and not switches["attention_bias"]:
    raise ValueError(
      f"config.json: attention_bias = true with model_type {model_type!r} biases the output projection too, "
      "which is not supported; only the biases of qwen2 (q, k, v) are.")
  if data.get("use_bidirectional_attention"):
    raise ValueError("config.json: use_bidirectional_attention = true is not supported; only causal attention.")
  if data.get("quantization_config"):
    raise ValueError("config.json: quantization_config is not supported; use the unquantized checkpoint.")
  if model_type == "gemma3_text" and data.get("attn_logit_softcapping"):
    raise ValueError("config.json: attn_logit_softcapping is dead in transformers' gemma3_text; set it to null.")


def from_hf(data: Mapping[str, Any]) -> ModelConfig:
  """A ModelConfig from the contents of a Hugging Face `config.json` (transformers 4 or 5 format).

  Optional keys that are absent or null take the defaults of the transformers classes, as there.

  Raises:
    ValueError: unknown `model_type`, a missing size, a value of the wrong type, or a feature not computed here.
  """
  data = _known(data)
  _refuse_unmodelled(data)
  family = FAMILIES[data["model_type"]]
  width, heads = data["hidden_size"], data["num_attention_heads"]
  if width % heads and not (data.get("head_dim") or family["head_width"]):
    raise ValueError(
      f"config.json: num_attention_heads = {heads} does not divide hidden_size = {width} and head_dim is not given; "
      "correct one of them.")
  head_width = data.get("head_dim") or family["head_width"] or width // heads
  max_positions = data.get("max_position_embeddings") or family["max_positions"]
  scalar = data.get("query_pre_attn_scalar", family["query_scalar"]) if family["query_scalar"] else head_width
  caps = {ours: float(data.get(theirs, default) or 0) for ours, (theirs, default) in family["caps"].items()}
  return ModelConfig(
    vocab_size=data["vocab_size"],
    num_layers=data["num_hidden_layers"],
    width=width,
    ffn_width=data["intermediate_size"],
    num_heads=heads,
    num_kv_heads=data.get("num_key_value_heads") or heads,
    head_width=head_width,
    norm_epsilon=float(data.get("rms_norm_eps", 1e-6)),
    tie_embeddings=bool(data.get("tie_word_embeddings", family["tied"])),
    query_scalar=None if scalar == head_width else float(scalar),
    layer_windows=_windows(data, family),
    max_positions=max_positions,
    **_ropes(data, family, max_positions), **caps, **family["switches"],
  )


def _scaling_dict(theta: float, scaling: RopeScaling | None) -> dict[str, Any]:
  """One group of rotary settings as transformers 5 writes it."""
  numbers = {k: v for k, v in dataclasses.asdict(scaling).items() if v is not None} if scaling else {"kind": "default"}
  return {"rope_type": numbers.pop("kind"), "rope_theta": theta, **numbers}


def _rope_dict(cfg: ModelConfig, family: Mapping[str, Any]) -> dict[str, Any]:
  """The rotary keys that transformers 4 reads (top level, rope_scaling) and those that 5 does (rope_parameters)."""
  rope = _scaling_dict(cfg.rope_theta, cfg.rope_scaling)
  data = {"rope_theta": cfg.rope_theta, "rope_parameters": rope}
  if cfg.rope_scaling is not None:
    data["rope_scaling"] = {k: v for k, v in rope.items() if k != "rope_theta"}
  if family["local_rope_theta"] is not None and cfg.window_rope_theta is not None:
    local = _scaling_dict(cfg.window_rope_theta, cfg.window_rope_scaling)
    data |= {"rope_local_base_freq": cfg.window_rope_theta, "rope_parameters": {FULL: rope, SLIDING: local}}
  return data


def _family_dict(cfg: ModelConfig, model_type: str) -> dict[str, Any]:
  """The keys that only some families have."""
  family = FAMILIES[model_type]
  data = {theirs: getattr(cfg, ours) or None for ours, (theirs, _) in family["caps"].items()}
  if model_type != "qwen2":  # qwen2 means biases without saying so
    data["attention_bias"] = False
  if model_type == "llama":
    data["mlp_bias"] = False
  if family["windows"] is not None:
    kinds = [SLIDING if window else FULL for window in cfg.layer_windows or (0,) * cfg.num_layers]
    data |= {"layer_types": kinds, "sliding_window": max(cfg.windows) or None}
  if family["windows"] == "last":
    data |= {
      "use_sliding_window": SLIDING in kinds,
      "max_window_layers": kinds.index(SLIDING) if SLIDING in kinds else cfg.num_layers}
  elif family["windows"]:
    data["sliding_window"] = max(cfg.windows) or cfg.max_positions  # transformers wants a number in any case
  if family["query_scalar"]:
    scalar = cfg.query_scalar or cfg.head_width
    data["query_pre_attn_scalar"] = int(scalar) if scalar == int(scalar) else scalar
  return data


def to_hf(cfg: ModelConfig, dtype: str = "float32") -> dict[str, Any]:
  """The `config.json` that transformers 4 and 5 load this model with; `dtype` is the stored weights'.

  Raises:
    ValueError: no Hugging Face family computes this model; the message names the fields in the way.
  """
  fits = [name for name, family in FAMILIES.items()
          if all(getattr(cfg, field) == value for field, value in family["switches"].items())]
  if not fits:
    fields = ", ".join(f"{name} = {getattr(cfg, name)!r}" for name in FAMILIES["llama"]["switches"])
    raise ValueError(f"no Hugging Face model type has {fields} together; known are {', '.join(FAMILIES)}.")
  model_type, family = fits[0], FAMILIES[fits[0]]
  data = {
    "architectures": [family["class"]],
    "model_type": model_type,
    "vocab_size": cfg.vocab_size,
    "num_hidden_layers": cfg.num_layers,
    "hidden_size": cfg.width,
    "intermediate_size": cfg.ffn_width,
    "num_attention_heads": cfg.num_heads,
    "num_key_value_heads": cfg.num_kv_heads,
    "head_dim": cfg.head_width,
    "hidden_act" if cfg.activation == "silu" else "hidden_activation": ACTIVATION_NAMES[cfg.activation],
    "max_position_embeddings": cfg.max_positions,
    "rms_norm_eps": cfg.norm_epsilon,
    "tie_word_embeddings": cfg.tie_embeddings,
    "bos_token_id": None,  # an absent key would mean 1 (bos) and 2 (eos) for llama
    "eos_token_id": None,
    "torch_dtype": dtype,
    "dtype": dtype,
    **_rope_dict(cfg, family), **_family_dict(cfg, model_type),
  }
  again = dataclasses.asdict(from_hf(data))
  lost = [f"{k} = {v!r}" for k, v in dataclasses.asdict(cfg).items() if k not in RUN_CHOICES and again[k] != v]
  if lost:
    raise ValueError(f"a Hugging Face {model_type} model cannot have {', '.join(lost)}; it cannot be written.")
  return data

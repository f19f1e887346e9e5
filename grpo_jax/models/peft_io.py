"""Adapters in and out of PEFT's format: adapter_config.json and adapter_model.safetensors."""

import json
import os
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from grpo_jax.models.config import SIZES, check_size, is_number
from grpo_jax.models.hf_names import HF
from grpo_jax.models.lora import LoraSpec, matched
from grpo_jax.reading import read_json, reading

PREFIX = "base_model.model."
FILES = ("adapter_config.json", "adapter_model.safetensors")
SIDES = {"a": "lora_A", "b": "lora_B"}


def _stem(name: str) -> str:
  """`model.layers.{}.self_attn.q_proj` of our `q`."""
  return HF["layers"][name][0].removesuffix(".weight")


def save_peft(path: str | os.PathLike, spec: LoraSpec, adapters, *, base: str = "") -> Path:
  """Writes adapters as PEFT reads them; `base` names the model they belong to. Returns the directory."""
  path = Path(path)
  path.mkdir(parents=True, exist_ok=True)
  tensors = {}
  for name, pair in adapters["layers"].items():
    for side, theirs in SIDES.items():
      for layer, matrix in enumerate(np.asarray(pair[side])):  # PEFT stores [out, in], as torch does
        tensors[f"{PREFIX}{_stem(name).format(layer)}.{theirs}.weight"] = np.ascontiguousarray(matrix.T)
  config = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": spec.rank,
    "lora_alpha": spec.alpha, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
    "target_modules": sorted(f"{name}_proj" for name in spec.targets),
  }
  (path / FILES[0]).write_text(json.dumps(config, indent=2) + "\n")
  save_file(tensors, path / FILES[1], metadata={"format": "pt"})
  return path


def load_peft(path: str | os.PathLike, num_layers: int) -> tuple[LoraSpec, dict]:
  """The adapters of a PEFT directory and their spec.

  Raises:
    ValueError: files are missing, a setting is not supported, or tensors do not match the layers one to one.
  """
  path = Path(path)
  for file in FILES:
    if not (path / file).is_file():
      raise ValueError(f"{path} has no {file}; give a directory of PEFT adapters.")
  with reading(path, "folder of PEFT adapters"):
    return _loaded(path, num_layers)


def _loaded(path: Path, num_layers: int) -> tuple[LoraSpec, dict]:
  config = read_json(path / FILES[0])
  for key in ("use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"):
    if config.get(key):
      raise ValueError(f"{path}: {key}={config[key]!r} is not supported; only plain LoRA is.")
  targets, alpha = config["target_modules"], config["lora_alpha"]
  targets = [targets] if isinstance(targets, str) else targets
  check_size(f"{path / FILES[0]}: r", config["r"], SIZES["width"])
  if not is_number(alpha) or not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
    raise ValueError(f"{path / FILES[0]}: lora_alpha must be a number, target_modules a list of names; correct them.")
  spec = LoraSpec(config["r"], float(alpha), matched(targets))
  tensors, layers = load_file(path / FILES[1]), {}
  for name in spec.targets:
    pair = {}
    for side, theirs in SIDES.items():
      keys = [f"{PREFIX}{_stem(name).format(layer)}.{theirs}.weight" for layer in range(num_layers)]
      if missing := [key for key in keys if key not in tensors]:
        raise ValueError(f"{path} lacks {missing[0]}; it must hold adapters for all {num_layers} layers.")
      kind, at = ("rows", 0) if side == "a" else ("columns", 1)
      if any(tensors[key].ndim != 2 or tensors[key].shape[at] != spec.rank for key in keys):
        raise ValueError(f"{path}: {keys[0]} and its like must be matrices of r={spec.rank} {kind}; correct r.")
      pair[side] = np.stack([tensors.pop(key).T.astype(np.float32) for key in keys])
    layers[name] = pair
  if tensors:
    raise ValueError(f"{path} has {len(tensors)} tensors unknown to its config, such as {min(tensors)}.")
  return spec, {"layers": layers}

"""The model and tokenizer of a run, from whatever `model.path` names: files, a package, another run's folder."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from grpo_jax.config.defaults import default_config
from grpo_jax.config.stages import kind_of, last_stage
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.load import open_any, resolve_model_path
from grpo_jax.models.lora import LoraSpec, matched, merged
from grpo_jax.models.shapes import shape_named
from grpo_jax.reading import read_json, reading
from grpo_jax.runs.run_files import CONFIG, checked_config
from grpo_jax.runs.saved import check_base, read_params, steps_in
from grpo_jax.text.special import generation_settings
from grpo_jax.text.tokenizer import Tokenizer, character_tokenizer, load_tokenizer, wrap_tokenizer
from grpo_jax.training.fingerprint import fingerprint

ATTENTIONS = ("auto", "xla", "splash", "cudnn")
UNROLL_LAYERS = 8  # on CPU, models up to this deep run faster with their layer loop unrolled


@dataclasses.dataclass(frozen=True)
class Model:
  """A model before it is trained. `weights(dtype=float32, shardings=None)` reads its parameters; None from scratch."""

  cfg: ModelConfig
  tokenizer: Tokenizer
  weights: Callable | None
  generation: Mapping[str, Any]  # the generation_config.json that came with the model, {} where there is none


def kept_on_export(tokenizer: Tokenizer, generation: Mapping[str, Any]) -> dict[str, Any]:
  """Arguments of `save_hf`: every id that completions stopped at, the eos token first, and how the model is sampled."""
  first = [i for i in (tokenizer.backend.eos_token_id,) if i in tokenizer.stop_ids]
  return {"eos_ids": (*first, *(i for i in tokenizer.stop_ids if i not in first)), "generation": generation}


def lora_spec(config: ConfigDict) -> LoraSpec | None:
  """The adapters of `config.lora`, None where its rank is 0."""
  return LoraSpec(config.lora.rank, config.lora.alpha, matched(config.lora.targets)) if config.lora.rank else None


def load_model(config: ConfigDict, platform: str = "") -> Model:
  """The model that `config.model`, `config.tokenizer` and `config.lora` describe, before any training.

  Args:
    platform: cpu, gpu or tpu, where programs are for another one than jax runs on.
  Raises:
    ValueError: nothing is at `model.path`, or the tokenizer does not fit the model.
  """
  path, t, m = config.model.path, config.tokenizer, config.model
  if path and is_run(path):
    found = load_run(path)
    tokenizer = load_tokenizer(t.path, **_text_options(config)) if t.path else found.tokenizer
    cfg = _with_choices(found.cfg, config, platform)
    return Model(cfg, _fitting(tokenizer, cfg, config), found.weights, found.generation)
  loaded, weights, own = open_any(path) if path else (None, None, None)
  tokenizer = _tokenizer(config, own)
  if loaded is None and m.shape:
    loaded = shape_named(m.shape)
  elif loaded is None:
    sizes = {k: m[k] for k in ("num_layers", "width", "ffn_width", "num_heads", "num_kv_heads", "head_width",
                               "qk_norm", "attention_bias")}
    longest = max(config.prompt_buckets) + max(config.completion_buckets)
    loaded = ModelConfig(vocab_size=tokenizer.vocab_size, max_positions=longest, **sizes)
  generation = generation_settings(resolve_model_path(path)) if path else {}
  return Model(_with_choices(loaded, config, platform), _fitting(tokenizer, loaded, config), weights, generation)


def _tokenizer(config, own) -> Tokenizer:
  """The tokenizer named, else the model's own, else characters."""
  t, options = config.tokenizer, _text_options(config)
  if t.path or (config.model.path and resolve_model_path(config.model.path).is_dir()):
    return load_tokenizer(t.path or config.model.path, **options)
  if own is not None:
    with reading(config.model.path, "tokenizer"):
      return wrap_tokenizer(own, **options)
  return character_tokenizer(t.alphabet, **options)


def _text_options(config) -> dict:
  t = config.tokenizer
  return {"stop": tuple(t.stop), "add_bos": t.add_bos, "special_in_text": t.special_in_text}


def _fitting(tokenizer: Tokenizer, cfg: ModelConfig, config) -> Tokenizer:
  """The tokenizer, after checking that its ids are ids of the model."""
  largest = max(tokenizer.vocab_size - 1, *tokenizer.stop_ids, 0)
  if largest >= cfg.vocab_size:
    raise ValueError(
      f"tokenizer.path={config.tokenizer.path!r} has token ids up to {largest} but the model of model.path="
      f"{config.model.path!r} only {cfg.vocab_size} embeddings; use the tokenizer that belongs to the model."
    )
  for key in ("prompt_template", "shot_template"):
    named = [t for t in tokenizer.special_tokens if t in str(config.data.get(key, ""))]
    if named and not tokenizer.special_in_text:
      raise ValueError(
        f"data.{key} has {named[0]!r}, which is ordinary text in prompts; set tokenizer.special_in_text=True if it "
        "shall act (those in the data then act too), or use data.chat_template."
      )
  return tokenizer


def check_positions(cfg: ModelConfig, config) -> None:
  """Raises ValueError where the largest buckets make sequences longer than any that a given model was trained for."""
  longest = max(config.prompt_buckets) + max(config.completion_buckets)
  if config.model.path and longest > cfg.max_positions:
    raise ValueError(
      f"prompt_buckets={tuple(config.prompt_buckets)} and completion_buckets={tuple(config.completion_buckets)} make "
      f"{longest} tokens, but model.path={config.model.path!r} was trained for {cfg.max_positions}; lower them, or "
      "raise max_position_embeddings in its config.json if it can do more."
    )


def _with_choices(cfg: ModelConfig, config, platform: str) -> ModelConfig:
  m, platform = config.model, platform or jax.default_backend()
  scan = m.scan_layers
  if scan is None:
    scan = not (platform == "cpu" and cfg.num_layers <= UNROLL_LAYERS)
  choices = {"compute_dtype": m.compute_dtype, "remat": m.remat, "scan_layers": scan}
  return dataclasses.replace(cfg, attention=_attention(config, platform), **choices)


def _attention(config, platform: str) -> str:
  """`model.attention` as the decoder takes it; a kernel knows nothing of tokens that are split over devices."""
  asked, split = config.model.attention, config.mesh.sequence != 1
  if asked == "auto":
    return "splash" if platform == "tpu" and not split else "xla"
  if asked not in ATTENTIONS:
    raise ValueError(f"model.attention={asked!r} is unknown; choose one of {ATTENTIONS}.")
  if asked != "xla" and split:
    raise ValueError(f"model.attention={asked!r} wants mesh.sequence=1, not {config.mesh.sequence}; choose xla.")
  if asked == "cudnn" and platform != "gpu":
    raise ValueError(f"model.attention='cudnn' needs a GPU, not {platform}; choose auto.")
  return "splash_interpreted" if asked == "splash" and platform != "tpu" else asked


def _split(path: str) -> tuple[pathlib.Path, str]:
  """A run's folder, and the step after `@` if one is named."""
  folder, at, step = str(path).rpartition("@")
  return pathlib.Path(folder if at else step).expanduser(), step if at else ""


def is_run(path: str) -> bool:
  """Whether this is the folder of a run, with or without `@STEP`."""
  folder, _ = _split(path)
  file = folder / CONFIG
  return file.is_file() and "identity" in read_json(file)


def _step_of(directory: pathlib.Path, step: str) -> int:
  """The step, or the newest where none is named; ValueError where it is not there."""
  steps = [str(found) for found in steps_in(directory)]
  if not steps or (step and step not in steps):
    raise ValueError(f"{directory} has no checkpoint {step or 'at all'}, it has {steps}; finish the run or give one.")
  return int(step or steps[-1])


def run_config(folder: pathlib.Path) -> ConfigDict:
  """The config that a run's folder records; a run of earlier code has the defaults of keys that came later."""
  config = default_config().unlock()
  config.update(checked_config(folder / CONFIG)["config"])
  return config


def policy_files(path: str) -> list[pathlib.Path]:
  """The files of the checkpoint that `model.path` names by the folder of a run; ValueError where there is none."""
  folder, step = _split(path)
  checkpoints = folder / last_stage(run_config(folder).task) / "checkpoints"
  return [file for file in (checkpoints / str(_step_of(checkpoints, step))).rglob("*") if file.is_file()]


def load_run(path: str) -> Model:
  """The policy of a run's last stage: `FOLDER` for its newest checkpoint, `FOLDER@STEP` for another that it kept.

  Adapters come merged into their base. Raises ValueError where the folder has no such checkpoint, or a reward model.
  """
  folder, step = _split(path)
  config = run_config(folder)
  stage = last_stage(config.task)
  if not kind_of(config.task).policy:
    raise ValueError(f"model.path={str(path)!r} is a reward model, not a policy; give the folder of another run.")
  model, spec, checkpoints = load_model(config), lora_spec(config), folder / stage / "checkpoints"
  _step_of(checkpoints, step)  # is it there?

  def read(dtype=np.float32, shardings=None):
    params, base = read_params(checkpoints, _step_of(checkpoints, step))
    if spec:
      params = merged_export(model.weights, params, spec, config.lora.base_dtype, lambda own: check_base(
        checkpoints, base, own))
    params = jax.tree.map(lambda a: a.astype(dtype), params)
    return params if shardings is None else jax.tree.map(jax.device_put, params, shardings)

  return dataclasses.replace(model, weights=read)


def merged_export(read: Callable, adapters, spec: LoraSpec, base_dtype: str, check: Callable | None = None) -> dict:
  """Adapters merged into the base they were trained on, which `read` reads, as float32 host arrays.

  `check` is given the base's fingerprint, and raises where it is another base.
  """
  base = read(jnp.dtype(base_dtype))
  if check:
    check(jax.jit(fingerprint)(base))
  base = jax.tree.map(lambda a: a.astype(np.float32), base)
  return jax.tree.map(np.asarray, merged(base, adapters, spec.scale))

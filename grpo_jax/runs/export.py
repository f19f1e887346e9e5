"""The end of a run as files others read: a Hugging Face directory, and with LoRA the adapters in PEFT's format too."""

import pathlib

from grpo_jax.distributed.multihost import fetch, is_first
from grpo_jax.models.hf_io import save_hf
from grpo_jax.models.peft_io import save_peft
from grpo_jax.runs.model import kept_on_export, merged_export
from grpo_jax.runs.setup import Setup


def write_export(setup: Setup, workdir: pathlib.Path, params) -> list[pathlib.Path]:
  """Writes the final model to `workdir/export`, adapters merged, and the adapters alone to `workdir/adapter`."""
  written, params = [], fetch(params)
  if not is_first():
    return written
  if setup.lora:
    written.append(save_peft(workdir / "adapter", setup.lora, params, base=setup.config.model.path))
    params = merged_export(setup.weights, params, setup.lora, setup.config.lora.base_dtype)
  kept = kept_on_export(setup.tokenizer, setup.generation)
  return [save_hf(workdir / "export", setup.cfg, params, tokenizer=setup.tokenizer.backend, **kept), *written]

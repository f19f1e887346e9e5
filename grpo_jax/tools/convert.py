"""Converts a model: Hugging Face directories, checkpoints, GGUF files, LoRA adapters.

  python -m grpo_jax.tools.convert --source smollm2-135m --target models/smollm2        GGUF to Hugging Face
  python -m grpo_jax.tools.convert --source runs/arithmetic-1a2b --target models/mine   a run's policy to Hugging Face
  python -m grpo_jax.tools.convert --source BASE --adapter ADAPTER --target OUT         PEFT adapters merged into a base
  python -m grpo_jax.tools.convert --source MODEL --target OUT --to checkpoint          to an orbax checkpoint

SOURCE is the folder of a run (FOLDER@STEP for another checkpoint than its newest), a Hugging Face directory, an orbax
checkpoint, a .gguf file, `package:PIP-NAME` (an installed package that holds a .gguf file) or a short name such as
smollm2-135m. All that is written can be read again as SOURCE and as config.model.path. Weights are float32.
"""

import argparse
import sys

import jax
import numpy as np

from grpo_jax.models.hf_io import kept_generation, save_hf
from grpo_jax.models.load import load_any, resolve_model_path
from grpo_jax.models.lora import merged
from grpo_jax.models.orbax_io import save_orbax
from grpo_jax.models.peft_io import load_peft
from grpo_jax.quiet import quiet
from grpo_jax.reading import reading
from grpo_jax.runs.model import is_run, kept_on_export, load_run
from grpo_jax.text.special import generation_settings, special_ids


def read(source: str):
  """(ModelConfig, parameters, transformers tokenizer or None, what `save_hf` keeps) of any source."""
  if is_run(source):
    model = load_run(source)
    return model.cfg, model.weights(), model.tokenizer.backend, kept_on_export(model.tokenizer, model.generation)
  found = resolve_model_path(source)
  kept = {}
  if found.is_dir():
    bos_id, eos_ids = special_ids(found)
    kept = {"bos_id": bos_id, "eos_ids": eos_ids, "generation": generation_settings(found)}
  return *load_any(source), kept


def convert(source: str, target: str, *, adapter: str = "", to: str = "hf", max_shard_bytes: int):
  """Writes `source` as `target`, returns its path; ValueError as in the loaders."""
  cfg, params, tokenizer, kept = read(source)
  if adapter:
    spec, adapters = load_peft(adapter, cfg.num_layers)
    with reading(adapter, "adapter of this model"):
      params = jax.tree.map(np.asarray, merged(params, adapters, spec.scale))
  if to == "checkpoint":
    ids = {"eos_token_id": list(kept.get("eos_ids", ())) or None}
    generation = kept_generation(kept.get("generation"), ids)
    return save_orbax(target, cfg, params, tokenizer=tokenizer, generation=generation)
  return save_hf(target, cfg, params, tokenizer=tokenizer, max_shard_bytes=max_shard_bytes, **kept)


def main(arguments=None) -> int:
  """Command line; returns the exit status, 1 with one sentence where the source cannot be read."""
  quiet()
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--source", required=True, help="model to read")
  parser.add_argument("--target", required=True, help="directory to write")
  parser.add_argument("--adapter", default="", help="directory of PEFT adapters to merge into the model")
  parser.add_argument("--to", choices=("hf", "checkpoint"), default="hf", help="format of the target")
  parser.add_argument("--max-shard-gb", type=float, default=5.0, help="largest weight file, in 10^9 bytes")
  options = parser.parse_args(arguments)
  size = int(options.max_shard_gb * 10**9)
  try:
    path = convert(options.source, options.target, adapter=options.adapter, to=options.to, max_shard_bytes=size)
  except (ValueError, OSError, MemoryError) as error:
    print(f"convert: {error}", file=sys.stderr)
    return 1
  print(f"wrote {path}")
  for file in sorted(p for p in path.rglob("*") if p.is_file())[:20]:
    print(f"  {file.stat().st_size:>13,} bytes  {file.relative_to(path)}")
  return 0


if __name__ == "__main__":
  sys.exit(main())

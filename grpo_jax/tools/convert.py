"""Converts a model to a Hugging Face directory.

    python -m grpo_jax.tools.convert --source smollm2-135m --target models/smollm2-135m

SOURCE is a .gguf file, a Hugging Face directory (re-sharded), `package:PIP-NAME` (an installed package that
holds a .gguf file) or a short name such as smollm2-135m. Weights are written as float32.
"""

import argparse
import sys

from grpo_jax.models.gguf_io import load_gguf
from grpo_jax.models.hf_io import load_hf, save_hf, special_ids
from grpo_jax.models.hf_names import TOKENIZER_FILES
from grpo_jax.models.load import resolve_model_path


def convert(source: str, target: str, max_shard_bytes: int):
  """Writes `source` as a Hugging Face directory `target`, returns its path; ValueError as in the loaders."""
  found = resolve_model_path(source)
  if found.is_file():
    cfg, params, tokenizer = load_gguf(found)
    return save_hf(target, cfg, params, tokenizer=tokenizer, max_shard_bytes=max_shard_bytes)
  cfg, params = load_hf(found)
  bos_id, eos_ids = special_ids(found)
  tokenizer = found if any((found / name).is_file() for name in TOKENIZER_FILES) else None
  return save_hf(
    target, cfg, params, tokenizer=tokenizer, bos_id=bos_id, eos_ids=eos_ids, max_shard_bytes=max_shard_bytes)


def main(arguments=None) -> int:
  """Command line; returns the exit status, 1 with one sentence where the source cannot be read."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--source", required=True, help="model to read")
  parser.add_argument("--target", required=True, help="directory to write")
  parser.add_argument("--max-shard-gb", type=float, default=5.0, help="largest weight file, in 10^9 bytes")
  options = parser.parse_args(arguments)
  try:
    path = convert(options.source, options.target, int(options.max_shard_gb * 10**9))
  except ValueError as error:
    print(f"convert: {error}", file=sys.stderr)
    return 1
  print(f"wrote {path}")
  for file in sorted(path.iterdir()):
    print(f"  {file.stat().st_size:>13,} bytes  {file.name}")
  return 0


if __name__ == "__main__":
  sys.exit(main())

"""Seconds per update on rows with room for every token against packed rows, at lengths as they really are.

  python benchmarks/packed.py --shape qwen2.5-0.5b --prompts 8 --group 8 --prompt 256 --completion 1024 --type bfloat16

Completion lengths are lognormal with a mean of `--share` of the longest. Both forms do the same update: the norms of
their gradients are printed beside their times, taken in turn, the median of `--rounds` after one that compiles.
"""

import argparse
import dataclasses
import os
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from grpo_jax.algorithms.spec import make_spec
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.init import init_params
from grpo_jax.models.shapes import shape_named
from grpo_jax.training.dealing import Cut, fullest_row
from grpo_jax.training.optimizer import OptimizerSpec
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import new_state
from grpo_jax.types import Experience, Prompts

SMALL = ModelConfig(vocab_size=512, num_layers=6, width=256, ffn_width=1024, num_heads=8, num_kv_heads=2, head_width=32)


def lengths(rng, B: int, G: int, T: int, share: float) -> np.ndarray:
  """Lognormal lengths `[B, G]` in 1 … T whose mean is about `share` of T; all T where the share is 1."""
  if share >= 1:
    return np.full((B, G), T)
  return np.clip(rng.lognormal(np.log(share * T) - 0.32, 0.8, (B, G)), 1, T).astype(int)


def batch_of(cfg: ModelConfig, B: int, G: int, P: int, T: int, share: float) -> Experience:
  """Random tokens of these lengths, with old log-probabilities near those of a random policy."""
  rng = np.random.default_rng(0)
  mask = np.arange(T) < lengths(rng, B, G, T, share)[..., None]
  tokens = rng.integers(0, cfg.vocab_size, (B, G, T), np.int32)
  prompts = Prompts(
    rng.integers(0, cfg.vocab_size, (B, P), np.int32), np.ones((B, P), bool), np.arange(B, dtype=np.int32))
  logps = np.full((B, G, T), -np.log(cfg.vocab_size), np.float32)
  return Experience(prompts, tokens, mask, logps, rng.normal(size=(B, G, 1)).astype(np.float32))


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--shape", default="", help="sizes of a published model (models/shapes.py); empty: six layers")
  for name, value in (("prompts", 8), ("group", 8), ("prompt", 64), ("completion", 256), ("micro", 0), ("rounds", 3)):
    parser.add_argument(f"--{name}", type=int, default=value)
  parser.add_argument("--share", type=float, default=0.25, help="mean length of a completion, of the longest")
  parser.add_argument("--type", default="float32")
  parser.add_argument("--attention", default="xla")
  parser.add_argument("--remat", action="store_true")
  args = parser.parse_args()
  cfg = shape_named(args.shape) if args.shape else SMALL
  cfg = dataclasses.replace(cfg, compute_dtype=args.type, attention=args.attention, remat=args.remat,
                            scan_layers=bool(args.shape))
  batch = batch_of(cfg, args.prompts, args.group, args.prompt, args.completion, args.share)
  spec, optimizer = make_spec("grpo", kl="off"), OptimizerSpec(learning_rate=1e-6)
  real, mesh = batch.mask_BGT.sum(-1), jax.sharding.get_abstract_mesh()
  row = -(-int(real.sum(1).max()) // 128) * 128
  cut = Cut(args.micro, row=row)
  row = -(-fullest_row(real, args.completion, cut, mesh) // 128) * 128
  forms = {"whole": Cut(args.micro), "packed": Cut(args.micro, row=row)}
  print(f"{jax.devices()[0].device_kind}, load {os.getloadavg()[0]:.1f}; real tokens "
        f"{real.mean() / args.completion:.2f} of {args.completion}, packed rows of {row} for {args.group} completions")
  state, seconds, steps = new_state(init_params(cfg, 0), 0, reference=False), {name: [] for name in forms}, {}
  for name, form in forms.items():
    step = jax.jit(lambda s, b, form=form: policy_step(s, b, spec, optimizer, 1.0, cfg=cfg, cut=form)[1])
    steps[name] = step.lower(state, batch).compile()
  on_device = jax.tree.map(jnp.asarray, batch)
  for _ in range(args.rounds + 1):
    for name, step in steps.items():
      started = time.perf_counter()
      metrics = jax.block_until_ready(step(state, on_device))
      seconds[name].append(time.perf_counter() - started)
      norm = float(metrics["update/grad_norm"][0])
      print(f"{name}: {seconds[name][-1]:.3f} s, norm of the gradient {norm:.6g}", flush=True)
  medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
  memory = {name: step.memory_analysis().temp_size_in_bytes / 2**20 for name, step in steps.items()}
  print(f"whole {medians['whole']:.3f} s ({memory['whole']:.0f} MiB), packed {medians['packed']:.3f} s "
        f"({memory['packed']:.0f} MiB), ratio {medians['whole'] / medians['packed']:.2f}, "
        f"{real.sum() / medians['packed']:.0f} real tokens/s")


if __name__ == "__main__":
  main()

"""Tiny models, prompts and batches for tests. NumPy arrays, so that float64 stays float64 where a test asks for it."""

import jax
import numpy as np

from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.types import Experience, Prompts

PAD = 0  # stands in padding and nowhere else
SIZES = dict(vocab_size=24, num_layers=2, width=16, ffn_width=24, num_heads=4, num_kv_heads=2, head_width=4)


def config(**changes) -> ModelConfig:
  """A two-layer model with grouped queries and an output matrix of its own."""
  return ModelConfig(**({"tie_embeddings": False, "scan_layers": False} | SIZES | changes))


def params(cfg: ModelConfig, seed: int = 0, dtype=np.float32):
  """Random parameters of order one: far from symmetric, logits spread over a few nats."""
  rng = np.random.default_rng(seed)
  leaves, treedef = jax.tree_util.tree_flatten_with_path(param_shapes(cfg), is_leaf=lambda x: isinstance(x, tuple))

  def leaf(path, shape):
    if path[-1].key.endswith("norm"):
      return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 1 if path[-1].key == "embed" else 0.4, shape)

  return treedef.unflatten([leaf(path, shape).astype(dtype) for path, shape in leaves])


def prompts(lengths=(3, 5, 1, 4), P: int = 5, seed: int = 1, vocab_size: int = SIZES["vocab_size"]) -> Prompts:
  """Left-padded prompts with unordered uids."""
  rng = np.random.default_rng(seed)
  mask = np.arange(P)[None] >= P - np.asarray(lengths)[:, None]
  tokens = np.where(mask, rng.integers(1, vocab_size, mask.shape), PAD).astype(np.int32)
  return Prompts(tokens, mask, np.asarray([7, 3, 100_000, 12, 5, 900, 41, 2][: len(lengths)], np.int32))


def completions(B: int = 4, G: int = 4, T: int = 6, seed: int = 2, vocab_size: int = SIZES["vocab_size"]):
  """Ragged tokens and mask `[B, G, T]`; the first is whole, the others have 1 to T tokens."""
  rng = np.random.default_rng(seed)
  lengths = rng.integers(1, T + 1, (B, G))
  lengths[0, 0] = T
  mask = np.arange(T)[None, None] < lengths[..., None]
  return np.where(mask, rng.integers(1, vocab_size, mask.shape), PAD).astype(np.int32), mask


def experience(prompts: Prompts, G: int = 4, T: int = 6, seed: int = 3, **sizes) -> Experience:
  """A batch with old and reference log-probabilities that are not the policy's."""
  rng, B = np.random.default_rng(seed), prompts.tokens_BP.shape[0]
  tokens, mask = completions(B, G, T, **sizes)
  logps = [np.where(mask, rng.normal(-2, 0.5, mask.shape), 0).astype(np.float32) for _ in range(3)]
  return Experience(prompts, tokens, mask, logps[0], rng.normal(0, 1, (B, G, 1)).astype(np.float32), *logps[1:])


def gap(a, b) -> float:
  """Largest norm-relative difference between two trees, leaf by leaf."""

  def one(x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    assert x.shape == y.shape
    assert np.isfinite(x).all() and np.isfinite(y).all()
    return np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-30) if (x != y).any() else 0.0

  return max(jax.tree.leaves(jax.tree.map(one, a, b)))

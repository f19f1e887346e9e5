"""The keys and values of tokens being decoded."""

import jax
import jax.numpy as jnp

from grpo_jax.models.attention import KV
from grpo_jax.models.config import ModelConfig


def empty_cache(cfg: ModelConfig, start_B, G: int, T: int) -> KV:
  """Room for T tokens of G branches, of which the first stands at position `start_B`."""
  B = start_B.shape[0]
  positions = jnp.broadcast_to(start_B[:, None, None] + jnp.arange(T)[None, None], (B, G, T))
  shape = (B, cfg.num_kv_heads, G, T, cfg.head_width)

  def zeros():
    if cfg.scan_layers:
      return jnp.zeros((cfg.num_layers, *shape), cfg.compute_dtype)
    return [jnp.zeros(shape, cfg.compute_dtype) for _ in range(cfg.num_layers)]

  return KV(zeros(), zeros(), positions, jnp.zeros((B, G, T), bool))


def written(cache: KV, new: KV, t) -> KV:
  """The cache with this token's keys and values in slot t of every layer (in place under jit)."""
  put = lambda old, one, axis: jax.lax.dynamic_update_slice_in_dim(old, one, t, axis)  # noqa: E731
  keys, values = jax.tree.map(lambda o, n: put(o, n, o.ndim - 2), (cache.keys, cache.values), (new.keys, new.values))
  return cache.replace(keys=keys, values=values, valid=put(cache.valid, new.valid, 2))

"""The one model function: policy, reference and sampler call the same decoder.

A group is a tree: a prefix shared by G branches. Prefill is the call with G = 1 and no context; scoring is the call
with the prefix as context; decoding is the call with T = 1 and parts of prefix and cache as context.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from grpo_jax.models.attention import KV, attend, in_one_kernel, sight_of, sights
from grpo_jax.models.cache import Part
from grpo_jax.models.cached_attention import attend_cached
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.layers import Head, by_rows, embedded, gated, over_layers, product, rms_norm, unstacked
from grpo_jax.models.rope import rotate
from grpo_jax.models.tree_attention import tree_attention
from grpo_jax.types import Prompts, wide


def _layer(x_ND, layer, *, cfg: ModelConfig, shape, sights, kernel: bool, reads):
  """One block. Tokens stay flat `[N, D]` outside attention: one contracting axis makes fast weight gradients."""
  p, context, kind = layer
  tables, own_mask, context_masks = sight_of(sights, kind)
  B, G, T = shape
  K, R, E = cfg.num_kv_heads, cfg.num_heads // cfg.num_kv_heads, cfg.head_width
  dtype = x_ND.dtype

  def dense(h, name):
    y = product(h, p[name])
    return y + p[f"{name}_bias"].astype(dtype)[None] if f"{name}_bias" in p else y

  def norm(h, name):
    return rms_norm(h, p[name], cfg.norm_epsilon, cfg.norm_offset) if name in p else h

  def heads(y_N, name, repeats):  # -> [B, K, G, R, T, E]: one batch axis order serves prefix and own keys
    return norm(y_N.reshape(B, G, T, K, repeats, E), f"{name}_norm").transpose(0, 3, 1, 4, 2, 5)

  h = norm(x_ND, "attention_norm")
  q = rotate(heads(dense(h, "q"), "q", R), tables)
  k = rotate(heads(dense(h, "k"), "k", 1), tables)[:, :, :, 0]
  v = dense(h, "v").reshape(B, G, T, K, E).transpose(0, 3, 1, 2, 4)
  segments = [(keys, values, mask) for (keys, values), mask in zip(context, context_masks, strict=True)]
  segments = [*segments, (k, v, own_mask)]
  scores = (cfg.attention_scale, cfg.attention_cap)
  if reads:
    out = attend_cached(q, segments, reads, *scores)
  else:
    out = tree_attention(q, segments, cfg, kind) if kernel else attend(q, segments, *scores)
  out = dense(out.transpose(0, 2, 4, 1, 3, 5).reshape(B * G * T, -1), "o")
  x_ND = x_ND + norm(out, "attention_out_norm")
  h = norm(x_ND, "mlp_norm")
  out = dense(gated(dense(h, "gate"), dense(h, "up"), cfg.activation), "down")
  return by_rows(x_ND + norm(out, "mlp_out_norm"), shape), (k, v)


def decoder(params, cfg: ModelConfig, tokens_BGT, positions_BGT, valid_BGT, context: tuple[KV, ...] = ()):
  """Hidden states after the final norm, `[B, G, T, D]`, and the keys and values of these tokens as a `KV`.

  Args:
    params: the tree of `config.param_shapes`; `params["layers"]` may be a list (`unstacked`).
    tokens_BGT, positions_BGT, valid_BGT: G branches of T tokens; invalid tokens are never read, and positions are
      less than T plus the lengths of the context.
    context: segments every token may also attend to (a prefix with G = 1); all `Part`s when decoding (T = 1).
  """
  B, G, T = tokens_BGT.shape
  x_ND = by_rows(jnp.where(valid_BGT.reshape(-1, 1), embedded(params, cfg, tokens_BGT.reshape(-1)), 0), (B, G, T))
  layers = unstacked(cfg, params)["layers"]
  seen, kernel = sights(cfg, positions_BGT, valid_BGT, context, wide(x_ND).dtype), in_one_kernel(cfg, T, context)
  reads = [part.read for part in context if isinstance(part, Part)]
  body = partial(_layer, cfg=cfg, shape=(B, G, T), sights=seen, kernel=kernel, reads=reads)
  body = jax.checkpoint(body) if cfg.remat else body
  pairs = [(kv.keys, kv.values) for kv in context]
  kinds = np.asarray([cfg.kind_of(i) for i in range(cfg.num_layers)]) if len(cfg.windows) > 1 else None
  if isinstance(layers, list):
    per_layer = [(p, [(k[i], v[i]) for k, v in pairs], None if kinds is None else kinds[i])
                 for i, p in enumerate(layers)]
    x_ND, kvs = over_layers(body, x_ND, per_layer)
    keys, values = [k for k, _ in kvs], [v for _, v in kvs]
  else:
    x_ND, (keys, values) = over_layers(body, x_ND, (layers, pairs, kinds))
  hidden = rms_norm(x_ND, params["final_norm"], cfg.norm_epsilon, cfg.norm_offset).reshape(B, G, T, -1)
  return hidden, KV(keys, values, positions_BGT, valid_BGT)


def prefill(params, cfg: ModelConfig, prompts: Prompts) -> KV:
  """Keys and values of the prefix (the prompt without its last token), `[B, 1, P-1]`: once per prompt."""
  mask_BP = prompts.mask_BP
  positions_BP = jnp.maximum(jnp.cumsum(mask_BP, 1, dtype=jnp.int32) - 1, 0)
  inputs = (prompts.tokens_BP, positions_BP, mask_BP)
  _, prefix = decoder(params, cfg, *(a[:, None, :-1] for a in inputs))
  return prefix.selected()


def branches(params, cfg: ModelConfig, prompts: Prompts, tokens_BGT, mask_BGT):
  """Hidden states `[B, G, T, D]` where position t predicts completion token t.

  The branches are fed `[last prompt token, c_0 … c_{T-2}]`, so the shift by one is here and nowhere else.
  """
  B, G, T = tokens_BGT.shape
  last = jnp.broadcast_to(prompts.tokens_BP[:, -1:, None], (B, G, 1))
  inputs = jnp.concatenate([last, tokens_BGT[..., :-1]], -1)
  valid = jnp.concatenate([jnp.ones((B, G, 1), bool), mask_BGT[..., :-1]], -1)
  start = jnp.sum(prompts.mask_BP, 1, dtype=jnp.int32) - 1
  positions = jnp.broadcast_to(start[:, None, None] + jnp.arange(T)[None, None], (B, G, T))
  return decoder(params, cfg, inputs, positions, valid, (prefill(params, cfg, prompts),))[0]


def head(params, cfg: ModelConfig) -> Head:
  """The output head; its matrix `[D, V]` is the transposed embedding where they are tied."""
  return Head(params["lm_head"] if "lm_head" in params else params["embed"].T, cfg.logit_cap)

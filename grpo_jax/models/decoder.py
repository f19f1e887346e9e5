"""The one model function: policy, reference and sampler call the same decoder.

Prefill is the call with G = 1 and no context, decoding the call with T = 1 and (prefix, cache) as context. Scoring and
training are the call with packed rows: the prompt and the real tokens of all its completions, in one pass.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from grpo_jax.models.attention import KV, attention, form_of, parts_of, sight_of, sights
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.layers import Head, by_rows, embedded, gated, over_layers, product, rms_norm, unstacked
from grpo_jax.models.packing import Packing
from grpo_jax.models.rope import rotate
from grpo_jax.types import Prompts, wide


def _layer(x_ND, layer, *, cfg: ModelConfig, shape, form, sights, owners, last: bool = False):
  """One block. Tokens stay flat `[N, D]` outside attention: one contracting axis makes fast weight gradients.

  `last`: nobody looks at what it makes of prompts of packed rows, so it leaves them out.
  """
  p, context, kind = layer
  tables, masks = sight_of(sights, kind)
  B, dtype = shape[0], x_ND.dtype
  K, R, E = cfg.num_kv_heads, cfg.num_heads // cfg.num_kv_heads, cfg.head_width

  def dense(h, name):
    y = product(h, p[name])
    return y + p[f"{name}_bias"].astype(dtype)[None] if f"{name}_bias" in p else y

  def norm(h, name):
    return rms_norm(h, p[name], cfg.norm_epsilon, cfg.norm_offset) if name in p else h

  def heads(h, name, repeats, form=form):  # -> [B, K, G, R, T, E] for each part: one batch axis order serves all keys
    y = norm(dense(h, name).reshape(B, -1, K, repeats, E), f"{name}_norm")
    return [a.transpose(0, 3, 1, 4, 2, 5) for a in parts_of(y, form)]

  h = norm(x_ND, "attention_norm")
  k = [rotate(a, t)[:, :, :, 0] for a, t in zip(heads(h, "k", 1), tables, strict=True)]
  v = [a[:, :, :, 0] for a in heads(h, "v", 1)]
  kept = form
  if last and form.shared:
    x_ND, h = (a.reshape(B, -1, a.shape[-1])[:, form.shared :].reshape(-1, a.shape[-1]) for a in (x_ND, h))
    kept, shape = form.blocks_alone(), (*shape[:2], shape[2] - form.shared)
  q = [rotate(a, t) for a, t in zip(heads(h, "q", R, kept), tables[-1:] if kept != form else tables, strict=True)]
  out = attention(q, k, v, context, masks, form, cfg, owners, kind)
  out = [a.transpose(0, 2, 4, 1, 3, 5).reshape(B, -1, K * R * E) for a in out]
  out = dense(jnp.concatenate(out, 1).reshape(-1, K * R * E), "o")
  x_ND = x_ND + norm(out, "attention_out_norm")
  h = norm(x_ND, "mlp_norm")
  out = dense(gated(dense(h, "gate"), dense(h, "up"), cfg.activation), "down")
  return by_rows(x_ND + norm(out, "mlp_out_norm"), shape), (k[-1], v[-1])


def decoder(params, cfg: ModelConfig, tokens_BGT, positions_BGT, valid_BGT, context: tuple[KV, ...] = (),
            packing: Packing | None = None):
  """Hidden states after the final norm, `[B, G, T, D]`, and the keys and values of these tokens as a `KV`.

  Args:
    params: the tree of `config.param_shapes`; `params["layers"]` may be a list (`unstacked`).
    tokens_BGT, positions_BGT, valid_BGT: G branches of T tokens; invalid tokens are never read, and positions are
      less than T plus the lengths of the context.
    context: segments every token may also attend to (a prefix with G = 1, a cache with G branches).
    packing: of packed rows (`fed`, G = 1): hidden states are then `[R, 1, N, D]`, of the completions only.
  """
  B, G, T = tokens_BGT.shape
  x_ND = by_rows(jnp.where(valid_BGT.reshape(-1, 1), embedded(params, cfg, tokens_BGT.reshape(-1)), 0), (B, G, T))
  layers, form = unstacked(cfg, params)["layers"], form_of(cfg, (B, G, T), context, packing)
  seen = sights(cfg, form, positions_BGT, valid_BGT, context, packing, wide(x_ND).dtype)
  body = partial(_layer, cfg=cfg, shape=(B, G, T), form=form, sights=seen,
                 owners=packing and packing.owners_RN)
  body, final = (jax.checkpoint(f) if cfg.remat else f for f in (body, partial(body, last=True)))
  pairs = [(kv.keys, kv.values) for kv in context]
  kinds = np.asarray([cfg.kind_of(i) for i in range(cfg.num_layers)]) if len(cfg.windows) > 1 else None
  if isinstance(layers, list):
    per_layer = [(p, [(k[i], v[i]) for k, v in pairs], None if kinds is None else kinds[i])
                 for i, p in enumerate(layers)]
    x_ND, kvs = over_layers(body, x_ND, per_layer[:-1])
    x_ND, kv = final(x_ND, per_layer[-1])
    keys, values = zip(*kvs, kv, strict=True)
    keys, values = list(keys), list(values)
  else:
    x_ND, (keys, values) = over_layers(body, x_ND, (layers, pairs, kinds))
  x = x_ND.reshape(B, G, -1, cfg.width)[:, :, -packing.valid_RN.shape[1] if packing else 0 :]
  hidden = rms_norm(x, params["final_norm"], cfg.norm_epsilon, cfg.norm_offset)
  return hidden, KV(keys, values, positions_BGT, valid_BGT)


def prefill(params, cfg: ModelConfig, prompts: Prompts) -> KV:
  """Keys and values of the prefix (the prompt without its last token), `[B, 1, P-1]`: once per prompt."""
  mask_BP = prompts.mask_BP
  positions_BP = jnp.maximum(jnp.cumsum(mask_BP, 1, dtype=jnp.int32) - 1, 0)
  inputs = (prompts.tokens_BP, positions_BP, mask_BP)
  _, prefix = decoder(params, cfg, *(a[:, None, :-1] for a in inputs))
  return prefix.selected()


def head(params, cfg: ModelConfig) -> Head:
  """The output head; its matrix `[D, V]` is the transposed embedding where they are tied."""
  return Head(params["lm_head"] if "lm_head" in params else params["embed"].T, cfg.logit_cap)

"""Prompts to rollouts: prefill once per prompt, then one jitted loop that stops when every branch has stopped."""

import jax
import jax.numpy as jnp

from grpo_jax.models.cache import empty_cache, written
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.decoder import decoder, head, prefill
from grpo_jax.models.layers import unstacked
from grpo_jax.sampling.draw import draw_tokens, filtered, token_uniforms
from grpo_jax.types import Prompts, Rollout, SampleRequest


def generate(params, cfg: ModelConfig, prompts: Prompts, seed, request: SampleRequest) -> Rollout:
  """Samples G completions of at most T tokens for each prompt.

  The prefix is computed once per prompt and never broadcast over G. A sample depends on (seed, stream, uid, g, t) and
  the parameters, not on its place in the batch. Recorded log-probabilities are at `request.temperature`.

  Args:
    prompts: `[B, P]`; the last token of each row is its last prompt token (left padding).
    seed: integer; `request`: group size, length, choices.
  Returns:
    Rollout with arrays `[B, G, T]`.
  """
  G, T = request.group_size, request.max_new_tokens
  B = prompts.tokens_BP.shape[0]
  prefix = prefill(params, cfg, prompts)
  fast = unstacked(cfg, params)
  output = jax.lax.optimization_barrier(head(params, cfg).astype(cfg.compute_dtype))  # transposed once, not every step
  start_B = jnp.sum(prompts.mask_BP, 1, dtype=jnp.int32) - 1
  uniforms_BGT = token_uniforms(seed, request.stream, prompts.uids_B, G, T)
  stop_ids = jnp.asarray(request.stop_ids or (-1,), jnp.int32)
  truncating = request.top_k or request.top_p < 1 or request.min_p > 0
  least = lambda a: jax.lax.pmin(jnp.min(a), request.arms) if request.arms else jnp.min(a)  # noqa: E731

  def step(carry):
    t, current_BG, done_BG, cache, rollout = carry
    positions = jnp.broadcast_to((start_B + t)[:, None, None], (B, G, 1))
    hidden, new = decoder(fast, cfg, current_BG[..., None], positions, jnp.ones((B, G, 1), bool), (prefix, cache))
    logits = output.logits(hidden.reshape(B * G, -1)).astype(jnp.float32) / request.temperature
    logits = filtered(logits, request) if truncating else logits
    uniform = jax.lax.dynamic_index_in_dim(uniforms_BGT, t, 2, keepdims=False).reshape(-1)
    token, logp = (a.reshape(B, G) for a in draw_tokens(logits, uniform, G, request.greedy_members))
    row = (jnp.where(done_BG, 0, token), ~done_BG, jnp.where(done_BG, 0, logp))
    rollout = [jax.lax.dynamic_update_index_in_dim(a, x, t, 2) for a, x in zip(rollout, row, strict=True)]
    stopped = jnp.any(token[..., None] == stop_ids[None, None], -1)
    slot = t + jnp.minimum(least(token), 0)  # is t, but known after the cache was read: so it is not copied
    return t + 1, token, done_BG | stopped, written(cache, new, slot), rollout

  current_BG = jnp.broadcast_to(prompts.tokens_BP[:, -1:], (B, G))
  empty = [jnp.zeros((B, G, T), dtype) for dtype in (jnp.int32, bool, jnp.float32)]
  carry = (jnp.int32(0), current_BG, jnp.zeros((B, G), bool), empty_cache(cfg, start_B, G, T), empty)
  carry = jax.lax.while_loop(lambda c: (c[0] < T) & (least(c[2].astype(jnp.int32)) == 0), step, carry)
  _, _, done_BG, _, (tokens, mask, logps) = carry
  return Rollout(prompts, tokens, mask, logps, ~done_BG)

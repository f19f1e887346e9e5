"""Prompts to rollouts: prefill once per prompt, then the decoding loop, on each replica of a mesh by itself."""

from functools import partial

import jax
import jax.numpy as jnp

from grpo_jax.models.cache import shared_part
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.decoder import head, prefill
from grpo_jax.models.layers import unstacked
from grpo_jax.sampling.draw import token_uniforms
from grpo_jax.sampling.loop import Asked, decode
from grpo_jax.sampling.replicas import over_replicas
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
  return counted(params, cfg, prompts, seed, request)[0]


def counted(params, cfg: ModelConfig, prompts: Prompts, seed, request: SampleRequest):
  """The rollout of `generate`, and how many row-steps were computed for it."""
  B, G, T = prompts.tokens_BP.shape[0], request.group_size, request.max_new_tokens
  prefix = shared_part(prefill(params, cfg, prompts))
  output = jax.lax.optimization_barrier(head(params, cfg).astype(cfg.compute_dtype))  # transposed once, not every step
  start_B = jnp.sum(prompts.mask_BP, 1, dtype=jnp.int32) - 1
  uniforms_BGT = token_uniforms(seed, request.stream, prompts.uids_B, G, T)
  greedy_BG = jnp.broadcast_to(jnp.arange(G)[None] < request.greedy_members, (B, G))
  asked = Asked(prefix, prompts.tokens_BP[:, -1], start_B, uniforms_BGT, greedy_BG)
  loop = partial(decode, cfg=cfg, request=request)
  *drawn, row_steps = over_replicas(loop, unstacked(cfg, params), output, asked, request.arms, request.whole)
  return Rollout(prompts, *drawn), row_steps

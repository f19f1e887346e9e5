"""The sampler without a cache, a tree or dropped rows: one full forward pass over every row for each of its tokens."""

import jax
import jax.numpy as jnp
import numpy as np

from grpo_jax.models.whole_vocabulary import full_logits
from grpo_jax.sampling.draw import argmax, sample, token_uniforms
from grpo_jax.types import Rollout

logits_of = jax.jit(full_logits, static_argnums=1)


def plain_rollout(params, cfg, prompts, seed, request) -> Rollout:
  """What `generate` must give."""
  B, G, T = len(prompts.uids_B), request.group_size, request.max_new_tokens
  lengths = np.repeat(prompts.mask_BP.sum(1), G)
  rows = np.zeros((B * G, prompts.tokens_BP.shape[1] + T), np.int32)
  for row, tokens, mask in zip(rows, *(np.repeat(a, G, 0) for a in (prompts.tokens_BP, prompts.mask_BP)), strict=True):
    row[: mask.sum()] = tokens[mask]
  uniforms = token_uniforms(seed, request.stream, prompts.uids_B, G, T).reshape(B * G, T)
  greedy = np.tile(np.arange(G) < request.greedy_members, B)
  tokens, mask, logps = (np.zeros((B * G, T), dtype) for dtype in (np.int32, bool, np.float32))
  done = np.zeros(B * G, bool)
  for t in range(T):
    logits = logits_of(params, cfg, rows)[jnp.arange(B * G), lengths - 1 + t] / request.temperature
    drawn = [np.where(greedy, a, b) for a, b in zip(argmax(logits), sample(logits, uniforms[:, t]), strict=True)]
    tokens[:, t], mask[:, t], logps[:, t] = np.where(done, 0, drawn[0]), ~done, np.where(done, 0, drawn[1])
    rows[np.arange(B * G), lengths + t] = tokens[:, t]
    done |= np.isin(drawn[0], request.stop_ids)
  return Rollout(prompts, *(a.reshape(B, G, T) for a in (tokens, mask, logps)), ~done.reshape(B, G))

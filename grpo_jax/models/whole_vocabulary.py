"""What needs every logit: parity checks, and the exact KL, which keeps no more than a chunk of them."""

import jax
import jax.numpy as jnp

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.decoder import decoder, head
from grpo_jax.models.layers import Head
from grpo_jax.models.logps import chunk_tokens, over_chunks


def full_logits(params, cfg: ModelConfig, tokens_NT):
  """Logits `[N, T, V]` of whole sequences in float32: for parity checks, never in training."""
  tokens = tokens_NT[:, None]
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[-1])[None, None], tokens.shape)
  hidden, _ = decoder(params, cfg, tokens, positions, jnp.ones(tokens.shape, bool))
  return head(params, cfg).logits(hidden[:, 0])


def hidden_kl(hidden_BGTD, head: Head, ref_hidden_BGTD, ref_head: Head, mask_BGT, temperature, chunk: int = 0):
  """KL(policy || reference) over the whole vocabulary at each token, `[B, G, T]` (nats), chunk by chunk.

  sum_v p_v (log p_v - log q_v) from the hidden states of both, so that no logits are kept. Each log-ratio is bounded
  at ±20, so that what the reference calls impossible costs 20 nats; entries that the policy calls so add nothing.
  """
  chunk = chunk or chunk_tokens(*hidden_BGTD.shape[:3], head.matrix_DV.shape[-1])
  pick = lambda a: jnp.where(mask_BGT[..., None], a, 0)  # noqa: E731

  def piece(hidden, reference):
    log_p, log_q = (
      jax.nn.log_softmax(each.logits(h.reshape(-1, h.shape[-1])) / temperature)
      for h, each in ((hidden, head), (reference, ref_head)))
    log_p, log_q = (jnp.maximum(a, -1e30) for a in (log_p, log_q))  # -inf less -inf would be NaN
    return jnp.sum(jnp.exp(log_p) * jnp.clip(log_p - log_q, -20, 20), -1).reshape(hidden.shape[:3])

  kl = over_chunks(piece, (pick(hidden_BGTD), jax.lax.stop_gradient(pick(ref_hidden_BGTD))), chunk)
  return jnp.where(mask_BGT, kl, 0)

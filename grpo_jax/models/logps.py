"""Log-probabilities and entropies of taken tokens, from chunks: a large `[.., V]` array never exists."""

import jax
import jax.numpy as jnp

from grpo_jax.models.layers import Head

WHOLE = 2**26  # up to so many logits (256 MiB) are kept for the backward pass, in one chunk
LARGEST = 2**24  # of more, a chunk holds no more than this; a pass takes four times its bytes


def chunk_tokens(B: int, G: int, T: int, V: int) -> int:
  """Tokens of T per chunk: all where the logits are few, else the largest divisor of T that bounds them."""
  if B * G * T * V <= WHOLE:
    return T
  most = max(1, LARGEST // (B * G * V))
  return max(c for c in range(1, most + 1) if T % c == 0)


def _chunk(hidden_BGCD, head: Head, tokens_BGC, temperature):
  logits = head.logits(hidden_BGCD.reshape(-1, hidden_BGCD.shape[-1])) / temperature
  top = jax.lax.stop_gradient(jnp.max(logits, -1, keepdims=True))
  shifted = logits - top
  weights = jnp.exp(shifted)
  total = jnp.sum(weights, -1)
  logz = jnp.log(total)
  taken = jnp.take_along_axis(shifted, tokens_BGC.reshape(-1, 1), -1)[:, 0]
  # Entropy is a metric here: no gradient, so its backward costs nothing.
  terms = jax.lax.stop_gradient(jnp.where(weights > 0, weights * shifted, 0))  # w log w is 0 at 0, where log w is -inf
  entropy = logz - jnp.sum(terms, -1) / total
  return (taken - logz).reshape(tokens_BGC.shape), jax.lax.stop_gradient(entropy).reshape(tokens_BGC.shape)


def hidden_logps(hidden_BGTD, head: Head, tokens_BGT, mask_BGT, temperature, chunk: int = 0):
  """log softmax(logits of h / temperature)[token] and its entropy, chunk by chunk along T.

  Of several chunks the backward pass computes the logits again. Returns two float32 `[B, G, T]` arrays (nats), 0 where
  masked; hidden states and tokens there are never read.
  """
  chunk = chunk or chunk_tokens(*hidden_BGTD.shape[:3], head.matrix_DV.shape[-1])
  hidden = jnp.where(mask_BGT[..., None], hidden_BGTD, 0)
  tokens = jnp.where(mask_BGT, tokens_BGT, 0)
  logps, entropy = over_chunks(lambda h, t: _chunk(h, head, t, temperature), (hidden, tokens), chunk)
  return jnp.where(mask_BGT, logps, 0), jnp.where(mask_BGT, entropy, 0)


def over_chunks(fn, arrays, chunk: int):
  """`fn` on pieces of `chunk` tokens of arrays `[B, G, T, …]`, its results `[B, G, T]` joined; backward recomputed."""
  B, G, T = arrays[0].shape[:3]
  if chunk == T:
    return fn(*arrays)
  split = lambda a: jnp.moveaxis(a.reshape(B, G, T // chunk, chunk, *a.shape[3:]), 2, 0)  # noqa: E731
  kept = jax.checkpoint(fn)
  _, chunks = jax.lax.scan(lambda _, pieces: (None, kept(*pieces)), None, tuple(split(a) for a in arrays))
  return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2).reshape(B, G, T), chunks)

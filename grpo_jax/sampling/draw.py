"""One token from logits: filters for evaluation, inverse-CDF sampling with one uniform per token."""

import jax
import jax.numpy as jnp

from grpo_jax.types import SampleRequest

BLOCK = 128  # entries per block of the two-level cumulative sum


def token_uniforms(seed, stream: int, uids_B, group_size: int, length: int):
  """Uniforms in [0, 1) `[B, G, T]`, each a function of (seed, stream, uid, g, t) alone."""
  root = jax.random.fold_in(jax.random.key(seed), stream)

  def one(uid, g, t):
    return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(root, uid), g), t))

  per_token = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
  return per_token(uids_B, jnp.arange(group_size), jnp.arange(length))


def _count_below(cumulative, threshold, weights):
  """First index whose cumulative weight exceeds the threshold; never one of weight 0, whatever the rounding."""
  index = jnp.sum(cumulative <= threshold, -1)
  last = weights.shape[-1] - 1 - jnp.argmax(weights[:, ::-1] > 0, -1)
  return jnp.minimum(index, last)


def sample(logits_NV, uniform_N):
  """Token ids and log-probabilities drawn from softmax(logits) by inverse CDF (blocks first, then within one)."""
  N, V = logits_NV.shape
  pad = -V % BLOCK
  logits = jnp.pad(logits_NV.astype(jnp.float32), ((0, 0), (0, pad)), constant_values=-jnp.inf)
  top = jnp.max(logits, -1, keepdims=True)
  weights = jnp.exp(logits - top).reshape(N, -1, BLOCK)
  sums = jnp.sum(weights, -1)
  cumulative = jnp.cumsum(sums, -1)
  threshold = uniform_N[:, None] * cumulative[:, -1:]
  block = _count_below(cumulative, threshold, sums)[:, None]
  before = jnp.take_along_axis(cumulative - sums, block, 1)
  inside = jnp.take_along_axis(weights, block[..., None], 1)[:, 0]
  index = _count_below(jnp.cumsum(inside, -1), threshold - before, inside)
  token = block[:, 0] * BLOCK + index
  logp = jnp.take_along_axis(logits, token[:, None], -1)[:, 0] - top[:, 0] - jnp.log(cumulative[:, -1])
  return token.astype(jnp.int32), logp


def argmax(logits_NV):
  """The likeliest token and its log-probability."""
  token = jnp.argmax(logits_NV, -1).astype(jnp.int32)
  return token, jnp.take_along_axis(jax.nn.log_softmax(logits_NV.astype(jnp.float32)), token[:, None], -1)[:, 0]


def filtered(logits_NV, request: SampleRequest):
  """Logits with top-k, top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024) applied, in that order."""
  logits = logits_NV
  if request.top_k:
    kth = jax.lax.top_k(logits, min(request.top_k, logits.shape[-1]))[0][:, -1:]
    logits = jnp.where(logits >= kth, logits, -jnp.inf)
  if request.top_p < 1:
    ordered = jnp.flip(jnp.sort(logits, -1), -1)
    mass = jnp.cumsum(jax.nn.softmax(ordered, -1), -1)
    kept = jnp.sum(mass - jax.nn.softmax(ordered, -1) < request.top_p, -1, keepdims=True)
    logits = jnp.where(logits >= jnp.take_along_axis(ordered, kept - 1, -1), logits, -jnp.inf)
  if request.min_p > 0:
    logits = jnp.where(logits >= jnp.max(logits, -1, keepdims=True) + jnp.log(request.min_p), logits, -jnp.inf)
  return logits

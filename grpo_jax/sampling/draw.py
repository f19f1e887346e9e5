"""One token from logits: filters for evaluation, inverse-CDF sampling with one uniform per token."""

import jax
import jax.numpy as jnp

from grpo_jax.types import SampleRequest

BLOCK = 128  # entries per block of the two-level cumulative sum


def token_uniforms(seed, stream: int, uids_B, group_size: int, length: int):
  """Uniforms in [0, 1) `[B, G, T]`, each a function of (seed, stream, uid, g, t) alone."""
  B, G, T = len(uids_B), group_size, length
  uid, g, t = (a.astype(jnp.uint32) for a in (uids_B, jnp.arange(G), jnp.arange(T)))
  identity = (uid[:, None, None], g[None, :, None], t[None, None, :])
  folds = jnp.stack([jnp.broadcast_to(a, (B, G, T)).reshape(-1) for a in identity])
  root = jax.random.key_data(jax.random.fold_in(jax.random.key(seed), stream))

  def fold(keys, data):  # a scan over the three folds: written out, they take seconds to compile
    return jax.random.key_data(jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(keys), data)), None

  keys, _ = jax.lax.scan(fold, jnp.broadcast_to(root[None], (B * G * T, root.shape[-1])), folds)
  return ((keys[:, 0] >> 8).astype(jnp.float32) * 2.0**-24).reshape(B, G, T)


def _first_above(cumulative, threshold, weights):
  """First index of positive weight whose cumulative weight exceeds the threshold, else the last of positive weight.

  Never one of weight 0, whatever the rounding: neither the threshold nor the sums are exact at a boundary.
  """
  positive = weights > 0
  above = positive & (cumulative > threshold)
  last = weights.shape[-1] - 1 - jnp.argmax(positive[:, ::-1], -1)
  return jnp.where(jnp.any(above, -1), jnp.argmax(above, -1), last)


def sample(logits_NV, uniform_N):
  """Token ids and log-probabilities drawn from softmax(logits) by inverse CDF (blocks first, then within one).

  A row that holds NaN or +inf has no such distribution: its token is some id below V, its log-probability NaN.
  """
  N, V = logits_NV.shape
  pad = -V % BLOCK
  logits = jnp.pad(logits_NV.astype(jnp.float32), ((0, 0), (0, pad)), constant_values=-jnp.inf)
  top = jnp.max(logits, -1, keepdims=True)
  weights = jnp.exp(logits - top).reshape(N, -1, BLOCK)
  sums = jnp.sum(weights, -1)
  cumulative = jnp.cumsum(sums, -1)
  threshold = uniform_N[:, None] * cumulative[:, -1:]
  block = _first_above(cumulative, threshold, sums)[:, None]
  before = jnp.take_along_axis(cumulative - sums, block, 1)
  inside = jnp.take_along_axis(weights, block[..., None], 1)[:, 0]
  index = _first_above(jnp.cumsum(inside, -1), threshold - before, inside)
  token = block[:, 0] * BLOCK + index
  logp = jnp.take_along_axis(logits, token[:, None], -1)[:, 0] - top[:, 0] - jnp.log(cumulative[:, -1])
  return jnp.minimum(token, V - 1).astype(jnp.int32), logp


def argmax(logits_NV):
  """The likeliest token and its log-probability."""
  token = jnp.argmax(logits_NV, -1).astype(jnp.int32)
  return token, jnp.take_along_axis(jax.nn.log_softmax(logits_NV.astype(jnp.float32)), token[:, None], -1)[:, 0]


def draw_tokens(logits_NV, uniform_N, greedy_N):
  """Tokens and log-probabilities of N rows: the likeliest of the greedy ones (True: of all), samples of the rest."""
  if greedy_N is True:
    return argmax(logits_NV)
  drawn = sample(logits_NV, uniform_N)
  if greedy_N is False:
    return drawn
  return tuple(jnp.where(greedy_N, a, b) for a, b in zip(argmax(logits_NV), drawn, strict=True))


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

"""Choice of tokens by the covariance of log-probability and advantage, taken over a whole minibatch."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.advantages import moments
from grpo_jax.algorithms.bounds import bounded
from grpo_jax.algorithms.table import RATIOS


def covariances(logps_BGT, advantages_BGT, mask_BGT):
  """(log p - mean) (A - mean) per token, 0 where masked; entropy falls where it is large (arXiv 2505.22617)."""
  axes = (0, 1, 2)
  advantages_BGT = jnp.broadcast_to(advantages_BGT, mask_BGT.shape)
  parts = [a - moments(a, mask_BGT, axes)[0] for a in (logps_BGT, advantages_BGT)]
  return jnp.where(mask_BGT, parts[0] * parts[1], 0)


def _first(scores, allowed, count):
  """The `count` allowed entries of highest score."""
  flat = jnp.where(allowed, scores, -jnp.inf).reshape(-1)
  rank = jnp.argsort(jnp.argsort(-flat))
  return ((rank < count) & jnp.isfinite(flat)).reshape(scores.shape)


def clipped_away(logps_BGT, old_logps_BGT, advantages_BGT, mask_BGT, spec):
  """Tokens whose ratio has left the clip range on the side that their advantage pushes to: no gradient is left."""
  pick = lambda a: jnp.where(mask_BGT, a, 0)  # noqa: E731
  ratio = jnp.exp(bounded(RATIOS[spec.ratio](pick(logps_BGT), pick(old_logps_BGT), mask_BGT)))
  high, low = ratio > 1 + spec.epsilon_high, ratio < 1 - spec.epsilon_low
  return (high & (advantages_BGT > 0)) | (low & (advantages_BGT < 0))


def pick(kind: str, logps_BGT, advantages_BGT, mask_BGT, spec, key, old_logps_BGT=None):
  """The tokens that `clip_cov` (a random part of those in a band) or `kl_cov` (the highest) treats apart.

  As in the authors' code, `clip_cov` does not spend its share on tokens that the clip has already stopped;
  `old_logps_BGT` None means the current ones, where there are none.
  """
  covariance = covariances(logps_BGT, advantages_BGT, mask_BGT)
  count = jnp.maximum(jnp.ceil(spec.cov_fraction * jnp.sum(mask_BGT)), 1)
  if kind == "kl_cov":
    return _first(covariance, mask_BGT, count)
  band = mask_BGT & (covariance > spec.cov_low) & (covariance < spec.cov_high)
  if old_logps_BGT is not None:
    band = band & ~clipped_away(logps_BGT, old_logps_BGT, advantages_BGT, mask_BGT, spec)
  return _first(jax.random.uniform(key, covariance.shape), band, count)

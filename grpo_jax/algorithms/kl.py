"""Per-token estimators of KL(policy || reference) from the log-probabilities of sampled tokens (Schulman 2020).

With d = logp - ref_logp within ±20 nats (bounds.py), sampled from the policy. What each does as a loss, on-policy, is
in the last column, at the visited states. Of the KL of whole completions only k1 summed over this and later tokens, in
the reward, has the gradient without bias: the truth lab computes both (docs/truth.md).

| name | value | bias of the value | expected gradient |
|---|---|---|---|
| k1 | d | none | 0: no penalty, refused in the loss |
| k2 | d² / 2 | small | that of KL(policy || reference) at the visited states |
| k3 | exp(-d) - 1 + d | none | that of KL(reference || policy) at the visited states |
| abs | |d| | large | of no KL; EasyR1 and verl offer it |
| ratio_k3 | r (exp(-d) - 1 + d) | none, off-policy too | that of KL(policy || reference) at the visited states |
| exact | sum_v p_v (log p_v - log q_v) | none, no variance | that of KL(policy || reference) at the visited states |
"""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.bounds import LARGEST, bounded


def k1(logps, ref_logps, ratio=None):
  """d: unbiased value, high variance; for the reward, not for the loss."""
  return bounded(logps - ref_logps)


def k2(logps, ref_logps, ratio=None):
  """d² / 2."""
  return 0.5 * jnp.square(bounded(logps - ref_logps))


def k3(logps, ref_logps, ratio=None):
  """exp(-d) - 1 + d >= 0: GRPO's term (DeepSeekMath equation 4)."""
  d = bounded(logps - ref_logps)
  return jnp.expm1(-d) + d


def absolute(logps, ref_logps, ratio=None):
  """|d|, with gradient 0 where d is 0 (JAX's own would be 1)."""
  d = bounded(logps - ref_logps)
  return d * jax.lax.stop_gradient(jnp.sign(d))


def ratio_k3(logps, ref_logps, ratio):
  """pi / pi_old · k3, both differentiated, at most exp(20): off-policy too (DeepSeek-V3.2, arXiv 2512.02556)."""
  return jnp.minimum(ratio * k3(logps, ref_logps), LARGEST)

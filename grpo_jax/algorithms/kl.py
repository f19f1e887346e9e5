"""Per-token estimators of KL(policy || reference) from the log-probabilities of sampled tokens (Schulman 2020).

With d = logp - ref_logp, sampled from the policy. What each does as a loss, on-policy, is in the last column
(tests/algorithms/test_kl.py enumerates it).

| name | value | bias of the value | expected gradient |
|---|---|---|---|
| k1 | d | none | 0: no penalty, refused in the loss |
| k2 | d² / 2 | small | that of KL(policy || reference) |
| k3 | exp(-d) - 1 + d | none | that of KL(reference || policy) |
"""

import jax.numpy as jnp


def k1(logps, ref_logps):
  """d: unbiased value, high variance; for the reward, not for the loss."""
  return logps - ref_logps


def k2(logps, ref_logps):
  """d² / 2."""
  return 0.5 * jnp.square(logps - ref_logps)


def k3(logps, ref_logps):
  """exp(-d) - 1 + d >= 0: GRPO's term (DeepSeekMath equation 4)."""
  d = logps - ref_logps
  return jnp.expm1(-d) + d


KL = {"k1": k1, "k2": k2, "k3": k3}

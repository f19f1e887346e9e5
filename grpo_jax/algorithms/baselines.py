"""Other ways from group rewards `[B, G]` to advantages: baselines, spreads and selections, with their sources."""

from math import comb

import jax.numpy as jnp
import numpy as np

from grpo_jax.algorithms.advantages import centered, everyone, flat_groups, moments
from grpo_jax.algorithms.bounds import alike, flat
from grpo_jax.types import wide


def leave_one_out(rewards_BG, present_BG=None):
  """A_i = r_i - mean of the others = n / (n - 1) · (r_i - mean_g). RLOO (Ahmadian et al. 2024, arXiv 2402.14740)."""
  n = jnp.sum(everyone(rewards_BG, present_BG), 1, keepdims=True)
  return centered(rewards_BG, present_BG) * (n / jnp.maximum(n - 1, 1))


def batch_normalized(rewards_BG, present_BG=None, *, epsilon=1e-6):
  """A = (r - mean_g(r)) / (std over the whole batch of r + epsilon). Lite PPO (arXiv 2508.08221), ddof 1."""
  spread = moments(wide(rewards_BG), everyone(rewards_BG, present_BG), (0, 1), 1)[1]
  return centered(rewards_BG, present_BG) / jnp.where(spread > 0, spread + epsilon, 1)


def whitened(x, weight, epsilon=1e-8):
  """(x - m) / sqrt(v + epsilon), m and v the weighted mean and variance of x; 0 where the weight is.

  The form of verl's masked_whiten, with n where it divides the variance by n - 1. Exactly 0 where all x are equal but
  for rounding: a batch without signal stays without.
  """
  where, count = weight > 0, jnp.maximum(jnp.sum(weight), 1)
  mean = jnp.sum(jnp.where(where, weight * x, 0)) / count
  variance = jnp.sum(jnp.where(where, weight * (x - mean) ** 2, 0)) / count
  silent = ~where | flat(x, where, tuple(range(x.ndim)))
  return jnp.where(silent, 0, (x - mean) / jnp.sqrt(variance + epsilon))


def group_then_batch(rewards_BG, lengths_BG, present_BG=None):
  """d = r - mean_g(r), whitened over the tokens of the batch: REINFORCE++-baseline (Hu et al. 2025, arXiv 2501.03262).

  A_i = (d_i - m) / sqrt(v + 1e-8), m = sum(n d) / sum(n), v = sum(n (d - m)²) / sum(n), n the lengths in tokens: the
  masked mean and variance that verl and OpenRLHF take. As in theirs, m is not 0 where lengths differ, and a group
  without signal beside others that have some gets -m / sqrt(v + 1e-8). A batch without signal is exactly 0.
  """
  deviation, there = centered(rewards_BG, present_BG), everyone(rewards_BG, present_BG)
  return whitened(deviation, jnp.where(there, lengths_BG, 0))


def against_greedy(rewards_BG, greedy_B):
  """A = r - r(greedy completion), 0 where they differ by rounding only. ReMax (Li et al. 2023, arXiv 2310.10505)."""
  r, greedy = wide(rewards_BG), jnp.broadcast_to(wide(greedy_B)[:, None], rewards_BG.shape)
  return jnp.where(alike(jnp.minimum(r, greedy), jnp.maximum(r, greedy)), 0, r - greedy)


def length_weighted(rewards_BG, lengths_BG):
  """A = r - sum(len r) / sum(len): least variance where |∇ log p|² grows with length. OPO (arXiv 2505.23585)."""
  r, weight = wide(rewards_BG), jnp.maximum(lengths_BG, 1)
  baseline = jnp.sum(weight * r, 1, keepdims=True) / jnp.sum(weight, 1, keepdims=True)
  return jnp.where(flat_groups(r), 0, r - baseline)


def shrunken(rewards_BG):
  """A_i = r_i - ((1 - w) mean of its group's others + w mean of the other groups), a James–Stein baseline (2511.03710).

  w_b = S_b / (S_b + D_b): S_b the noise of a group mean, D_b the spread of true means, both from the other groups
  only, so that the baseline of a sample never saw its reward. B >= 3, G >= 2. Where no group has spread there is
  nothing to shrink: w = 0, and every A is exactly 0.
  """
  r = wide(rewards_BG)
  B, G = r.shape
  others = 1 - jnp.eye(B, dtype=r.dtype)
  mean, own = jnp.mean(r, 1), leave_one_out(r)  # own: r_i - mean of its group's others
  noise = others @ (jnp.sum(centered(r) ** 2, 1) / (G - 1) ** 2) / (B - 1)
  far = others @ mean / max(B - 1, 1)
  between = jnp.sum(others * (mean[None] - far[:, None]) ** 2, 1) / max(B - 2, 1)
  w = (noise / jnp.maximum(jnp.maximum(between - noise, 0) + noise, 1e-12))[:, None]
  return own + w * (r - own - far[:, None])


def pass_at_k(rewards_BG, k: int):
  """Advantages whose expected gradient is that of E[max of k samples]: pass@k for 0/1 rewards. PKPO (2505.15201).

  G · sum over k-subsets I that hold i of (max_I r - max_{I without i} r), over C(G, k). 2 <= k <= G.
  """
  r = wide(rewards_BG)
  G = r.shape[1]
  own, rest = np.zeros((G, G)), np.zeros((G, G))  # weight of the j-th smallest reward for the i-th
  for i, j in np.ndindex(G, G):
    if j == i:
      own[i, j] = comb(i, k - 1)
    else:
      rest[i, j] = comb(j - (j > i), k - 2)  # members smaller than j, i aside
      own[i, j] = rest[i, j] if j > i else 0
  weights = jnp.asarray((own - rest) * G / comb(G, k), r.dtype)
  order = jnp.argsort(r, 1)
  ordered = jnp.take_along_axis(r, order, 1) @ weights.T
  return jnp.where(flat_groups(r), 0, jnp.take_along_axis(ordered, jnp.argsort(order, 1), 1))


def with_signal_scaled(rewards_BG):
  """(r - mean_g(r)) · B / (groups with signal): groups without do not dilute the gradient. GPG (arXiv 2504.02546)."""
  signal = jnp.sum(~flat_groups(wide(rewards_BG)))
  return centered(rewards_BG) * (rewards_BG.shape[0] / jnp.maximum(signal, 1))


def best_and_worst(rewards_BG):
  """+1 for the best member of a group, -1 for the worst, 0 for the rest and for groups without signal."""
  G = rewards_BG.shape[1]
  pick = lambda i: jnp.arange(G)[None] == i[:, None]  # noqa: E731
  roles = pick(jnp.argmax(rewards_BG, 1)).astype(jnp.float32) - pick(jnp.argmin(rewards_BG, 1))
  return jnp.where(flat_groups(rewards_BG), 0, roles)


def kept(rewards_BG):
  """Rejection sampling: 1 for right completions (reward >= 1) of prompts that are neither all right nor all wrong."""
  return jnp.where(flat_groups(rewards_BG), 0, (rewards_BG >= 1).astype(jnp.float32))

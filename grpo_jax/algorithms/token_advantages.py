"""Advantages that differ from token to token, `[B, G, T]`: returns, process supervision, GAE."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.advantages import moments
from grpo_jax.algorithms.baselines import whitened
from grpo_jax.algorithms.bounds import flat
from grpo_jax.types import wide


def returns_to_go(rewards_BGT, mask_BGT):
  """Sum over later tokens, this one included."""
  r = jnp.where(mask_BGT, rewards_BGT, 0)
  return jnp.where(mask_BGT, jnp.flip(jnp.cumsum(jnp.flip(r, -1), -1), -1), 0)


def reinforce_pp(rewards_BG, kl_BGT, mask_BGT):
  """R_t = r - sum_{s>=t} kl_s, whitened over all tokens of the batch. REINFORCE++ (arXiv 2501.03262).

  Rewards that are all equal are no signal: what the KL leaves is whitened with sqrt(variance + 1e-8), and is exactly 0
  where there is none of it.
  `kl_BGT` is beta times the KL estimate of each token, or None.
  """
  returns = jnp.broadcast_to(wide(rewards_BG)[..., None], mask_BGT.shape)
  returns = returns if kl_BGT is None else returns - returns_to_go(kl_BGT, mask_BGT)
  return whitened(returns, mask_BGT)


def process(step_rewards_BGT, step_ends_BGT, *, ddof: int = 1, epsilon=1e-6):
  """Process supervision: step rewards normalized over the group's steps, then summed over this and later steps.

  DeepSeekMath (arXiv 2402.03300), section 4.1.3. A group whose step rewards are all equal is exactly 0.
  """
  r = wide(jnp.where(step_ends_BGT, step_rewards_BGT, 0))
  mean, spread = moments(r, step_ends_BGT, (1, 2), ddof)
  signal = step_ends_BGT & ~flat(r, step_ends_BGT, (1, 2))
  normal = jnp.where(signal, (r - mean) / jnp.where(spread > 0, spread + epsilon, 1), 0)
  return returns_to_go(normal, jnp.ones(normal.shape, bool))


def gae(rewards_BGT, values_BGT, mask_BGT, *, gamma=1.0, lam=0.95):
  """A_t = sum_k (gamma lam)^k d_{t+k}, d_t = r_t + gamma V_{t+1} - V_t, V = 0 after the end (arXiv 1506.02438).

  "Next" is the policy's next token: over tokens that are not its own (the mask is false) V and A pass unchanged.
  Rewards 0 0 1, values .5 .6 .7, gamma 1: lam 0 gives .1 .1 .3 (one-step TD), lam 1 gives .5 .4 .3 (Monte Carlo).
  """
  r, v = (jnp.where(mask_BGT, wide(a), 0) for a in (rewards_BGT, values_BGT))

  def back(after, token):
    value, advantage = after
    r, v, own = token
    here = r + gamma * value - v + gamma * lam * advantage
    after = jnp.where(own, v, value), jnp.where(own, here, advantage)
    return after, after[1]

  tokens = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), (r, v, jnp.asarray(mask_BGT)))
  nothing = jnp.zeros_like(r[..., 0])
  _, advantages_TBG = jax.lax.scan(back, (nothing, nothing), tokens, reverse=True)
  return jnp.where(mask_BGT, jnp.moveaxis(advantages_TBG, 0, -1), 0)


def at_last_token(rewards_BG, mask_BGT):
  """The reward of a completion, once, at its last token that is the policy's, `[B, G, T]`."""
  left = jnp.flip(jnp.cumsum(jnp.flip(mask_BGT, -1), -1), -1)  # own tokens from this one on
  last = mask_BGT & (left == 1)
  return jnp.where(last, wide(rewards_BG)[..., None], 0)

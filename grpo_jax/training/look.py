"""What each token of a rollout meant to an iteration: how far it moved, its KL, and its share of the gradient."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.bounds import bounded
from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.selection import pick
from grpo_jax.algorithms.spec import AlgorithmSpec, needs
from grpo_jax.algorithms.table import KL, RATIOS
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.rows import tree_logps
from grpo_jax.training.accumulate import Cut, divided, map_microbatches
from grpo_jax.types import Experience


def pushes(logps, old_logps, batch: Experience, spec: AlgorithmSpec):
  """-dL/dlogp of each token, `[B, G, T]`, at these log-probabilities: the row's loss as weights of grad log p.

  The gradient of the row is -sum of pushes · grad log p, but for the exact KL, which no taken token stands for: that
  term is left out.
  """
  mask, picked = batch.mask_BGT, None
  row = spec.replace(kl="off", pair_loss="off") if spec.kl == "exact" else spec
  if "picked" in needs(spec):
    picked = pick(spec.surrogate, old_logps, batch.advantages_BGT, mask, spec, jax.random.key(0))

  def loss(logps):
    (numerator, denominator), _ = policy_loss(
      logps, mask, batch.advantages_BGT, old_logps, batch.ref_logps_BGT, row, picked_BGT=picked,
      behavior_logps_BGT=batch.behavior_logps_BGT, roles_BG=batch.roles_BG, present_BG=batch.present_BG)
    return divided(numerator, denominator)

  return jnp.where(mask, -jax.grad(loss)(logps), 0)


def look(policy, batch: Experience, spec: AlgorithmSpec, temperature, *, cfg: ModelConfig, cut: Cut):
  """Arrays `[B, G, T]` of a whole rollout, by name; 0 where the mask is false.

  Args:
    policy: the policy's parameters after the updates of the iteration. "Before" are the old log-probabilities, or the
      sampler's own where one update made no others necessary.
  Returns:
    log_ratio: log p after - log p before. entropy: of the policy after (nats). kl: the row's estimate after, where it
      estimates one. share: `pushes` before, as a share of the sum of their absolute values over the rollout. clip: the
      sign of the row's log ratio where the surrogate leaves a token with an advantage no gradient after, else 0.
  """
  mask = batch.mask_BGT

  def scored(micro: Experience):
    arrays = (micro.prompts, micro.tokens_BGT, micro.mask_BGT)
    return jnp.stack(tree_logps(policy, cfg, *arrays, temperature, cut.logit_chunk, cut.row), -1)

  after, entropy = jnp.moveaxis(map_microbatches(scored, batch, cut), -1, 0)
  before = jnp.where(mask, batch.behavior_logps_BGT if batch.old_logps_BGT is None else batch.old_logps_BGT, 0)
  push = pushes(before, before, batch, spec)
  left = pushes(after, before, batch, spec.replace(kl="off", pair_loss="off", sampler_correction="off"))
  log_ratio = RATIOS[spec.ratio](after, before, mask)
  clipped = (left == 0) & (batch.advantages_BGT != 0)
  found = {"log_ratio": after - before, "entropy": entropy, "share": push / jnp.maximum(jnp.sum(jnp.abs(push)), 1e-30),
           "clip": jnp.where(clipped, jnp.sign(log_ratio), 0)}
  if spec.kl in KL:
    found["kl"] = KL[spec.kl](after, jnp.where(mask, batch.ref_logps_BGT, 0), jnp.exp(bounded(log_ratio)))
  return {name: jnp.where(mask, a, 0) for name, a in found.items()}

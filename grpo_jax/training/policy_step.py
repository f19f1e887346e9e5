"""The pure policy step: `(state, batch) -> (state, metrics)`."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.controllers import adapted_beta
from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.reductions import selected_sum
from grpo_jax.algorithms.spec import AlgorithmSpec, needs, with_state
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.decoder import head
from grpo_jax.models.rows import branches, packed_kl, packed_logps
from grpo_jax.training.accumulate import Cut, accumulate
from grpo_jax.training.optimizer import OptimizerSpec, apply_gradients
from grpo_jax.training.picks import picked
from grpo_jax.training.state import TrainState
from grpo_jax.types import Experience


def policy_step(
  state: TrainState, batch: Experience, spec: AlgorithmSpec, optimizer: OptimizerSpec, temperature,
  *, cfg: ModelConfig, cut: Cut = Cut(),  # noqa: B008  frozen
):
  """One optimizer update on a minibatch of groups.

  Args:
    batch: `[B, G, T]`; group statistics are already in its advantages, so it may be any part of a rollout.
    temperature: the one the rollout was sampled at.
  Returns:
    The new state and metrics, each (sum, count).
  """
  spec = with_state(spec, state.algorithm_state)
  if "picked" in needs(spec):
    batch = batch.replace(picked_BGT=picked(state, batch, spec, temperature, cfg, cut))

  def loss_fn(params, micro: Experience):
    params = state.model(params)
    hidden, packing = branches(params, cfg, micro.prompts, micro.tokens_BGT, micro.mask_BGT, cut.row)
    rest, exact_kl = (packing, temperature, cut.logit_chunk), None
    logps, entropy = packed_logps(hidden, head(params, cfg), micro.tokens_BGT, *rest)
    if spec.kl == "exact":
      exact_kl = packed_kl(hidden, head(params, cfg), micro.ref_hidden_BGTD, head(state.reference, cfg), *rest)
    old, ref = micro.old_logps_BGT, micro.ref_logps_BGT
    (numerator, denominator), metrics = policy_loss(
      logps, micro.mask_BGT, micro.advantages_BGT, old, ref, spec, behavior_logps_BGT=micro.behavior_logps_BGT,
      picked_BGT=micro.picked_BGT, roles_BG=micro.roles_BG, exact_kl_BGT=exact_kl,
      present_BG=micro.present_BG)
    current = jax.lax.stop_gradient(logps) if old is None else old
    known = micro.mask_BGT & ~jnp.isinf(current) & ~jnp.isinf(micro.behavior_logps_BGT)  # the others are counted apart
    gap = jnp.where(known, jnp.abs(current - micro.behavior_logps_BGT), 0)
    metrics["policy/entropy"] = (selected_sum(entropy, micro.mask_BGT), jnp.sum(micro.mask_BGT))
    metrics["policy/sampler_gap"] = (jnp.sum(gap), jnp.sum(known))
    metrics["policy/sampler_gap_max"] = (jnp.max(gap), jnp.ones((), jnp.int32))
    lost = jnp.any(micro.mask_BGT & ~jnp.isfinite(micro.behavior_logps_BGT), -1)  # logits were not finite
    metrics["policy/not_finite"] = (jnp.sum(lost), jnp.asarray(lost.size, jnp.int32))
    return numerator, (denominator, metrics)

  grads, metrics = accumulate(loss_fn, state.params, batch, cut)
  state, update = apply_gradients(state, grads, optimizer)
  if spec.beta_control == "adaptive":
    total, count = metrics["policy/kl"]
    beta = adapted_beta(spec.beta, total / jnp.maximum(count, 1), spec.kl_target, spec.kl_horizon)
    beta = jnp.where(jnp.isfinite(beta), beta, spec.beta)
    state = state.replace(algorithm_state={**state.algorithm_state, "beta": beta})
    update["update/beta"] = (beta, 1)
  return state, {**metrics, **update}

"""The critic's step: `(learner, batch) -> (learner, metrics)`."""

import jax.numpy as jnp

from grpo_jax.algorithms.reductions import selected_sum
from grpo_jax.algorithms.value_loss import clipped_value_loss
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.value_head import tree_values
from grpo_jax.training.accumulate import Cut, accumulate
from grpo_jax.training.optimizer import OptimizerSpec, apply_gradients
from grpo_jax.training.state import Learner
from grpo_jax.types import Experience


def value_step(critic: Learner, batch: Experience, optimizer: OptimizerSpec, clip, *, cfg: ModelConfig, cut: Cut):
  """One update of the critic towards the returns of a minibatch, the mean over tokens of `clipped_value_loss`."""

  def loss_fn(params, micro: Experience):
    mask = micro.mask_BGT
    values = tree_values(params, cfg, micro.prompts, micro.tokens_BGT, mask, cut.row)
    old, returns = (jnp.where(mask, a, 0) for a in (micro.values_BGT, micro.returns_BGT))
    total, count = selected_sum(clipped_value_loss(values, old, returns, clip), mask), jnp.sum(mask)
    metrics = {"loss/value": (total, count), "critic/error": (selected_sum(jnp.abs(values - returns), mask), count)}
    return total, (count, metrics)

  grads, metrics = accumulate(loss_fn, critic.params, batch, cut)
  critic, update = apply_gradients(critic, grads, optimizer)
  return critic, metrics | {f"critic/{name}": update[f"update/{name}"] for name in ("grad_norm", "skipped")}

"""The pure supervised step."""

from grpo_jax.algorithms.reductions import selected_sum, token_mean
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.rows import tree_logps
from grpo_jax.training.accumulate import Cut, accumulate
from grpo_jax.training.optimizer import OptimizerSpec, apply_gradients
from grpo_jax.training.state import TrainState
from grpo_jax.types import Experience


def sft_step(state: TrainState, batch: Experience, optimizer: OptimizerSpec, *, cfg: ModelConfig, cut: Cut):
  """One supervised update: loss = -mean over solution tokens of log p(token | prompt, earlier tokens). G = 1."""

  def loss_fn(params, micro: Experience):
    logps, entropy = tree_logps(
      state.model(params), cfg, micro.prompts, micro.tokens_BGT, micro.mask_BGT, 1.0, cut.logit_chunk, cut.row)
    loss = token_mean(-logps, micro.mask_BGT)
    metrics = {"loss/sft": loss, "policy/entropy": (selected_sum(entropy, micro.mask_BGT), loss[1])}
    return loss[0], (loss[1], metrics)

  grads, metrics = accumulate(loss_fn, state.params, batch, cut)
  state, update = apply_gradients(state, grads, optimizer)
  return state, {**metrics, **update}

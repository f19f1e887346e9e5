"""Steps on pairs: DPO and the Bradley–Terry reward model. A pair is a group with G = 2: chosen, then rejected."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.algorithms.preference import bradley_terry, pair_loss
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.rows import tree_logps
from grpo_jax.models.value_head import completion_scores
from grpo_jax.training.accumulate import Cut, accumulate
from grpo_jax.training.optimizer import OptimizerSpec, apply_gradients
from grpo_jax.training.state import TrainState
from grpo_jax.types import Experience


@struct.dataclass
class PreferenceSpec:
  """Numbers of a preference loss; `kind` is sigmoid, ipo or hinge."""

  kind: str = struct.field(pytree_node=False, default="sigmoid")
  beta: float = 0.1  # per nat
  label_smoothing: float = 0.0


def sequence_logps(params, cfg: ModelConfig, batch: Experience, cut: Cut):
  """log p(completion | prompt), `[B, 2]` (nats)."""
  arrays = (batch.prompts, batch.tokens_BGT, batch.mask_BGT)
  return jnp.sum(tree_logps(params, cfg, *arrays, 1.0, cut.logit_chunk, cut.row)[0], -1)


def _stepped(state: TrainState, batch: Experience, optimizer, cut: Cut, margins, loss):
  """One update on the mean over pairs of `loss(margin)`; metrics with the share of pairs whose margin is positive."""

  def loss_fn(params, micro: Experience):
    margin_B = margins(params, micro)
    losses, count = loss(margin_B), margin_B.shape[0]
    right = jnp.sum(margin_B > 0)
    metrics = {"loss/pairs": (jnp.sum(losses), count), "pairs/accuracy": (right, count),
               "pairs/margin": (jnp.sum(margin_B), count)}
    return jnp.sum(losses), (count, metrics)

  grads, metrics = accumulate(loss_fn, state.params, batch, replace(cut, named=True))
  state, update = apply_gradients(state, grads, optimizer)
  return state, {**metrics, **update}


def dpo_step(state: TrainState, batch: Experience, spec: PreferenceSpec, optimizer: OptimizerSpec,
             *, cfg: ModelConfig, cut: Cut):
  """loss = mean of pair_loss(m), m = log p/ref (chosen) - log p/ref (rejected). DPO, arXiv 2305.18290, equation 7."""

  def margins(params, micro: Experience):
    reference = jax.lax.stop_gradient(sequence_logps(state.reference, cfg, micro, cut))
    gains_BG = sequence_logps(state.model(params), cfg, micro, cut) - reference
    return gains_BG[:, 0] - gains_BG[:, 1]

  def loss(margin):
    return pair_loss(margin, beta=spec.beta, kind=spec.kind, label_smoothing=spec.label_smoothing)

  return _stepped(state, batch, optimizer, cut, margins, loss)


def reward_model_step(state: TrainState, batch: Experience, spec: PreferenceSpec, optimizer: OptimizerSpec,
                      *, cfg: ModelConfig, cut: Cut):
  """loss = mean of -log σ(score(chosen) - score(rejected)); the parameters carry a value head."""

  def margins(params, micro: Experience):
    scores_BG = completion_scores(params, cfg, micro.prompts, micro.tokens_BGT, micro.mask_BGT, cut.row)
    return scores_BG[:, 0] - scores_BG[:, 1]

  return _stepped(state, batch, optimizer, cut, margins, lambda margin: bradley_terry(margin, 0.0))


def preferred(params, batch: Experience, *, cfg: ModelConfig, scored: bool):
  """Which pairs of a batch come out right, `[B]`: by score, or by the policy's own log-probability."""
  if scored:
    scores_BG = completion_scores(params, cfg, batch.prompts, batch.tokens_BGT, batch.mask_BGT)
  else:
    scores_BG = sequence_logps(params, cfg, batch, Cut())
  return scores_BG[:, 0] > scores_BG[:, 1]

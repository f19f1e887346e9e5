"""The first pass of the covariance rows: which tokens of the whole minibatch are treated apart."""

import jax

from grpo_jax.algorithms.selection import pick
from grpo_jax.models.rows import tree_logps
from grpo_jax.training.accumulate import Cut, map_microbatches
from grpo_jax.training.state import TrainState
from grpo_jax.types import Experience


def picked(state: TrainState, batch: Experience, spec, temperature, cfg, cut: Cut):
  """The covariance rows' tokens, chosen over the whole minibatch before it is cut."""

  def logps(micro: Experience):
    arrays = (micro.prompts, micro.tokens_BGT, micro.mask_BGT)
    return tree_logps(state.policy, cfg, *arrays, temperature, cut.logit_chunk, cut.row)[0]

  key = jax.random.fold_in(jax.random.key(state.seed), state.step)
  logps_BGT = map_microbatches(logps, batch, cut)
  return pick(spec.surrogate, logps_BGT, batch.advantages_BGT, batch.mask_BGT, spec, key, batch.old_logps_BGT)

"""A scalar read off a decoder's hidden states: the critic's value, the reward model's score."""

import jax
import jax.numpy as jnp

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.rows import branches
from grpo_jax.types import Prompts, wide


def with_value_head(params):
  """The trunk of a policy with a head of zeros: it begins by saying 0 everywhere."""
  trunk = {name: a for name, a in jax.tree.map(jnp.copy, params).items() if name != "lm_head"}
  return {**trunk, "value_head": jnp.zeros((params["embed"].shape[1],), params["embed"].dtype)}


def tree_values(params, cfg: ModelConfig, prompts: Prompts, tokens_BGT, mask_BGT, N: int = 0):
  """Value of the state before each completion token, `[B, G, T]` float32 or wider; 0 where masked. N: of `branches`."""
  hidden, packing = branches(params, cfg, prompts, tokens_BGT, mask_BGT, N)
  return packing.back((wide(hidden) @ wide(params["value_head"]))[:, 0])


def completion_scores(params, cfg: ModelConfig, prompts: Prompts, tokens_BGT, mask_BGT, N: int = 0):
  """Score of each whole completion, `[B, G]`: the head on the hidden state after its last token.

  N: of `branches`, where each completion takes a token more than it has.
  """
  more = ((0, 0), (0, 0), (0, 1))  # one position further, which is fed the last token
  mask = jnp.pad(mask_BGT, ((0, 0), (0, 0), (1, 0)), constant_values=True)
  values_BGT = tree_values(params, cfg, prompts, jnp.pad(tokens_BGT, more), mask, N)
  return jnp.take_along_axis(values_BGT, jnp.sum(mask_BGT, -1)[..., None], 2)[..., 0]

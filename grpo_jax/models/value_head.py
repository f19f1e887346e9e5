"""A scalar read off a decoder's hidden states: the critic's value, the reward model's score."""

import jax
import jax.numpy as jnp

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.decoder import branches
from grpo_jax.types import Prompts, wide


def with_value_head(params):
  """The trunk of a policy with a head of zeros: it begins by saying 0 everywhere."""
  trunk = {name: a for name, a in jax.tree.map(jnp.copy, params).items() if name != "lm_head"}
  return {**trunk, "value_head": jnp.zeros((params["embed"].shape[1],), params["embed"].dtype)}


def tree_values(params, cfg: ModelConfig, prompts: Prompts, tokens_BGT, mask_BGT):
  """Value of the state before each completion token, `[B, G, T]` float32 or wider; 0 where masked."""
  hidden = branches(params, cfg, prompts, tokens_BGT, mask_BGT)
  return jnp.where(mask_BGT, wide(hidden) @ wide(params["value_head"]), 0)

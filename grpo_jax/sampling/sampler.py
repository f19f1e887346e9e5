"""The sampler as programs call it."""

from grpo_jax.models.config import ModelConfig
from grpo_jax.sampling.generate import generate
from grpo_jax.types import Prompts, Rollout, SampleRequest


def sample(policy, prompts: Prompts, seed, temperature, *, cfg: ModelConfig, asked: SampleRequest) -> Rollout:
  """`generate` with a temperature that is a traced number, so that another one does not recompile."""
  return generate(policy, cfg, prompts, seed, asked.replace(temperature=temperature))

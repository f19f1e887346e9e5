"""grpo_jax: reinforcement learning of language models with GRPO and its relatives, in JAX."""

__version__ = "0.1.0"

"""Batches of the stages that learn from given completions: worked solutions, preference pairs."""

import numpy as np

from grpo_jax.data.batches import pad_completions
from grpo_jax.runs.prompts import draw
from grpo_jax.runs.setup import Setup
from grpo_jax.types import Experience, Prompts


def _tokens(setup: Setup, text: str, what: str) -> list[int]:
  ids, T = setup.tokenizer.encode_completion(text), max(setup.config.completion_buckets)
  if len(ids) > T or not text:
    raise ValueError(
      f"completion_buckets={tuple(setup.config.completion_buckets)}: the {what} {text[:60]!r} has {len(ids)} tokens, "
      f"which is empty or longer; raise the largest bucket or give one."
    )
  return ids


def _batch(setup: Setup, prompts: Prompts, texts: list[tuple[str, ...]], what: tuple[str, ...]) -> Experience:
  G, T = len(what), max(setup.config.completion_buckets)
  tokens = [_tokens(setup, text, kind) for row in texts for text, kind in zip(row, what, strict=True)]
  padded, mask = pad_completions(tokens, T, setup.tokenizer.pad_id)
  shape = (len(texts), G, T)
  zeros = np.zeros(shape, np.float32)
  return Experience(prompts, padded.reshape(shape), mask.reshape(shape), zeros, zeros[..., :1])


def solutions(setup: Setup, position: int) -> tuple[Experience, int]:
  """The next batch of worked solutions as groups of one, and the position after it."""
  config = setup.config
  drawn = draw(setup.train, setup.tokenizer, position, config.sft.batch, (max(config.prompt_buckets),))
  texts = [(e.solution,) for e in drawn.examples]
  return _batch(setup, drawn.prompts, texts, ("worked solution",)), drawn.position


def pairs(setup: Setup, position: int) -> tuple[Experience, int]:
  """The next batch of preference pairs as groups of two: chosen, rejected."""
  config = setup.config
  drawn = draw(setup.train, setup.tokenizer, position, config.preference.batch, (max(config.prompt_buckets),))
  return pairs_of(setup, drawn.prompts, drawn.examples), drawn.position


def pairs_of(setup: Setup, prompts: Prompts, examples) -> Experience:
  """The pairs of some examples."""
  texts = [(e.chosen or e.solution, e.rejected) for e in examples]
  return _batch(setup, prompts, texts, ("chosen completion", "rejected completion"))

"""From a stream of examples to padded prompts with their uids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grpo_jax.data.batches import choose_bucket, pad_prompts
from grpo_jax.data.example import Example
from grpo_jax.data.order import Stream
from grpo_jax.text.tokenizer import Tokenizer
from grpo_jax.types import Prompts


@dataclass(frozen=True)
class Drawn:
  """B examples with their prompts `[B, P]`, the position after them, and how many were too long on the way."""

  examples: list[Example]
  prompts: Prompts
  position: int
  dropped: int


def draw(stream: Stream, tokenizer: Tokenizer, position: int, count: int, buckets: Sequence[int]) -> Drawn:
  """The next `count` prompts that fit the largest bucket, from `position` on; longer ones are counted, never cut.

  A prompt's uid is its position, so its samples do not depend on the batch it is in.
  """
  longest, limit = max(buckets), 10_000 + 10 * count
  examples, tokens, uids, dropped = [], [], [], 0
  while len(examples) < count:
    example = stream[position]
    ids = tokenizer.encode_prompt(example.prompt)
    if 1 <= len(ids) <= longest:
      examples.append(example)
      tokens.append(ids)
      uids.append(position)
    else:
      dropped += 1
      if dropped > limit:
        raise ValueError(f"prompt_buckets={tuple(buckets)}: {dropped} prompts are longer; add a larger bucket.")
    position += 1
  P = choose_bucket([len(t) for t in tokens], buckets)
  padded, mask = pad_prompts(tokens, P, tokenizer.pad_id)
  return Drawn(examples, Prompts(padded, mask, np.asarray(uids, np.int32)), position, dropped)

"""The held-out problems of a run."""

from dataclasses import dataclass

import numpy as np

from grpo_jax.data.batches import pad_prompts
from grpo_jax.data.example import Example
from grpo_jax.data.order import Stream
from grpo_jax.text.tokenizer import Tokenizer
from grpo_jax.types import Prompts


@dataclass(frozen=True)
class Heldout:
  """The first n held-out problems that fit, always the same ones."""

  examples: list[Example]
  prompts: Prompts

  @classmethod
  def draw(cls, stream: Stream, tokenizer: Tokenizer, longest: int, count: int) -> "Heldout":
    """Distinct problems in the stream's order; ValueError when fewer than `count` fit."""
    examples, tokens, seen, position = [], [], set(), 0
    while len(examples) < count:
      if position == 4 * len(stream.source):
        raise ValueError(
          f"evaluate.problems={count} is more than the {len(examples)} distinct held-out problems that fit "
          f"{longest} tokens; lower it."
        )
      example, position = stream[position], position + 1
      ids = tokenizer.encode_prompt(example.prompt)
      if str(example.prompt) not in seen and 1 <= len(ids) <= longest:
        seen.add(str(example.prompt))
        examples.append(example)
        tokens.append(ids)
    padded, mask = pad_prompts(tokens, longest, tokenizer.pad_id)
    return cls(examples, Prompts(padded, mask, np.arange(count, dtype=np.int32)))

  def batch(self, start: int, size: int) -> Prompts:
    """Rows start … start + size - 1; past the end the last row again."""
    rows = np.minimum(np.arange(start, start + size), len(self.examples) - 1)
    return Prompts(*(np.asarray(a)[rows] for a in (self.prompts.tokens_BP, self.prompts.mask_BP, self.prompts.uids_B)))

"""From a stream of examples to padded prompts with their uids."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from grpo_jax.data.batches import choose_bucket, make_prompts
from grpo_jax.data.example import Example
from grpo_jax.data.order import Stream
from grpo_jax.text.tokenizer import Tokenizer
from grpo_jax.types import Prompts


@dataclass(frozen=True)
class Drawn:
  """B examples with their prompts `[B, P]`, the position after them, and how many were passed over on the way."""

  examples: list[Example]
  prompts: Prompts
  position: int
  passed: Counter  # "dropped": too long; "skipped": left out by a curriculum


def draw(stream: Stream, tokenizer: Tokenizer, position: int, count: int, buckets: Sequence[int]) -> Drawn:
  """The next `count` prompts that fit the largest bucket, from `position` on; longer ones are counted, never cut.

  A prompt's uid is its position, so its samples do not depend on the batch it is in.
  """
  longest, limit = max(buckets), 10_000 + 10 * count
  kept, passed, first = [], Counter(), position
  while len(kept) < count:
    example = stream[position := stream.next(position)]
    ids = tokenizer.encode_prompt(example.prompt)
    if 1 <= len(ids) <= longest:
      kept.append((example, ids, position))
    else:
      passed["dropped"] += 1
      if passed["dropped"] > limit:
        raise ValueError(f"prompt_buckets={tuple(buckets)}: {limit} prompts are longer; add a larger bucket.")
    position += 1
  passed["skipped"] = position - first - count - passed["dropped"]
  examples, tokens, uids = map(list, zip(*kept, strict=True))
  prompts = make_prompts(tokens, uids, choose_bucket([len(t) for t in tokens], buckets), tokenizer.pad_id)
  return Drawn(examples, prompts, position, passed)

"""The held-out problems of a run."""

from dataclasses import dataclass, replace

import jax
import numpy as np

from grpo_jax.data.batches import make_prompts
from grpo_jax.data.example import Example
from grpo_jax.data.order import Stream
from grpo_jax.text.tokenizer import Tokenizer
from grpo_jax.types import Prompts


@dataclass(frozen=True)
class Heldout:
  """The first held-out problems that fit, always the same ones; `dropped` counts those that did not on the way."""

  examples: list[Example]
  prompts: Prompts
  positions: tuple[int, ...]  # of the stream they were drawn from
  dropped: int

  @classmethod
  def draw(cls, stream: Stream, tokenizer: Tokenizer, longest: int, most: int) -> "Heldout":
    """Distinct problems in the stream's order: as many as there are and fit `longest` tokens, at most `most`.

    Raises:
      ValueError: none fits.
    """
    kept, seen, position, dropped = [], set(), 0, 0
    while len(kept) < most and position < 4 * len(stream.source):  # passes: a mixture draws a source at its own pace
      example, position = stream[position], position + 1
      if str(example.prompt) in seen:
        continue
      seen.add(str(example.prompt))
      ids = tokenizer.encode_prompt(example.prompt)
      if 1 <= len(ids) <= longest:
        kept.append((example, ids, position - 1))
      else:
        dropped += 1
    if not kept:
      raise ValueError(
        f"prompt_buckets={longest} leaves none of the {dropped} held-out problems of data: a prompt must have 1 to "
        f"{longest} tokens; raise prompt_buckets, or hold out more problems.")
    examples, tokens, positions = zip(*kept, strict=True)
    prompts = make_prompts(tokens, range(len(kept)), longest, tokenizer.pad_id)
    return cls(list(examples), prompts, positions, dropped)

  def trimmed(self, multiple: int = 64) -> "Heldout":
    """The same with no more left padding than the longest prompt needs, rounded up to a multiple of tokens."""
    longest = int(self.prompts.mask_BP.sum(1).max())
    P = min(-(-longest // multiple) * multiple, self.prompts.mask_BP.shape[1])
    tokens, mask = self.prompts.tokens_BP[:, -P:], self.prompts.mask_BP[:, -P:]
    return replace(self, prompts=self.prompts.replace(tokens_BP=tokens, mask_BP=mask))

  def batch(self, start: int, size: int) -> Prompts:
    """Rows start … start + size - 1; past the end the last row again."""
    rows = np.minimum(np.arange(start, start + size), len(self.examples) - 1)
    return jax.tree.map(lambda a: a[rows], self.prompts)

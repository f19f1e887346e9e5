"""Where an RL stage's prompts come from: its stream, or, with a curriculum, what the pass rates in the state leave."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from grpo_jax.data.curriculum import Banded, Curriculum, updated
from grpo_jax.data.order import Stream
from grpo_jax.runs.prompts import Drawn, draw
from grpo_jax.runs.signals import Judged
from grpo_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Draws:
  """Draws `count` prompts at a time; `data_state` is the position in the stream, and a curriculum's pass rates."""

  stream: Stream
  tokenizer: Tokenizer
  count: int
  buckets: tuple[int, ...]
  curriculum: Curriculum
  component: str  # of the rewards, that counts as passed

  def next(self, data_state: dict, position: int) -> Drawn:
    """The next prompts from `position` on."""
    stream = self.stream
    if "pass_rates" in data_state:
      c, rates = self.curriculum, np.asarray(data_state["pass_rates"])
      stream = Banded(stream, rates, c.low, c.high, c.revisit, c.skips)
    return draw(stream, self.tokenizer, position, self.count, self.buckets)

  def after(self, data_state: dict, position: int, results: Sequence[Judged]) -> dict:
    """The data state after an iteration: the next position, and the pass rates with those of all its rollouts."""
    data = {"position": np.int32(position)}
    if "pass_rates" in data_state:
      rates = np.asarray(data_state["pass_rates"])
      for result in results:
        rows = [self.stream.row(int(uid)) for uid in result.uids_B]
        right_BG = result.scores.components[self.component] >= 1
        rates = updated(rates, rows, right_BG.mean(1), self.curriculum.momentum)
      data["pass_rates"] = rates
    return data

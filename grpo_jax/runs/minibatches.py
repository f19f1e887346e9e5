"""Which prompts of a rollout each optimizer update sees."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Minibatches:
  """How the prompts of a rollout become updates: passes over all of them, each cut into minibatches."""

  seed: int
  prompts: int
  size: int  # prompts of a minibatch; 0 is all
  epochs: int  # passes

  @property
  def updates(self) -> int:
    """Optimizer updates that one rollout gives."""
    return self.epochs * (self.prompts // (self.size or self.prompts))

  def rows(self, iteration: int) -> np.ndarray | None:
    """Rows of the minibatches of an iteration, `[updates, minibatch]`: each pass takes every prompt once.

    The order is a function of seed, iteration and pass. None where a single update takes all prompts.
    """
    if self.updates == 1:
      return None
    orders = []
    for epoch in range(self.epochs):
      generator = np.random.Generator(np.random.Philox(key=[self.seed, iteration * 2**20 + epoch]))
      orders.append(generator.permutation(self.prompts).reshape(-1, self.size or self.prompts))
    return np.concatenate(orders).astype(np.int32)

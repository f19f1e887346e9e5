"""Which prompts of a rollout each optimizer update sees."""

import numpy as np
from ml_collections import ConfigDict


def minibatch_rows(config: ConfigDict, iteration: int) -> np.ndarray:
  """Rows of the minibatches of an iteration, `[updates, minibatch]`: each pass takes every prompt once.

  The order is a function of seed, iteration and pass.
  """
  B, orders = config.train.prompts, []
  for epoch in range(config.train.update_epochs):
    generator = np.random.Generator(np.random.Philox(key=[config.seed, iteration * 2**20 + epoch]))
    orders.append(generator.permutation(B).reshape(-1, config.train.minibatch_prompts or B))
  return np.concatenate(orders).astype(np.int32)

"""What an iteration reports, by hand."""

import math

import numpy as np

from grpo_jax.runs.rl_metrics import lengths_by_reward


def test_lengths_above_and_below_the_mean_of_the_group():
  """Mean rewards 1/2 and 2/3; the third group is all alike and on neither side.."""
  rewards = np.array([[1, 0, 1, 0], [0, 1, 0.75, 0.91666667], [1, 1, 1, 1]])
  lengths = np.array([[3, 4, 5, 6], [2, 9, 8, 9], [70, 80, 90, 99]])
  assert lengths_by_reward(rewards[:1], lengths[:1]) == {"length/above": 4.0, "length/below": 5.0}
  assert lengths_by_reward(rewards, lengths) == {"length/above": 34 / 5, "length/below": 12 / 3}
  assert all(map(math.isnan, lengths_by_reward(rewards[2:], lengths[2:]).values()))

"""Step scores by token."""

import numpy as np
import pytest

from grpo_jax.rewards.steps import step_scores

CASES = [
  ("[236]632", [(4, 1.0), (7, 1.0)]),
  ("[236]623", [(4, 1.0), (7, 0.0)]),
  ("[226]632", [(4, 0.0), (7, 1.0)]),
  ("[236", [(3, 0.0)]),
  ("[236]632]", [(4, 1.0), (8, 0.0)]),
  ("[236]632]1", [(4, 1.0), (8, 0.0), (9, 0.0)]),
]


@pytest.mark.parametrize("text, steps", CASES)
def test_steps_of_a_worked_sum(text, steps):
  scores, ends = step_scores(list(text), "[236]632", "]")
  assert [(int(i), float(scores[i])) for i in np.flatnonzero(ends)] == steps
  assert not scores[~ends].any()


def test_tokens_of_several_characters():
  scores, ends = step_scores(["[2", "36]", "632"], "[236]632", "]")
  np.testing.assert_array_equal(ends, [False, True, True])
  np.testing.assert_array_equal(scores, [0, 1, 1])


def test_no_tokens_are_no_steps():
  scores, ends = step_scores([], "[236]632", "]")
  assert scores.size == 0 and ends.size == 0

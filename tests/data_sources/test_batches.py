"""Padding by hand."""

import numpy as np
import pytest

from grpo_jax.data.batches import choose_bucket, fits, pad_completions, pad_prompts


def test_prompts_end_at_the_right_edge():
  tokens_BP, mask_BP = pad_prompts([[5, 6], [7], [8, 9, 0]], 3, pad_id=4)
  np.testing.assert_array_equal(tokens_BP, [[4, 5, 6], [4, 4, 7], [8, 9, 0]])
  np.testing.assert_array_equal(mask_BP, [[0, 1, 1], [0, 0, 1], [1, 1, 1]])
  assert tokens_BP.dtype == np.int32 and mask_BP.dtype == bool


def test_completions_begin_at_the_left_edge():
  tokens_NT, mask_NT = pad_completions([[5, 6], [], [7]], 3, pad_id=4)
  np.testing.assert_array_equal(tokens_NT, [[5, 6, 4], [4, 4, 4], [7, 4, 4]])
  np.testing.assert_array_equal(mask_NT, [[1, 1, 0], [0, 0, 0], [1, 0, 0]])


def test_nothing_is_cut():
  np.testing.assert_array_equal(fits([[1], [1, 2, 3], []], 2), [True, False, True])
  with pytest.raises(ValueError, match="prompt 1 has 3 tokens, must have at most 2"):
    pad_prompts([[1], [1, 2, 3]], 2)
  with pytest.raises(ValueError, match="completion 0 has 3 tokens"):
    pad_completions([[1, 2, 3]], 2)
  with pytest.raises(ValueError, match="prompt 1 has 0 tokens"):
    pad_prompts([[1], []], 2)


def test_no_rows():
  for pad in (pad_prompts, pad_completions):
    tokens, mask = pad([], 3)
    assert tokens.shape == mask.shape == (0, 3)


def test_bucket():
  assert choose_bucket([3, 9, 16], (64, 16, 32)) == 16
  assert choose_bucket([], (8, 4)) == 4
  with pytest.raises(ValueError, match=r"buckets=\(4, 8\) must hold the longest length, 9"):
    choose_bucket([9], (4, 8))

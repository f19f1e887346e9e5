"""From token lists to padded numpy arrays. Nothing is ever cut: what does not fit is refused."""

from collections.abc import Sequence

import jax
import numpy as np

from grpo_jax.types import Prompts

TokenLists = Sequence[Sequence[int]]


def lengths_of(token_lists: TokenLists) -> np.ndarray:
  """Tokens in each list, int32."""
  return np.asarray([len(tokens) for tokens in token_lists], np.int32)


def fits(token_lists: TokenLists, length: int) -> np.ndarray:
  """Which lists have at most `length` tokens, bool; the others are to be counted and drawn anew."""
  return lengths_of(token_lists) <= length


def make_prompts(token_lists: TokenLists, uids: Sequence[int], length: int, pad_id: int) -> Prompts:
  """Prompts of `length` tokens, left-padded; see `pad_prompts`."""
  return Prompts(*pad_prompts(token_lists, length, pad_id), np.asarray(uids, np.int32))


def prompt_shapes(B: int, P: int) -> Prompts:
  """The shapes of what `make_prompts` gives for B prompts of P tokens."""
  return jax.eval_shape(lambda: make_prompts([[0]] * B, [0] * B, P, 0))


def pad_prompts(token_lists: TokenLists, length: int, pad_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Left-pads prompts.

  Returns:
    (tokens_BP int32, mask_BP bool) with P = length; the last column is every prompt's last token.

  Raises:
    ValueError: a prompt is empty or longer than `length`.
  """
  if min(map(len, token_lists), default=1) == 0:
    raise ValueError(
      f"prompt {lengths_of(token_lists).tolist().index(0)} has 0 tokens, must have 1; drop the example."
    )
  mask_BP = np.arange(length)[::-1] < _checked(token_lists, length, "prompt")[:, None]
  return _fill(token_lists, mask_BP, pad_id), mask_BP


def pad_completions(token_lists: TokenLists, length: int, pad_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Right-pads completions.

  Returns:
    (tokens_NT int32, mask_NT bool) with T = length; an empty completion is a row of padding.

  Raises:
    ValueError: a completion is longer than `length`.
  """
  mask_NT = np.arange(length) < _checked(token_lists, length, "completion")[:, None]
  return _fill(token_lists, mask_NT, pad_id), mask_NT


def choose_bucket(lengths: Sequence[int], buckets: Sequence[int]) -> int:
  """The smallest bucket that holds the longest length: each bucket is one compiled program.

  Raises:
    ValueError: no bucket holds it, or there is none.
  """
  longest = int(np.max(lengths, initial=0))
  fitting = [bucket for bucket in buckets if bucket >= longest]
  if not fitting:
    raise ValueError(
      f"buckets={tuple(buckets)} must hold the longest length, {longest}; add a larger bucket."
    )
  return min(fitting)


def _checked(token_lists: TokenLists, length: int, what: str) -> np.ndarray:
  """The lengths, none of them above `length`."""
  lengths = lengths_of(token_lists)
  if (lengths > length).any():
    row = int(np.argmax(lengths > length))
    raise ValueError(
      f"{what} {row} has {lengths[row]} tokens, must have at most {length}; filter with `fits` first."
    )
  return lengths


def _fill(token_lists: TokenLists, mask: np.ndarray, pad_id: int) -> np.ndarray:
  """Row-major order of the mask is the order of the concatenated lists, whichever side the padding is on."""
  tokens = np.full(mask.shape, pad_id, np.int32)
  tokens[mask] = np.concatenate([np.asarray(row, np.int32) for row in token_lists] or [np.zeros(0, np.int32)])
  return tokens

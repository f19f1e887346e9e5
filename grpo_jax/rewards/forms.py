"""Forms for tokens of the rules in token_answers.py.

Each speaks of a tokenizer, and refuses one in which tokens and texts could disagree.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from grpo_jax.data.example import Example
from grpo_jax.rewards import on_device
from grpo_jax.rewards.token_answers import integer_of


class Pieces:
  """What each token of a vocabulary writes; some write nothing: special ones, and ids that only the model has."""

  def __init__(self, tokenizer, vocab_size: int):
    self.tokenizer = tokenizer
    self.texts = [tokenizer.decode([i]) if i < tokenizer.vocab_size else "" for i in range(vocab_size)]

  def holding(self, text: str) -> list[int]:
    """The tokens in which a text stands."""
    return [i for i, piece in enumerate(self.texts) if text in piece]

  def only(self, text: str) -> int:
    """The one token in which a text stands, and stands alone.

    Raises:
      ValueError: there is no such token.
    """
    ids = self.holding(text)
    if [self.texts[i] for i in ids] != [text]:
      others = [self.texts[i] for i in ids if self.texts[i] != text][:3]
      raise ValueError(f"needs a tokenizer in which {text!r} is one token and part of no other, this one has {others}")
    return ids[0]

  def joined(self, texts) -> bool:
    """Whether these texts, each of one token, are written with nothing between them."""
    return self.tokenizer.decode([self.texts.index(text) for text in texts]) == "".join(texts)

  def spoken(self, tokens_BGT, mask_BGT):
    """Tokens and mask without what writes nothing (stop tokens among it), moved together at the front."""
    keep = mask_BGT & jnp.asarray([text != "" for text in self.texts])[tokens_BGT]
    order = jnp.argsort(~keep, axis=-1, stable=True)
    return jnp.take_along_axis(tokens_BGT, order, -1), jnp.take_along_axis(keep, order, -1)


class IntegerAnswer:
  """`integer_answer` for a tokenizer that writes numbers digit by digit."""

  def __init__(self, pieces: Pieces, length: int, after: str = ""):
    digits = tuple(map(pieces.only, "0123456789"))
    if not pieces.joined("0123456789"):
      raise ValueError("needs a tokenizer that writes digits side by side")
    minus = tuple(i for i in pieces.holding("-") if pieces.texts[i].endswith("-"))
    if len(after) > 1 or not after.isascii():
      raise ValueError(f"needs a single ASCII character, after={after!r} is not")
    marker = pieces.only(after) if after else None
    self._ids = {"digit_ids": digits, "minus_ids": minus, "marker_id": marker}

  def targets(self, examples: Sequence[Example]) -> np.ndarray:
    """Answers `[B]`."""
    return np.asarray([integer_of(example.answer) for example in examples], np.int32)

  def __call__(self, tokens_BGT, mask_BGT, answers_B):
    return on_device.integer_answer(tokens_BGT, mask_BGT, answers_B, **self._ids)


class TokenMatch:
  """`token_match` for a tokenizer of single characters, where equal texts are equal tokens."""

  def __init__(self, pieces: Pieces, length: int, how: str = "equals"):
    texts = [text for text in pieces.texts if text]
    if max(map(len, texts)) > 1 or len(set(texts)) < len(texts) or not pieces.joined(texts[:2]):
      raise ValueError(f"needs a tokenizer of single characters, this one has {max(texts, key=len)!r}")
    self._encode, self._length, self._how = pieces.tokenizer.encode, length, how

  def targets(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the answers `[B, T]`, and how many; of one that is too long to be given, the first."""
    spelled = [self._encode(example.answer) for example in examples]
    rows = [(ids + [0] * self._length)[: self._length] for ids in spelled]
    return np.asarray(rows, np.int32), np.asarray([len(ids) for ids in spelled], np.int32)

  def __call__(self, tokens_BGT, mask_BGT, targets):
    return on_device.token_match(tokens_BGT, mask_BGT, *targets, how=self._how)


FORMS = {"integer_answer": IntegerAnswer, "token_match": TokenMatch}

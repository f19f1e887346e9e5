"""Rewards on the device against the same questions asked on the host, over random token strings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.on_device import integer_answer, token_match
from grpo_jax.rewards.rules import numeric

ALPHABET = "0123456789-# =x"
B, G, T, K = 4, 512, 7, 3


def random_tokens(rng, alphabet, t=T):
  """Tokens whose masked-out tail is garbage, and their masks, of every length from 0."""
  lengths = rng.integers(0, t + 1, (B, G))
  return rng.integers(0, alphabet, (B, G, t)), np.arange(t) < lengths[..., None]


def texts_of(tokens, mask, alphabet=ALPHABET):
  return [["".join(alphabet[i] for i in row[m]) for row, m in zip(*pair, strict=True)]
          for pair in zip(tokens, mask, strict=True)]  # fmt: skip


@pytest.mark.parametrize("how, same", [
  ("equals", str.__eq__), ("contains", str.__contains__), ("starts", str.startswith)])
def test_token_match_is_what_strings_do(how, same):
  rng = np.random.default_rng(0)
  tokens, mask = random_tokens(rng, alphabet=2, t=4)
  targets, lengths = rng.integers(0, 2, (B, K)), np.array([0, 1, 2, 3])
  got = jax.jit(token_match, static_argnames="how")(tokens, mask, targets, lengths, how=how)
  assert got.dtype == jnp.float32 and got.shape == (B, G)
  texts = texts_of(tokens, mask, "ab")
  wanted = ["".join("ab"[i] for i in target[:n]) for target, n in zip(targets, lengths, strict=True)]
  expected = [[same(text, w) for text in group] for group, w in zip(texts, wanted, strict=True)]
  np.testing.assert_array_equal(got, np.array(expected, np.float32))
  assert 0 < np.mean(expected) < 1


def test_token_match_with_a_target_longer_than_the_completion():
  tokens, mask = jnp.array([[[1, 2]]]), jnp.array([[[True, True]]])
  assert token_match(tokens, mask, jnp.array([[1, 2, 3]]), jnp.array([3]), how="contains") == 0
  assert token_match(tokens, mask, jnp.array([[1, 2, 2]]), jnp.array([3])) == 0
  with pytest.raises(ValueError, match="how='holds'"):
    token_match(tokens, mask, jnp.array([[1]]), jnp.array([1]), how="holds")


IDS = {"digit_ids": tuple(range(10)), "minus_ids": (ALPHABET.index("-"),), "marker_id": ALPHABET.index("#")}
integer = jax.jit(lambda *a: integer_answer(*a, **IDS))


def test_integer_answer_is_the_rule_numeric():
  rng = np.random.default_rng(1)
  tokens, mask = random_tokens(rng, alphabet=len(ALPHABET) - 1)  # no letters
  few = np.array([ALPHABET.index(c) for c in "011-# "])  # so that many are right
  tokens[:, ::2] = few[tokens[:, ::2] % len(few)]
  tokens[:, ::3, 0] = ALPHABET.index("#")
  answers = np.array([1, 0, -1, 10])  # `numeric` also reads 1 011 as 1011: blanks are doubled for it
  got = integer(tokens, mask, answers)
  expected = [
    [numeric(text.replace(" ", "  "), Example("", str(answer)), RuleContext(1, False, 1), after="#", pick="first")
     for text in group]
    for group, answer in zip(texts_of(tokens, mask), answers, strict=True)
  ]
  np.testing.assert_array_equal(got, np.array(expected, np.float32))
  assert np.array(expected).sum(-1).min() > 3


@pytest.mark.parametrize(
  ("text", "answer", "expected"),
  [
    ("#2147483647", 2147483647, 1),
    ("#2147483648", 2147483647, 0),
    ("#-2147483647", -2147483647, 1),
    ("#6442450943", 2147483647, 0),  # the same modulo 2^32
    ("#00000000000000012", 12, 1),
    ("#10000000000000012", 12, 0),
    ("#-0", 0, 1),
    ("#--5", -5, 1),
    ("#12", 123, 0),
    ("#123", 12, 0),
    ("12", 12, 0),
    ("#12#", 12, 0),
    ("#= 12 13", 12, 1),
  ],
)
def test_integer_answer_by_hand(text, answer, expected):
  tokens = np.array([[[ALPHABET.index(c) for c in text.ljust(20, "9")]]])
  assert integer(tokens, np.arange(20)[None, None] < len(text), np.array([answer]))[0, 0] == expected
  assert numeric(text, Example("", str(answer)), RuleContext(1, False, 1), after="#", pick="first") == expected


def test_no_host_callback_is_compiled():
  tokens, mask = jnp.zeros((2, 2, 4), jnp.int32), jnp.ones((2, 2, 4), bool)
  text = jax.jit(lambda *a: token_match(*a) + integer_answer(
    tokens, mask, jnp.zeros(2, jnp.int32), **IDS
  )).lower(tokens, mask, jnp.zeros((2, 3), jnp.int32), jnp.ones(2, jnp.int32)).as_text()  # fmt: skip
  assert "callback" not in text

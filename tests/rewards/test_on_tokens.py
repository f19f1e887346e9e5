"""Rewards on tokens say what the rules say of the texts, whatever is sampled, and refuse what they could not judge."""

import pathlib

import numpy as np
import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RewardError
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.on_tokens import TokenRewards
from grpo_jax.text.tokenizer import character_tokenizer, load_tokenizer

B, G, T, ALPHABET = 6, 400, 6, "0123456789-]x"
COMPONENTS = {
  "correct": {"rule": "integer_answer", "options": {"after": "]"}},
  "anywhere": {"rule": "integer_answer", "weight": -0.3},
  "same": {"rule": "token_match", "weight": 0.7},
  "holds": {"rule": "token_match", "weight": 0.1, "options": {"how": "contains"}},
  "starts": {"rule": "token_match", "weight": 0.1, "options": {"how": "starts"}},
}
EXAMPLES = [Example("", answer) for answer in ("1", "-1", "0", "10", "-0", "1111111")]


def rollout(tokenizer, seed=0):
  """Tokens of every kind, special ones too, and ids that only the model has; many right ones among them."""
  rng = np.random.default_rng(seed)
  likely = [*tokenizer.encode("0111-]]"), 0, 1, 2, tokenizer.vocab_size]
  tokens = np.where(rng.random((B, G, T)) < 0.7, rng.choice(likely, (B, G, T)), rng.integers(0, 18, (B, G, T)))
  return tokens.astype(np.int32), np.arange(T) < rng.integers(0, T + 1, (B, G))[..., None]


def test_tokens_are_scored_like_their_texts():
  tokenizer = character_tokenizer(ALPHABET)
  rewards = TokenRewards(COMPONENTS, tokenizer, 18, T)
  tokens, mask = rollout(tokenizer)
  texts = [[tokenizer.decode(t[m]) for t, m in zip(*row, strict=True)] for row in zip(tokens, mask, strict=True)]
  with Rewards(COMPONENTS, workers=1, deadline_seconds=5, max_error_rate=0) as host:
    wanted = host(texts, EXAMPLES, mask.sum(-1), ~mask[..., -1], T)
  rewards_BG, scores = rewards(tokens, mask, rewards.targets(EXAMPLES))
  for name, score_BG in wanted.components.items():
    np.testing.assert_array_equal(scores[name], score_BG)
    assert 0 < score_BG.mean() < 1
  np.testing.assert_array_equal(rewards_BG, wanted.rewards_BG)


def test_the_self_test_goes_through_tokens():
  solved = [Example("", answer, f"x]{answer}") for answer in ("12", "-3", "0")]
  rewards = TokenRewards({"correct": COMPONENTS["correct"]}, character_tokenizer(ALPHABET), 16, 4)
  assert rewards.self_test(solved) == {"gold": 1.0, "wrong": 0.0, "n": 3}
  with pytest.raises(RewardError, match="scored the gold text 'x]13'"):
    rewards.self_test([Example("", "12", "x]13")])


@pytest.mark.parametrize("alphabet, options, words", [
  ("012345678]", {"after": "]"}, "'9' is one token"),
  (ALPHABET, {"after": "#"}, "'#' is one token"),
  (ALPHABET, {"after": "]]"}, "single ASCII character"),
])
def test_a_tokenizer_that_cannot_write_the_answer_is_refused(alphabet, options, words):
  with pytest.raises(ValueError, match="change the tokenizer") as error:
    TokenRewards({"c": {"rule": "integer_answer", "options": options}}, character_tokenizer(alphabet), 16, T)
  assert words in str(error.value) and str(error.value).startswith("rewards.components.c.rule='integer_answer'")


def test_a_tokenizer_of_longer_pieces_is_refused_where_texts_have_many_spellings():
  stories = load_tokenizer(str(pathlib.Path(__file__).parents[1] / "data/stories260k"))
  with pytest.raises(ValueError, match="needs a tokenizer of single characters"):
    TokenRewards({"c": {"rule": "token_match"}}, stories, 512, T)


@pytest.mark.parametrize("answer", ["3.5", "x", "", "2147483648", "1e3"])
def test_an_answer_that_is_no_whole_number_is_refused(answer):
  rewards = TokenRewards({"c": {"rule": "integer_answer"}}, character_tokenizer(ALPHABET), 16, T)
  with pytest.raises(ValueError, match=r"rewards\.components: the answer .* must be a whole number of 32 bits"):
    rewards.targets([Example("", answer)])

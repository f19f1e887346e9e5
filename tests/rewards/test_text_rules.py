"""String, thinking, repetition and language by worked texts."""

import time

import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.rules import RULES

CONTEXT = RuleContext(10, False, 100)


def score(rule, completion, answer="", **options):
  return RULES[rule].score(completion, Example("prompt", answer), CONTEXT, **options)


@pytest.mark.parametrize(
  ("completion", "answer", "options", "expected"),
  [
    (" The  Eiffel Tower!\n", "eiffel tower", {}, 1.0),
    ("Eiffel", "eiffel tower", {}, 0.0),
    ("the eiffel tower", "Eiffel tower", {"articles": True}, 0.0),
    ("PARIS", "Paris", {}, 1.0),
    ("PARIS", "Paris", {"case": True}, 0.0),
    ("Straße", "STRASSE", {}, 1.0),
    ("U.S.A", "USA", {}, 1.0),
    ("U.S.A", "USA", {"punctuation": True}, 0.0),
    ("１２ ﬁve", "12 five", {}, 1.0),  # full width, a ligature
    ("１２", "12", {"nfkc": False}, 0.0),
    ("e\u0301te\u0301", "été", {}, 1.0),
    ("I say Rome. A: Paris\nQ:", "Paris", {"after": "A:", "until": "\n"}, 1.0),
    ("Paris", "Paris", {"after": "A:"}, 0.0),
    ("theater", "ater", {}, 0.0),  # an article is a word
    ("", "Paris", {}, 0.0),
    ("x" * 20_000, "x" * 20_000, {}, 0.0),  # longer than any answer
  ],
)
def test_string(completion, answer, options, expected):
  assert score("string", completion, answer, **options) == expected


@pytest.mark.parametrize("answer", ["", " ", "?!", "The"])
def test_string_refuses_an_answer_of_which_nothing_is_left(answer):
  with pytest.raises(ValueError, match="nothing is left of the answer"):
    score("string", "", answer)


@pytest.mark.parametrize(
  ("completion", "options", "expected"),
  [
    ("a b c d e", {}, 0.0),
    ("a a a a a", {"ngram": 1}, -0.8),
    ("a b a b a b", {"ngram": 2}, -0.6),  # ab ba ab ba ab: 2 of 5 distinct
    ("a b a b a b", {"ngram": 2, "free": 0.2}, -0.5),
    ("a b", {"ngram": 3}, 0.0),
    ("", {}, 0.0),
    ("aaaa", {"ngram": 2, "unit": "character"}, -2 / 3),
    ("word " * 1000, {}, -996 / 997),
  ],
)
def test_repetition(completion, options, expected):
  assert score("repetition", completion, **options) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
  ("completion", "options", "expected"),
  [
    ("<think>one two three</think> 7", {}, 1.0),
    ("<think>one two three</think> 7", {"min_words": 6}, 0.5),
    ("<think>one two three four</think> 7", {"max_words": 2}, 0.5),
    ("<think>a b a b a b</think> 7", {"ngram": 2, "free": 0.0}, 0.4),
    ("<think>a b a b a b</think> 7", {"ngram": 2, "free": 0.2}, 0.5),
    ("<think>a b a b a b</think> 7", {"ngram": 2, "free": 0.0, "min_words": 12}, 0.2),
    ("<think> </think> 7", {}, 0.0),
    ("<think>one</think>", {}, 0.0),
    ("<think>one", {}, 0.0),
    ("one two", {}, 0.0),
    ("one two</think>7", {"opened": True}, 1.0),
    ("[one]7", {"open_tag": "[", "close_tag": "]"}, 1.0),
  ],
)
def test_thinking(completion, options, expected):
  assert score("thinking", completion, **options) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
  ("completion", "options", "expected"),
  [
    ("Hello, world 123!", {"language": "english"}, 1.0),
    ("привет ok", {"language": "russian"}, 0.75),
    ("привет ok", {"language": "LATIN"}, 0.25),
    ("你好 hi", {"language": "chinese"}, 0.5),
    ("カタカナとひらがな漢字", {"language": "japanese"}, 1.0),
    ("123 + 4", {"language": "english"}, 0.0),  # no letters
    ("ሰላም", {"language": "ethiopic"}, 1.0),
  ],
)
def test_language(completion, options, expected):
  assert score("language", completion, **options) == expected


@pytest.mark.parametrize(
  ("rule", "options", "match"),
  [
    ("repetition", {"ngram": 0}, "ngram=0 must be at least 1"),
    ("repetition", {"unit": "line"}, "unit='line'"),
    ("repetition", {"free": 1.0}, r"free=1.0 must lie in \[0, 1\)"),
    ("thinking", {"min_words": 0}, r"min_words=0 must lie in \[1, max_words=None\]"),
    ("thinking", {"min_words": 9, "max_words": 3}, "min_words=9"),
    ("thinking", {"ngram": 0}, "ngram=0"),
    ("language", {"language": "klingon"}, "language='klingon' is neither a script nor one of arabic"),
  ],
)
def test_options_out_of_range_are_errors(rule, options, match):
  with pytest.raises(ValueError, match=match):
    score(rule, "", **options)


@pytest.mark.parametrize("text", ["\u0315\u0300" * 2**19, "a " * 2**18, "漢" * 2**18, "<think>" * 10**5])
@pytest.mark.parametrize("rule", ["string", "repetition", "thinking", "language"])
def test_a_very_long_text_is_scored_in_seconds(rule, text):
  start = time.monotonic()
  options = {"language": {"language": "english"}}.get(rule, {})
  assert -1 <= score(rule, text, "x", **options) <= (rule == "language")
  assert -1 <= score(rule, f"<think>{text}</think>7", "x", **options) <= 1
  assert time.monotonic() - start < 5

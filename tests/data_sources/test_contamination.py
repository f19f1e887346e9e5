"""Planted duplicates are found however they are written; wording that all problems share is not held against them."""

import pytest
from test_order import Count

from grpo_jax.data import contamination
from grpo_jax.data.contamination import normalized, overlap
from grpo_jax.data.example import Example

TEXT = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."


class Rows(list):
  """A source of given prompts."""

  def __init__(self, *prompts):
    super().__init__(Example(prompt, "1") for prompt in prompts)


@pytest.mark.parametrize("other", [
  TEXT.upper(), TEXT.replace(" ", "\n  "), TEXT.replace(",", "").rstrip("."), f"“{TEXT}”",
  TEXT.replace("clips", "'clips'")])
def test_a_planted_duplicate_is_found_in_other_case_spacing_and_punctuation(other):
  found = overlap(Rows("What is 2 + 2?", TEXT), Rows("What is 2 + 3?", other, "Nothing."))
  assert [(left.prompt, right.prompt) for left, right in found.exact] == [(TEXT, other)]
  assert found.shared == 0 and found.rows == 3 and not found.sampled


@pytest.mark.parametrize("left, right, same", [
  ("12+34=", "12 + 34 =", True), ("What is 5?", "what is 5", True), ("a well-known fact", "A well known fact.", True),
  ("12+34=", "12-34=", False), ("(1+2)*3", "1+2*3", False), ("3.5 + 1", "35 + 1", False), ("3,7,21=", "37,21=", False),
  ("2 - 1", "2 1", False), ("?!", "!?", False),
])
def test_what_counts_as_the_same_problem(left, right, same):
  assert (normalized(left) == normalized(right)) == same
  messages = ({"role": "user", "content": left},)
  assert len(overlap([Example(messages, "1")], Rows(right)).exact) == same


def test_pieces_of_long_problems_are_counted_unless_they_are_common_wording():
  story = "a train leaves the station at noon and travels sixty miles an hour towards the sea with forty people aboard"
  held = Rows(f"{story} and returns at dusk how far does it go", f"{story[:26]} then it stops for good")
  tail = " ".join(f"word{chr(97 + i)}" for i in range(20))
  assert overlap(held, Rows(f"{story} {tail}")).shared == 1  # 13 words in common; the second has fewer
  many = Rows(*(f"{story} {tail} ending {chr(97 + i)}" for i in range(contamination.COMMON + 1)))
  assert overlap(held, many).shared == 0


def test_a_large_source_is_sampled_and_that_is_said(monkeypatch):
  monkeypatch.setattr(contamination, "MOST_ROWS", 50)
  found = overlap(Rows("x3"), Count("x", 1000))
  assert found.rows == 50 and found.sampled
  assert overlap(Rows("x3"), Count("x", 50)).exact

"""pass@k and maj@k on counts worked by hand; what a completion votes for."""

import numpy as np
import pytest

from grpo_jax.evaluation.pass_at_k import bootstrap, pass_at_k, wilson
from grpo_jax.evaluation.votes import answer_key, maj_at_k


@pytest.mark.parametrize("right, n, k, value", [
  (1, 4, 1, 0.25), (1, 4, 2, 0.5), (2, 4, 2, 5 / 6), (0, 8, 8, 0.0), (1, 8, 8, 1.0), (3, 10, 5, 1 - 21 / 252),
])
def test_pass_at_k(right, n, k, value):
  np.testing.assert_allclose(pass_at_k([right], n, k), [value], rtol=1e-12)


def votes(keys: str, gold: str = "a"):
  """One letter a sample, a dot for no answer."""
  own = [None if c == "." else c for c in keys]
  return [own], [[float(c == gold) for c in keys]]


@pytest.mark.parametrize("keys, k, value", [
  ("aab", 3, 1.0),  # two against one
  ("abb", 3, 0.0),
  ("ab", 2, 0.5),  # a tie is shared
  ("abc", 3, 1 / 3),
  ("a..", 3, 1.0),  # no answer is no vote
  ("...", 3, 0.0),
  ("aab", 1, 2 / 3),  # maj@1 is the pass rate
  ("aab", 2, (1 + 0.5 + 0.5) / 3),  # aa, ab, ab
  ("aabb", 3, 0.5),  # aab, aab, abb, abb
  ("aabbc", 4, (0.5 + 1 + 1 + 0 + 0) / 5),  # without c: tie; without one b: aa against b, c; without one a
])
def test_maj_at_k(keys, k, value):
  np.testing.assert_allclose(maj_at_k(*votes(keys), k), [value], rtol=1e-12)


def test_maj_at_k_of_many_samples_is_near_its_limit():
  keys, right = votes("a" * 40 + "b" * 24)
  assert maj_at_k(keys, right, 32)[0] > 0.95 and maj_at_k(keys, right, 64)[0] == 1


def test_more_votes_than_samples_are_refused():
  with pytest.raises(ValueError, match="k=4 is more than the 3 samples"):
    maj_at_k(*votes("aab"), 4)


@pytest.mark.parametrize("text, rule, options, key", [
  ("so it is 1,234.50 eggs", "numeric", {}, "1234.5"),
  ("so it is 1234.5", "numeric", {}, "1234.5"),
  ("1e3", "numeric", {}, "1000"),
  ("none", "numeric", {}, None),
  ("[81]18", "numeric", {"after": "]"}, "18"),
  ("no mark", "numeric", {"after": "]"}, None),
  (r"thus \boxed{\frac{1}{2}}.", "math", {}, r"\frac{1}{2}"),
  ("<answer> Paris </answer> I think", "exact", {}, "paris"),
  ("It is\n New   York.", "exact", {}, "new york"),
  ("", "exact", {}, None),
])
def test_what_a_completion_votes_for(text, rule, options, key):
  assert answer_key(text, rule, options) == key


def test_intervals_hold_the_mean_and_are_reproducible():
  values = np.array([0, 0, 1, 1, 1, 1, 1, 1], float)
  low, high = bootstrap(values)
  assert low < 0.75 < high and (low, high) == bootstrap(values)
  np.testing.assert_allclose(wilson(6, 8), (0.4092766, 0.9285205), atol=1e-5)

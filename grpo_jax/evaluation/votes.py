"""Majority voting: maj@k, the accuracy of the most frequent answer among k samples (Wang et al. 2022, 2203.11171)."""

import collections
import itertools
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from grpo_jax.rewards.extract import cut
from grpo_jax.rewards.plain_numbers import parse_number

SUBSETS = 2000  # of the samples of one problem; above that many, so many are drawn


def answer_key(text: str, rule: str, options: Mapping) -> str | None:
  """What a completion votes for, as the rule would read it: equal keys are one answer, None is no vote.

  Numbers are written one way; otherwise it is the text between the rule's marks, in the last box or answer tag, else
  the last line, blanks and case aside.
  """
  text = cut(text, options.get("after"), options.get("until"), options.get("before"))
  if text is None:
    return None
  if rule == "numeric":
    number = parse_number(text, options.get("pick", "last"))
    return None if number is None else f"{number.normalize():f}" if abs(number.adjusted()) < 40 else str(number)
  for opened, closed in (("<answer>", "</answer>"), (r"\boxed{", "}")):
    if opened in text:
      text = text.rpartition(opened)[2].rpartition(closed)[0] or text.rpartition(opened)[2]
  lines = text.strip().splitlines()
  return re.sub(r"\s+", " ", lines[-1]).strip(" .$").casefold() or None if lines else None


def _vote(keys: Sequence[str | None], right: Sequence[float]) -> float:
  """Whether the most frequent answer is right; answers that tie share the vote; no answer at all is wrong."""
  votes = collections.Counter(key for key in keys if key is not None)
  if not votes:
    return 0.0
  top = max(votes.values())
  winners = [key for key, n in votes.items() if n == top]
  by_key = {key: [r for k, r in zip(keys, right, strict=True) if k == key] for key in winners}
  return float(np.mean([np.mean(by_key[key]) for key in winners]))


def maj_at_k(keys: Sequence[Sequence[str | None]], right, k: int) -> np.ndarray:
  """maj@k of each problem: the vote of k of its samples, averaged over all choices of k (or over `SUBSETS` of them).

  Args:
    keys: what each sample of each problem votes for; right: `[problems, samples]`, whether it is right.
  Raises:
    ValueError: k is more than the samples.
  """
  right = np.asarray(right, np.float64)
  n = right.shape[1]
  if k > n:
    raise ValueError(f"k={k} is more than the {n} samples per problem; sample more or lower k.")
  if math.comb(n, k) <= SUBSETS:
    subsets = list(itertools.combinations(range(n), k))
  else:
    generator = np.random.Generator(np.random.Philox(0))
    subsets = [generator.choice(n, k, replace=False).tolist() for _ in range(SUBSETS)]
  return np.array([
    np.mean([_vote([own[i] for i in subset], row[list(subset)]) for subset in subsets])
    for own, row in zip(keys, right, strict=True)])

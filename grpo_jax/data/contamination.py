"""Whether held-out problems stand in the training data: as the same problem written otherwise, or in long pieces."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from grpo_jax.data.example import Example
from grpo_jax.data.hashing import stable_hash

LONG, SHORT = 13, 8  # words of a piece: LONG where the problem has twice as many (as arXiv 2005.14165, appendix C)
COMMON = 10  # a piece that more training problems than this contain is wording, not a problem
MOST_ROWS = 100_000  # training rows that are looked at; of a larger source a fixed random sample

_WORD = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+|[^\w\s]|_")
_NOISE = re.compile(r"[.,;:!?\"'`“”‘’„…–—_]|(?<![\d+*/=<>^()-])[()\[\]{}](?![\d+*/=<>^()-])|(?<=[^\W\d_])-(?=[^\W\d_])")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")


def words_of(prompt: str | Sequence[dict]) -> tuple[str, ...]:
  """The words, numbers and signs of a prompt, without case, spacing and punctuation.

  Signs of arithmetic stay, and brackets that touch a number or such a sign: `(1+2)*3` is not `1+2*3`.
  """
  text = prompt if isinstance(prompt, str) else "\n".join(str(message["content"]) for message in prompt)
  text = _POINT.sub("\x00", unicodedata.normalize("NFKC", text).casefold())
  return tuple(_WORD.findall(_NOISE.sub(" ", text).replace("\x00", ".")))


def normalized(prompt: str | Sequence[dict]) -> str:
  """`words_of` as one text; a prompt of punctuation alone stays as it is."""
  return " ".join(words_of(prompt)) or str(prompt)


@dataclass(frozen=True)
class Overlap:
  """What held-out and training problems share; `exact` pairs one of each, `shared` counts held-out problems."""

  exact: list[tuple[Example, Example]]  # (held-out, training) problems that are the same text when normalized
  shared: int  # further held-out problems with a piece of SHORT or LONG words in common with a training problem
  rows: int  # training rows looked at
  sampled: bool  # whether these are fewer than all


def overlap(heldout: Sequence[Example], train: Any) -> Overlap:
  """One pass over the training problems against the pieces of the held-out ones.

  Problems of fewer than SHORT words are compared as wholes only.

  Args:
    heldout: the problems that are evaluated, bare of templates.
    train: a source, bare of templates.
  """
  whole: dict[str, Example] = {}
  owners: dict[tuple[str, ...], set[int]] = {}
  for i, example in enumerate(heldout):
    whole.setdefault(normalized(example.prompt), example)
    words = words_of(example.prompt)
    for piece in _pieces(words, _length(words)):
      owners.setdefault(piece, set()).add(i)
  lengths = {len(piece) for piece in owners}
  found: dict[str, Example] = {}
  seen: Counter = Counter()
  rows = _rows(len(train))
  for i in rows:
    example = train[i]
    words = words_of(example.prompt)
    text = " ".join(words) or str(example.prompt)
    if text in whole:
      found.setdefault(text, example)
    seen.update({piece for length in lengths for piece in _pieces(words, length)} & owners.keys())
  exact = [(whole[text], example) for text, example in found.items()]
  told = {i for i, example in enumerate(heldout) if normalized(example.prompt) in found}
  shared = set().union(*(owners[piece] for piece, n in seen.items() if n <= COMMON)) - told
  return Overlap(exact, len(shared), len(rows), len(rows) < len(train))


def _length(words: Sequence[str]) -> int:
  return LONG if len(words) >= 2 * LONG else SHORT


def _pieces(words: Sequence[str], length: int) -> Iterable[tuple[str, ...]]:
  return (tuple(words[i : i + length]) for i in range(len(words) - length + 1))


def _rows(n: int) -> Sequence[int]:
  """All rows, or MOST_ROWS of them spread evenly with a fixed jitter."""
  if n <= MOST_ROWS:
    return range(n)
  step = n / MOST_ROWS
  return [min(n - 1, int((i + stable_hash("contamination", i) % 1024 / 1024) * step)) for i in range(MOST_ROWS)]

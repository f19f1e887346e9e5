"""Rules about how a text is written; all are linear in its length, whatever it holds.

A word is what stands between blanks. Shares of repeated n-grams follow open-r1's repetition penalty (after
arXiv:2502.03373): 1 - distinct / all.
"""

import collections
import functools
import re
import unicodedata

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import RuleContext
from grpo_jax.rewards.extract import cut

_LONGEST = 10_000  # characters of an answer; normalizing may be quadratic in runs of combining marks
_ARTICLES = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
# What a sentence adds to words. Signs that change an answer stay: -5, 1.5, 3/4, 10%, C#, x=1, f(x).
_SENTENCE_MARKS = re.compile(
  r"[\"'`?;]|\*\*|(?<![0-9])!|\.(?![0-9])|,(?![0-9])|(?<![0-9]),|:(?![0-9])|(?<![0-9]):"
  r"|(?<!\S)-+(?!\S)|(?<=[^\W\d])-(?=[^\W\d])"
)
_SCRIPTS = {
  "arabic": ("ARABIC",), "bengali": ("BENGALI",), "bulgarian": ("CYRILLIC",), "chinese": ("CJK",),
  "english": ("LATIN",), "french": ("LATIN",), "german": ("LATIN",), "greek": ("GREEK",), "hebrew": ("HEBREW",),
  "hindi": ("DEVANAGARI",), "italian": ("LATIN",), "japanese": ("CJK", "HIRAGANA", "KATAKANA"), "korean": ("HANGUL",),
  "portuguese": ("LATIN",), "russian": ("CYRILLIC",), "spanish": ("LATIN",), "thai": ("THAI",),
  "turkish": ("LATIN",), "ukrainian": ("CYRILLIC",), "vietnamese": ("LATIN",),
}  # fmt: skip


def string(
  completion: str,
  example: Example,
  context: RuleContext,
  after: str | None = None,
  until: str | None = None,
  case: bool = False,
  punctuation: bool = False,
  articles: bool = False,
  nfkc: bool = True,
) -> float:
  """1 where completion and answer are the same words, once what does not count is dropped (SQuAD's normalization).

  Unless `case`, `punctuation` (of sentences) or `articles` (a, an, the) count, they are dropped on both sides, and
  runs of blanks are one. Signs that change an answer always count: -5, 1.5, 3/4, 10%, C#, x=1. `nfkc` makes
  compatible characters equal (full width, ligatures). An answer of more than 10,000
  characters scores 0. For `after` and `until` see `numeric`.

  Raises:
    ValueError: nothing is left of the example's answer.
  """

  def normalize(text: str) -> str:
    text = unicodedata.normalize("NFKC", text) if nfkc else text
    text = text if case else text.casefold()
    text = text if punctuation else _without_marks(text)
    return " ".join((text if articles else _ARTICLES.sub(" ", text)).split())

  gold = normalize(example.answer[:_LONGEST])
  if not gold:
    raise ValueError(
      f"nothing is left of the answer {example.answer[:80]!r}; let case, punctuation or articles count, or use exact."
    )
  text = cut(completion, after, until)
  return float(text is not None and len(text) <= _LONGEST and normalize(text) == gold)


def _without_marks(text: str) -> str:
  """A text without the punctuation of sentences; thousands separators go too."""
  text = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", lambda match: match[0].replace(",", ""), text)
  text = re.sub(r"^[(\[\"'*]+([^()\[\]]*)[)\]\"'*]+(?=[.!?]?$)", r"\1", text.strip())
  return _SENTENCE_MARKS.sub("", text)


def repeated_share(text: str, n: int, unit: str = "word") -> float:
  """1 - distinct / all n-grams of a text's words (or characters); 0 where it is shorter than one.

  Raises:
    ValueError: `n` is not positive, or `unit` is neither.
  """
  if n < 1 or unit not in ("word", "character"):
    raise ValueError(f"ngram={n} must be at least 1 and unit={unit!r} 'word' or 'character'.")
  parts = text.split() if unit == "word" else text
  count = len(parts) - n + 1
  if count < 1:
    return 0.0
  return 1.0 - len({hash(gram) for gram in zip(*(parts[i : i + count] for i in range(n)), strict=True)}) / count


def repetition(
  completion: str, example: Example, context: RuleContext, ngram: int = 4, unit: str = "word", free: float = 0.0
) -> float:
  """Minus the share of repeated n-grams in the completion, from 0 down to -1; shares up to `free` cost nothing:
  -max(0, share - free) / (1 - free). `unit` "character" is for text without blanks.

  Raises:
    ValueError: an option is out of its range.
  """
  if not 0 <= free < 1:
    raise ValueError(f"free={free} must lie in [0, 1).")
  return -max(0.0, repeated_share(completion, ngram, unit) - free) / (1.0 - free)


def thinking(
  completion: str,
  example: Example,
  context: RuleContext,
  min_words: int = 1,
  max_words: int | None = None,
  ngram: int = 4,
  free: float = 0.1,
  open_tag: str = "<think>",
  close_tag: str = "</think>",
  opened: bool = False,
) -> float:
  """Quality of the thinking block, in [0, 1]: 0 unless the completion is one block and then an answer (see
  `format`), else size × freshness.

  size = min(1, words / min_words, max_words / words); freshness = 1 - max(0, share - free) / (1 - free), share
  that of repeated word n-grams. It knows nothing of sense: pair it with a rule that judges the answer.

  Raises:
    ValueError: an option is out of its range.
  """
  if not 1 <= min_words <= (min_words if max_words is None else max_words):
    raise ValueError(f"min_words={min_words} must lie in [1, max_words={max_words}].")
  block = completion.partition(close_tag)[0].lstrip() if is_one_block(completion, open_tag, close_tag, opened) else ""
  text = block if opened else block.removeprefix(open_tag)
  words = len(text.split())
  size = min(1.0, words / min_words, (max_words or words) / max(1, words))
  return size * (1.0 + repetition(text, example, context, ngram, free=free))


def is_one_block(completion: str, open_tag: str, close_tag: str, opened: bool) -> bool:
  """Whether a completion is exactly one block between the tags and then something, neither of them blank."""
  text = open_tag + completion if opened else completion.lstrip()
  one_block = text.startswith(open_tag) and text.count(open_tag) == 1 == text.count(close_tag)
  thought, _, answer = text.partition(close_tag)
  return one_block and bool(thought.removeprefix(open_tag).strip()) and bool(answer.strip())


@functools.lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
  """The first word of a letter's Unicode name, which is its script's."""
  return unicodedata.name(letter, "").partition(" ")[0]


def language(completion: str, example: Example, context: RuleContext, language: str) -> float:
  """The share of letters that belong to the script of a language, in [0, 1]; 0 where there are no letters.

  `language` is a language (english, russian, chinese, …) or the first word of a script's Unicode names (ETHIOPIC).
  It tells scripts apart, not the languages that share one: French passes for English, Chinese for Japanese.

  Raises:
    ValueError: no letter has such a name.
  """
  scripts = _SCRIPTS.get(language.lower()) or (language.upper(),)
  if not _is_script(scripts[0]):
    raise ValueError(f"language={language!r} is neither a script nor one of {', '.join(_SCRIPTS)}.")
  letters = {c: n for c, n in collections.Counter(completion).items() if c.isalpha()}
  wanted = sum(n for letter, n in letters.items() if _script(letter).startswith(scripts))
  return wanted / sum(letters.values()) if letters else 0.0


@functools.cache
def _is_script(name: str) -> bool:
  return any(_script(chr(code)) == name for code in range(0x20000) if chr(code).isalpha())

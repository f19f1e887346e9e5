r"""Where the final answer of a completion stands: <answer>, \boxed, ####, "the answer is", or the last statement.

A completion that gives several answers gives them all: they are read as one list, which equals no single answer. One
that takes its answer back, leaves it empty, or never leaves its <think> gives none.
"""

import re

from grpo_jax.rewards.answer_text import closing

LONGEST = 200_000  # characters from the end that are looked at
_BLANKS = re.compile(r"\s{20,}")  # runs of blanks, which make patterns slow
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?=\{)|\\boxed\s+(?=[^\s{])")
_CUE = re.compile(
  r"(?:(?:final\s+|correct\s+|my\s+)?answer(?:\s+to\s+[^.\n:]{0,80})?|\bans|答案|答|respuesta|réponse|antwort)"
  r"\s*\**\s*(?:would\s+be|should\s+be|must\s+be|is|are|was|=|:|：|是|为|ist|es|est)\s*(?:therefore\s+|thus\s+|simply\s+)?"
  r"[:：]?\s*\**", re.IGNORECASE)
_EMPTY_CUE = re.compile(r"(?:^|[\s*])(?:a|answer|final answer|ans)\s*[:：]\s*\**\s*$", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:[.!?](?=\s+[A-Z\"'(\\$]|\s*$)|。|\n)")
_TAKEN_BACK = re.compile(
  r"\b(?:or\s+(?:maybe|perhaps|possibly)|no,?\s+wait|but\s+wait|wait,|not\s+sure|scratch\s+that|i\s+was\s+wrong)\b",
  re.IGNORECASE)
_NOT = re.compile(
  r"(?:\b(?:not|never|isn't|isnt|cannot\s+be|can't\s+be)|≠|\\neq?)\s*(?:\$|\\\(|\\\[)?\s*$", re.IGNORECASE)
_STARTS_NOT = re.compile(r"\s*(?:not|never|unknown|unclear)\b", re.IGNORECASE)
_MATHS = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$((?:[^$\\]|\\.)+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_TAIL = re.compile(
  r",?\s+(?:because|since|so|which|where|as|when|in|for|from|at|on|with|after|by|given|if|left|each|total)\b.*",
  re.DOTALL)
_SAID = re.compile(  # two words, or one before an equation
  r"(?<![\\A-Za-z{])[A-Za-z]{3,}\b.*\s.*(?<![\\A-Za-z{])[A-Za-z]{3,}"
  r"|(?<![\\A-Za-z])[A-Za-z]{2,}\b[^=]*\d[^=]*=")
_NUMBER = re.compile(r"(?<![\w.^])[-+−–]?[$£€]?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?(?![\w^])")


def _boxes(text: str) -> list[tuple[str, int, int]] | None:
  """What each box holds, with its start and end; None where boxes are nested or empty."""
  found = []
  for match in _BOX.finditer(text):
    if found and match.start() < found[-1][2]:
      return None
    start = match.end()
    end = closing(text, start) if text[start] == "{" else start + len(re.match(r"\S+", text[start:])[0].rstrip("$.,"))
    inside = text[start + 1 : end] if text[start] == "{" else text[start:end]
    if not inside.strip():
      return None
    found.append((inside, match.start(), end + 1))
  return found


def _joined(parts: list[str]) -> str:
  """One answer; several that are not the same become a list."""
  distinct = list(dict.fromkeys(" ".join(part.split()) for part in parts))
  return distinct[0] if len(distinct) == 1 else ", ".join(distinct)


def _of_boxes(text: str) -> str | None:
  boxes = _boxes(text)
  if not boxes:
    return None
  after = text[boxes[-1][2]:]
  if _TAKEN_BACK.search(after[:400]) or _EMPTY_CUE.search(after[-100:]):
    return None
  if any(_NOT.search(text[max(0, start - 30):start]) for _, start, _ in boxes):
    return None
  return _joined([inside for inside, _, _ in boxes])


def _statement(text: str) -> str | None:
  """The answer that stands at the start of what follows a cue."""
  text = text.strip().strip("*").strip()
  if not text or _STARTS_NOT.match(text):
    return None
  spans = [next(filter(None, m.groups())) for m in _MATHS.finditer(text)]
  if spans:
    rest = _MATHS.sub(" ", text)
    return _joined(spans) if len(spans) == 1 or not _NUMBER.search(rest) else text
  short = _TAIL.sub("", text)
  return short if short and re.search(r"\d", short) and re.search(r"\d", text[len(short):]) else text


def _sentences(text: str) -> list[str]:
  return [part.strip() for part in _SENTENCE.split(text) if part and part.strip(" .*$")]


def _of_cues(text: str) -> str | None:
  found = []
  cues = list(_CUE.finditer(text))
  for i, match in enumerate(cues):
    rest = text[match.end(): cues[i + 1].start() if i + 1 < len(cues) else len(text)]
    said = _sentences(rest[:4000])
    denied = _NOT.search(text[max(0, match.start() - 12):match.start()])
    statement = _statement(said[0]) if said and not denied else None
    if statement is None:
      return None
    found.append(statement.strip(" ,;"))
  return _joined(found)


def _of_last_statement(text: str) -> str | None:
  """What a completion without any cue ends in: its only mathematics, right side or number."""
  said = _sentences(text[-4000:])
  if not said:
    return None
  last = said[-1].removeprefix("=").strip()
  if _TAKEN_BACK.search(last) or re.search(r"\b(?:not|never|cannot)\b|n't\b", last, re.IGNORECASE):
    return None
  spans = [next(filter(None, m.groups())) for m in _MATHS.finditer(last)]
  if spans:
    return _joined(spans)
  if len(said) == 1 and len(last) <= 60 and not _SAID.search(last):
    return last
  if "=" in last:
    return last.rpartition("=")[2]
  numbers = _NUMBER.findall(last)
  return numbers[0] if len(numbers) == 1 else last if not numbers else None


def final_answer(completion: str) -> str | None:
  """The text of the answer that a completion gives; None where it gives none. Linear in the text."""
  text = _BLANKS.sub(" \n ", completion[-LONGEST:])
  if "</think>" in text:
    text = text.rpartition("</think>")[2]
  elif "<think>" in text:
    return None
  if "<answer>" in text:
    parts = [part.partition("</answer>")[0] for part in text.split("<answer>")[1:]]
    if not all(part.strip() for part in parts):
      return None
    text = _joined(parts)
    return _of_boxes(text) if _BOX.search(text) else _of_cues(text) if _CUE.search(text) else text
  if _BOX.search(text):
    return _of_boxes(text)
  if "####" in text:
    parts = [part.strip().partition("\n")[0].strip() for part in text.split("####")[1:]]
    return _joined(parts) if all(parts) else None
  if _CUE.search(text):
    return _of_cues(text)
  return _of_last_statement(text)

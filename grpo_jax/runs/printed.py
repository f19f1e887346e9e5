"""Samples as a person reads them on a terminal: the end of the prompt, the completion, the gold answer, the scores."""

import unicodedata
from collections.abc import Mapping, Sequence

PROMPT_CHARACTERS = 400  # of its end: where the question stands
COMPLETION_CHARACTERS = 1200  # half of its beginning, half of its end
PLAIN = "\n\t\u200c\u200d"  # kept though of the categories below; the last two join or part letters and emoji


def plain_prompt(prompt: str | Sequence[Mapping]) -> str:
  """The text of a prompt; chat messages as `role: content`, one below the other."""
  if isinstance(prompt, str):
    return prompt
  return "\n".join(f"{message.get('role', '?')}: {message.get('content', '')}" for message in prompt)


def printable(text: str) -> str:
  """The text with what could steer a terminal, or cannot be encoded, as escapes; line breaks, tabs and joiners stay."""
  odd = ("Cc", "Cf", "Cs", "Co")  # control, format (such as a change of direction), surrogate, private use
  return "".join(
    c if c in PLAIN or unicodedata.category(c) not in odd else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int, *, end_only: bool = False) -> str:
  """At most `most` characters: the end, or the beginning and the end; what was left out is said by its count."""
  left = len(text) - most
  if left <= 0:
    return text
  if end_only:
    return f"[… {left:,} characters] {text[left:]}"
  return f"{text[: most // 2]}\n[… {left:,} characters …]\n{text[len(text) - most + most // 2 :]}"


def sample_text(prompt, completion: str, answer: str, scores: Mapping[str, float], *, right: bool, length: int,
                truncated: bool) -> str:
  """Some indented lines on one completion.

  Args:
    prompt: text or chat messages.
    answer: the gold answer; empty is left out.
    scores: unweighted, by reward component.
    right: the verdict of `evaluate.component`.
    length: of the completion, in tokens.
    truncated: whether it was cut there.
  """
  tokens = f"{length} tokens, cut" if truncated else f"{length} tokens"
  points = ", ".join(f"{name} {score:.3g}" for name, score in scores.items())
  rows = {
    "prompt": shortened(plain_prompt(prompt).strip("\n"), PROMPT_CHARACTERS, end_only=True),
    "completion": shortened(completion.rstrip("\n"), COMPLETION_CHARACTERS) or "(empty)",
    "gold answer": answer,
  }
  lines = [f"    {'right' if right else 'wrong'} ({points}; {tokens})"]
  for name, text in rows.items():
    first, *others = printable(str(text)).split("\n")
    if text:
      lines += [f"      {name + ':':12} {first}", *(f"      {'':12} {line}" for line in others)]
  return "\n".join(line.rstrip() for line in lines)

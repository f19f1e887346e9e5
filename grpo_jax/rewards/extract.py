"""Where in a completion the answer stands; every function here is linear in the text."""


def cut(text: str, after: str | None, until: str | None = None, before: str | None = None) -> str | None:
  """The text after the last `after` and before the next `until`; None where `after` is missing.

  With `before`, nothing from its first occurrence on is looked at: a few-shot completion that goes on to the next
  question.
  """
  text = text.partition(before)[0] if before else text
  if after:
    _, marker, text = text.rpartition(after)
    if not marker:
      return None
  return text.partition(until)[0] if until else text


def in_tags(text: str) -> str:
  """What stands in the last <answer>…</answer>, or else the whole text."""
  return text.rpartition("<answer>")[2].partition("</answer>")[0] if "<answer>" in text else text


def in_fence(text: str) -> str:
  """What stands in the last ``` fence, which need not be closed, without the word behind its marks; or else all."""
  parts = text.split("```")
  if len(parts) == 1:
    return text
  block = parts[-2] if len(parts) % 2 else parts[-1]
  return block.partition("\n")[2] if "\n" in block else block

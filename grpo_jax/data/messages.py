"""Chat messages of a data file, checked when the data is loaded: a wrong one would change the question in silence."""

from collections.abc import Mapping, Sequence
from typing import Any

NEXT = {  # role → roles that may follow; "" is the start
  "": ("system", "developer", "user"), "system": ("user",), "developer": ("user",), "user": ("assistant",),
  "assistant": ("user", "tool"), "tool": ("tool", "assistant", "user"),
}


def plain(value: Any, what: str) -> str:
  """A value as text that can be spelled; `what` begins the message of the ValueError that it otherwise is.

  TFDS gives bytes.
  """
  if not isinstance(value, str | bytes):
    raise ValueError(f"{what} is {value!r:.80}, must be text; correct it.")
  try:
    text = value.decode() if isinstance(value, bytes) else value
    text.encode()
  except UnicodeError:
    raise ValueError(f"{what} is {value!r:.80}, which is not Unicode text; correct it.") from None
  if not text.strip():
    raise ValueError(f"{what} is blank, must hold text; drop the line.")
  return text


def conversation(value: Sequence[Any], what: str) -> tuple[dict, ...]:
  """The messages, their order checked: system first if at all, then user and assistant in turns.

  Raises:
    ValueError: no message, an unknown role or one out of turn, a content that is not text; it begins with `what`.
  """
  if not len(value):
    raise ValueError(f"{what} is an empty list of messages, must hold a question; drop the line.")
  messages, before = [], ""
  for message in value:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
      raise ValueError(f"{what} has {message!r:.80}, must have role and content; correct it.")
    role = message["role"].decode() if isinstance(message["role"], bytes) else message["role"]
    if role not in tuple(NEXT)[1:]:
      raise ValueError(f"{what} has the role {role!r:.40}, must be one of {', '.join(filter(None, NEXT))}; correct it.")
    if role not in NEXT[before]:
      place = f"after a {before} message" if before else "at the start"
      raise ValueError(f"{what} has a {role} message {place}, must have {' or '.join(NEXT[before])}; correct it.")
    kept = {key: part for key, part in message.items() if part is not None}
    messages.append(kept | {"role": role, "content": plain(message["content"], f"{what}: a {role} message")})
    before = role
  if before in ("system", "developer"):
    raise ValueError(f"{what} has a {before} message alone, must hold a question; add a user message.")
  return tuple(messages)

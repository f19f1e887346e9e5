"""Chat messages to text through a tokenizer's own template: a stranger's program, so with a clock and bounds."""

import contextlib
import ctypes
import re
import threading
from collections.abc import Collection, Sequence
from typing import Any

from grpo_jax.reading import cause_of

SECONDS = 2.0  # that a template may take for one conversation; usual ones take a millisecond
LONGEST = 1_000_000  # characters of a template, and of what it may add to the messages
LARGEST = 10_000  # factor in a template: more would make a text of any length in one step, which no clock can stop


class TooSlow(BaseException):
  """The clock struck; no Exception, so that no handler in between takes it for one of its own."""


@contextlib.contextmanager
def clock(seconds: float):
  """Ends the block with TooSlow after so many seconds, in any thread; a single step of C code is not interrupted."""
  thread, lock, running = ctypes.c_ulong(threading.get_ident()), threading.Lock(), [True]
  throw = ctypes.pythonapi.PyThreadState_SetAsyncExc

  def strike():
    with lock:
      if running:
        throw(thread, ctypes.py_object(TooSlow))

  timer = threading.Timer(seconds, strike)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()
    with lock:
      running.clear()
      throw(thread, None)  # struck but not yet felt: too late


def _refuse_explosions(template: str) -> None:
  """Raises ValueError for products that could fill the memory within one step."""
  from jinja2 import Environment, TemplateSyntaxError, nodes

  try:
    tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
  except TemplateSyntaxError:
    return  # with tags that transformers adds, or wrong: rendering tells
  for product in tree.find_all((nodes.Mul, nodes.Pow)):
    numbers = [c.value for c in product.find_all(nodes.Const) if isinstance(c.value, int)]
    if isinstance(product, nodes.Pow) or next(product.find_all(nodes.Mul), None) or max(numbers, default=0) > LARGEST:
      raise ValueError(f"line {product.lineno} has a product or power that may be of any length")


def rendered(backend: Any, messages: Sequence[dict]) -> str:
  """The text of the messages up to where the assistant is to speak.

  Raises:
    ValueError: the template fails, takes longer than SECONDS, or leaves a user's or system message out.
  """
  try:
    with clock(SECONDS):
      text = backend.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
  except TooSlow:
    raise ValueError(f"the chat template takes more than {SECONDS:g} seconds; correct or remove it.") from None
  except Exception as error:  # whatever a template can do
    raise ValueError(f"the chat template fails ({cause_of(error)}); correct the messages or the template.") from error
  if len(text) > LONGEST + 10 * sum(len(str(message.get("content"))) for message in messages):
    raise ValueError(f"the chat template writes {len(text)} characters for one conversation; correct or remove it.")
  for message in messages:
    content = message.get("content")
    if message["role"] in ("user", "system") and isinstance(content, str) and content.strip() not in text:
      raise ValueError(
        f"the chat template leaves out the {message['role']}'s message {content[:60]!r}; use roles that it knows.")
  return text


def check_template(backend: Any) -> None:
  """Raises ValueError for a chat template that is wrong, endless or huge; one that only dislikes "hi" may pass."""
  from jinja2 import TemplateSyntaxError

  templates = backend.chat_template
  for template in templates.values() if isinstance(templates, dict) else [templates] if templates else []:
    if not isinstance(template, str) or len(template) > LONGEST:
      raise ValueError(f"the chat template must be text of at most {LONGEST} characters; correct or remove it.")
    try:
      _refuse_explosions(template)
    except (ValueError, RecursionError) as error:
      raise ValueError(f"the chat template is refused ({cause_of(error)}); correct or remove it.") from None
  if not templates:
    return
  try:
    rendered(backend, [{"role": "user", "content": "hi"}])
  except ValueError as error:
    if error.__cause__ is None or isinstance(error.__cause__, TemplateSyntaxError | RecursionError | MemoryError):
      raise


def pieces(text: str, special: Collection[str]) -> list[str]:
  """The text cut at special tokens, which stand at odd places; the longest one wins."""
  names = sorted((re.escape(token) for token in special if token in text), key=len, reverse=True)
  return re.split(f"({'|'.join(names)})", text) if names else [text]


def guarded(messages: Sequence[dict], special: Collection[str]) -> tuple[list[dict], str]:
  """The messages with a mark inside every special token that they spell, and the mark; ("" where none does).

  A template's own special tokens stay without a mark, so the two can be told apart in what it writes.
  """
  contents = [message["content"] for message in messages if isinstance(message.get("content"), str)]
  if not any(len(pieces(content, special)) > 1 for content in contents):
    return list(messages), ""
  mark = next(chr(c) for c in range(0xE000, 0xF8FF) if not any(chr(c) in content for content in contents))

  def marked(content):
    parts = pieces(content, special)
    return "".join(p[:1] + mark + p[1:] if i % 2 else p for i, p in enumerate(parts))

  return [{**m, "content": marked(m["content"])} if isinstance(m.get("content"), str) else m for m in messages], mark

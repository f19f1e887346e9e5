"""Text to tokens and back: a thin wrapper that knows where completions stop and refuses what it cannot spell.

`transformers` is imported inside functions because importing it takes two seconds.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from grpo_jax.reading import read_json, reading
from grpo_jax.text.chat import check_template, guarded, pieces, rendered
from grpo_jax.text.special import generation_settings, token_ids

DIGITS_AND_SIGNS = "0123456789+-*=[] "


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """A Hugging Face fast tokenizer with its set of stop ids. Make one with a function of this module."""

  backend: Any  # transformers.PreTrainedTokenizerFast
  stop_ids: tuple[int, ...]  # sorted; the first of any of them ends a completion
  add_bos: bool = False  # begin plain-text prompts with the bos token; chat templates write their own
  special_in_text: bool = False  # special tokens spelled in prompts and completions act; False: ordinary text

  @functools.cached_property
  def vocab_size(self) -> int:
    """Ids are below this, one more than the largest; a model's embedding may have more rows."""
    return max(self.backend.get_vocab().values(), default=-1) + 1

  @functools.cached_property
  def special_tokens(self) -> tuple[str, ...]:
    """The control tokens as text, such as `<|im_end|>`."""
    return tuple(str(token) for token in self.backend.added_tokens_decoder.values() if token.special)

  @property
  def pad_id(self) -> int:
    """A valid id to fill masked places with; no one may infer a mask from it."""
    candidates = (self.backend.pad_token_id, self.backend.eos_token_id, 0)
    return next(i for i in candidates if i is not None)

  def encode(self, text: str) -> list[int]:
    """Tokens of the text, nothing added; special tokens in it are ordinary text unless `special_in_text`.

    Raises:
      ValueError: the vocabulary lacks a character.
    """
    return self._encode(text, self.special_in_text)

  def _encode(self, text: str, special: bool) -> list[int]:
    ids = _spell(self.backend, text, special)
    if ids is None:
      lacking = next((c for c in text if _spell(self.backend, c, special) is None), text)
      raise ValueError(
        f"text {text[:80]!r} has {lacking!r}, must use the tokenizer's characters; change either."
      )
    return ids

  def decode(self, ids: Iterable[int]) -> str:
    """Text of the tokens, special ones (bos, eos, pad) left out."""
    ids = [int(i) for i in ids]
    return self.backend.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

  def encode_prompt(self, prompt: str | Sequence[dict]) -> list[int]:
    """Tokens of a plain-text prompt, or of chat messages up to where the assistant is to speak.

    Raises:
      ValueError: the prompt is empty, messages meet a tokenizer without chat template, or as `encode`.
    """
    if isinstance(prompt, str):
      bos = [self.backend.bos_token_id] if self.add_bos else []
      ids = bos + self.encode(prompt)
    elif not self.backend.chat_template:
      raise ValueError(
        "prompt is chat messages and the tokenizer must have a chat template; use plain-text prompts."
      )
    else:
      ids = self._encode_chat(prompt)
    if not ids:
      raise ValueError(
        f"prompt={prompt!r} must have at least one token; drop the example or set add_bos=True."
      )
    return ids

  def _encode_chat(self, messages: Sequence[dict]) -> list[int]:
    """The template's special tokens act; those in the messages are ordinary text unless `special_in_text`."""
    special = () if self.special_in_text else self.special_tokens
    messages, mark = guarded(messages, special)
    text = rendered(self.backend, messages)
    if not mark:
      return self._encode(text, True)
    ids = []
    for i, piece in enumerate(pieces(text, special)):
      ids += self._encode(piece.replace(mark, ""), i % 2 == 1) if piece else []
    return ids

  def encode_completion(self, text: str) -> list[int]:
    """Tokens of a completion to imitate, ended by the eos token unless it ends in a stop token already."""
    ids = self.encode(text)
    eos = self.backend.eos_token_id
    ended = eos is None or (ids and ids[-1] in self.stop_ids)
    return ids if ended else [*ids, eos]

  def stopping_at(self, texts: Sequence[str]) -> "Tokenizer":
    """The same, stopping also at those of the texts that are one token."""
    ids = {spelled[0] for text in texts if len(spelled := _spell(self.backend, text, True) or []) == 1}
    return dataclasses.replace(self, stop_ids=tuple(sorted({*self.stop_ids, *ids})))


def wrap_tokenizer(
  backend: Any, *, stop: Sequence[str] = (), stop_ids: Iterable[int] = (), add_bos: bool | None = None,
  special_in_text: bool = False
) -> Tokenizer:
  """Wraps a transformers tokenizer; completions stop at its eos and eot, at `stop_ids` and at the strings `stop`.

  Args:
    add_bos: whether plain-text prompts begin with the bos token; None: where the tokenizer itself adds it.
    special_in_text: whether special tokens spelled in prompts and completions act.
  Raises:
    ValueError: a stop string is not one token, add_bos is set without a bos token, or the chat template is wrong.
  """
  check_template(backend)
  own = (backend.eos_token_id, getattr(backend, "eot_token_id", None))  # end of text, end of turn
  ids = {int(i) for i in (*stop_ids, *own) if i is not None}
  for text in stop:
    spelled = _spell(backend, text, True) or []
    if len(spelled) != 1:
      raise ValueError(
        f"stop={text!r} must be one token, is {len(spelled)} ({spelled}); choose another stop string."
      )
    ids.update(spelled)
  if add_bos and backend.bos_token_id is None:
    raise ValueError("add_bos=True needs a tokenizer with a bos token, it has none; set add_bos=False.")
  if add_bos is None:
    add_bos = backend.bos_token_id is not None and backend("")["input_ids"][:1] == [backend.bos_token_id]
  return Tokenizer(backend, tuple(sorted(ids)), add_bos, special_in_text)


def open_backend(path: str | os.PathLike) -> Any:
  """The transformers tokenizer of a directory. Code that the directory brings along is never run, nor asked about.

  Raises:
    ValueError: its files are damaged, or need such code; the message names the file.
  """
  from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig

  folder, local = pathlib.Path(path), {"local_files_only": True, "trust_remote_code": False}
  try:
    config = AutoConfig.from_pretrained(folder, **local)
  except Exception:  # of a model that transformers does not know or likes less than we do: only the tokenizer counts
    config = PreTrainedConfig()
  try:
    with reading(folder, "tokenizer (tokenizer.json, tokenizer_config.json)"):
      return AutoTokenizer.from_pretrained(folder, config=config, **local)
  except ValueError:
    files = [folder / name for name in ("tokenizer_config.json", "tokenizer.json", "config.json")]
    data = [read_json(file) for file in files if file.is_file()]  # says which file is no JSON
    if any("auto_map" in found for found in data):
      raise ValueError(
        f"{folder}: its tokenizer is code of its own (auto_map), which is never run; use a tokenizer whose class "
        "transformers has, or save it as tokenizer.json and remove auto_map.") from None
    raise


def load_tokenizer(path: str, **options) -> Tokenizer:
  """Reads a Hugging Face directory, without network; eos ids of its generation_config.json are stop ids too.

  `options`: stop, add_bos and special_in_text of `wrap_tokenizer`.

  Raises:
    ValueError: there is no tokenizer in the directory, or as `open_backend` and `wrap_tokenizer`.
  """
  directory = pathlib.Path(path).expanduser()
  if not any((directory / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
    raise ValueError(f"tokenizer path={path!r} must be a directory with tokenizer.json; correct the path.")
  eos = generation_settings(directory).get("eos_token_id")
  stop_ids = () if eos is None else token_ids(directory / "generation_config.json", "eos_token_id", eos)
  with reading(directory, "tokenizer"):
    return wrap_tokenizer(open_backend(directory), stop_ids=stop_ids, **options)


def character_tokenizer(alphabet: str = DIGITS_AND_SIGNS, **options) -> Tokenizer:
  """One token per character after <pad>, <bos>, <eos> (0, 1, 2); `options` as of `load_tokenizer`."""
  import tokenizers
  from transformers import PreTrainedTokenizerFast

  special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
  vocabulary = {token: i for i, token in enumerate([*special.values(), *dict.fromkeys(alphabet)])}
  core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary))
  each_character = tokenizers.Regex(r"[\s\S]")
  core.pre_tokenizer = tokenizers.pre_tokenizers.Split(each_character, "isolated")
  core.decoder = tokenizers.decoders.Fuse()
  backend = PreTrainedTokenizerFast(tokenizer_object=core, **special)
  return wrap_tokenizer(backend, **options)


def _spell(backend: Any, text: str, special: bool) -> list[int] | None:
  """Tokens of the text, None where the vocabulary lacks a character; `special`: its special tokens act."""
  try:
    ids = backend(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"]
  except Exception as error:  # the Rust core raises a bare Exception
    if "UNK" not in str(error):
      raise
    return None
  return None if backend.unk_token_id in ids else ids

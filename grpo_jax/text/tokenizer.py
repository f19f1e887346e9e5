"""Text to tokens and back: a thin wrapper that knows where completions stop and refuses what it cannot spell.

`transformers` is imported inside functions because importing it takes two seconds.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

DIGITS_AND_SIGNS = "0123456789+-*=[] "


@dataclasses.dataclass(frozen=True)
class Tokenizer:
  """A Hugging Face fast tokenizer with its set of stop ids. Make one with a function of this module."""

  backend: Any  # transformers.PreTrainedTokenizerFast
  stop_ids: tuple[int, ...]  # sorted; the first of any of them ends a completion
  add_bos: bool = False  # begin plain-text prompts with the bos token; chat templates write their own

  @property
  def vocab_size(self) -> int:
    """Ids are below this; a model's embedding may have more rows."""
    return len(self.backend)

  @property
  def pad_id(self) -> int:
    """A valid id to fill masked places with; no one may infer a mask from it."""
    candidates = (self.backend.pad_token_id, self.backend.eos_token_id, 0)
    return next(i for i in candidates if i is not None)

  def encode(self, text: str) -> list[int]:
    """Tokens of the text, nothing added.

    Raises:
      ValueError: the vocabulary lacks a character.
    """
    ids = _spell(self.backend, text)
    if ids is None:
      lacking = next((c for c in text if _spell(self.backend, c) is None), text)
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
      ids = self.encode(
        self.backend.apply_chat_template(list(prompt), add_generation_prompt=True, tokenize=False)
      )
    if not ids:
      raise ValueError(
        f"prompt={prompt!r} must have at least one token; drop the example or set add_bos=True."
      )
    return ids

  def encode_completion(self, text: str) -> list[int]:
    """Tokens of a completion to imitate, ended by the eos token unless it ends in a stop token already."""
    ids = self.encode(text)
    eos = self.backend.eos_token_id
    ended = eos is None or (ids and ids[-1] in self.stop_ids)
    return ids if ended else [*ids, eos]

  def stopping_at(self, texts: Sequence[str]) -> "Tokenizer":
    """The same, stopping also at those of the texts that are one token."""
    ids = {spelled[0] for text in texts if len(spelled := _spell(self.backend, text) or []) == 1}
    return dataclasses.replace(self, stop_ids=tuple(sorted({*self.stop_ids, *ids})))


def wrap_tokenizer(
  backend: Any, *, stop: Sequence[str] = (), stop_ids: Iterable[int] = (), add_bos: bool = False
) -> Tokenizer:
  """Wraps a transformers tokenizer; completions stop at its eos and eot, at `stop_ids` and at the strings `stop`.

  Raises:
    ValueError: a stop string is not one token, or add_bos is set without a bos token.
  """
  own = (backend.eos_token_id, getattr(backend, "eot_token_id", None))  # end of text, end of turn
  ids = {int(i) for i in (*stop_ids, *own) if i is not None}
  for text in stop:
    spelled = _spell(backend, text) or []
    if len(spelled) != 1:
      raise ValueError(
        f"stop={text!r} must be one token, is {len(spelled)} ({spelled}); choose another stop string."
      )
    ids.update(spelled)
  if add_bos and backend.bos_token_id is None:
    raise ValueError("add_bos=True needs a tokenizer with a bos token, it has none; set add_bos=False.")
  return Tokenizer(backend, tuple(sorted(ids)), add_bos)


def load_tokenizer(path: str, *, stop: Sequence[str] = (), add_bos: bool = False) -> Tokenizer:
  """Reads a Hugging Face directory, without network; eos ids of its generation_config.json are stop ids too.

  Raises:
    ValueError: there is no tokenizer in the directory, or as `wrap_tokenizer`.
  """
  from transformers import AutoTokenizer

  directory = pathlib.Path(path).expanduser()
  if not any((directory / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
    raise ValueError(f"tokenizer path={path!r} must be a directory with tokenizer.json; correct the path.")
  backend = AutoTokenizer.from_pretrained(directory, local_files_only=True)
  generation = directory / "generation_config.json"
  eos = json.loads(generation.read_text()).get("eos_token_id") if generation.exists() else None
  stop_ids = eos if isinstance(eos, list) else [] if eos is None else [eos]
  return wrap_tokenizer(backend, stop=stop, stop_ids=stop_ids, add_bos=add_bos)


def character_tokenizer(
  alphabet: str = DIGITS_AND_SIGNS, *, stop: Sequence[str] = (), add_bos: bool = False
) -> Tokenizer:
  """One token per character after <pad>, <bos>, <eos> (0, 1, 2); `.backend.save_pretrained` saves it."""
  import tokenizers
  from transformers import PreTrainedTokenizerFast

  special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
  vocabulary = {token: i for i, token in enumerate([*special.values(), *dict.fromkeys(alphabet)])}
  core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary))
  each_character = tokenizers.Regex(r"[\s\S]")
  core.pre_tokenizer = tokenizers.pre_tokenizers.Split(each_character, "isolated")
  core.decoder = tokenizers.decoders.Fuse()
  backend = PreTrainedTokenizerFast(tokenizer_object=core, **special)
  return wrap_tokenizer(backend, stop=stop, add_bos=add_bos)


def _spell(backend: Any, text: str) -> list[int] | None:
  """Tokens of the text, or None where the vocabulary lacks a character of it."""
  try:
    ids = backend(text, add_special_tokens=False)["input_ids"]
  except Exception as error:  # the Rust core raises a bare Exception
    if "UNK" not in str(error):
      raise
    return None
  return None if backend.unk_token_id in ids else ids

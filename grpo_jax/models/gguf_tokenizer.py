"""A fast tokenizer from the metadata of a GGUF file."""

from collections.abc import Mapping, Sequence
from typing import Any

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PREFIX = "tokenizer.ggml."
QWEN2_WORDS = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
  r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def _smollm():
  """Every digit alone, then GPT-2 words of bytes."""
  words = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
  return None, pre_tokenizers.Sequence(words)


def _qwen2():
  """Qwen2 words (every digit alone) over NFC text, then bytes."""
  words = [
    pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
  ]
  return normalizers.NFC(), pre_tokenizers.Sequence(words)


PRE_TOKENIZERS = {"smollm": _smollm, "qwen2": _qwen2}
SPACE = "\u2581"  # SentencePiece's visible space


def known_value(value: str, known: Mapping[str, Any], key: str):
  """known[value]; ValueError names the known ones."""
  if not isinstance(value, str) or value not in known:
    raise ValueError(f"GGUF {key} {value!r} is not supported; known are {', '.join(known)}.")
  return known[value]


def sentencepiece_merges(tokens: Sequence[str], scores: Sequence[float]) -> list[tuple[str, str]]:
  """The BPE merges of a SentencePiece vocabulary: every cut of a token into two tokens, best score of the whole first.

  Ties go to the longer left half, then to the longer right half, then to the lower ids, as transformers converts it.
  """
  ids, merges = {token: i for i, token in enumerate(tokens)}, []
  for token, score in zip(tokens, scores, strict=True):
    cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
    cuts = [(left, right) for left, right in cuts if left in ids and right in ids]
    cuts.sort(key=lambda cut: (ids[cut[0]], ids[cut[1]]))
    merges += [(score, len(left), len(right), left, right) for left, right in cuts]
  merges.sort(key=lambda merge: merge[:3], reverse=True)
  return [merge[3:] for merge in merges]


def _byte_level(metadata: Mapping[str, Any]) -> Tokenizer:
  """Byte-level BPE with the merges of the file (`tokenizer.ggml.model` gpt2)."""
  normalizer, words = known_value(metadata.get(PREFIX + "pre", "default"), PRE_TOKENIZERS, PREFIX + "pre")()
  merges = [tuple(merge.split(" ")) for merge in metadata[PREFIX + "merges"]]
  vocabulary = {token: i for i, token in enumerate(metadata[PREFIX + "tokens"])}
  tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
  if normalizer is not None:
    tokenizer.normalizer = normalizer
  tokenizer.pre_tokenizer, tokenizer.decoder = words, decoders.ByteLevel()
  return tokenizer


def _sentencepiece(metadata: Mapping[str, Any]) -> Tokenizer:
  """BPE over characters with bytes for what is not in the vocabulary (`tokenizer.ggml.model` llama: Llama 2, Gemma)."""
  user = gguf.TokenType.USER_DEFINED
  tokens, kinds = metadata[PREFIX + "tokens"], metadata[PREFIX + "token_type"]
  tokens = [t.replace(" ", SPACE) for t in tokens]  # runs of spaces are stored as they look in text
  scores = [0.0 if kind == user else s for s, kind in zip(metadata[PREFIX + "scores"], kinds, strict=True)]
  tokenizer = Tokenizer(models.BPE(
    vocab={token: i for i, token in enumerate(tokens)}, merges=sentencepiece_merges(tokens, scores),
    unk_token=tokens[metadata[PREFIX + "unknown_token_id"]], fuse_unk=True, byte_fallback=True))
  visible = normalizers.Replace(" ", SPACE)
  steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
  if metadata.get(PREFIX + "add_space_prefix", True):
    visible = normalizers.Sequence([normalizers.Prepend(SPACE), visible])
    steps.append(decoders.Strip(" ", 1, 0))
  tokenizer.normalizer, tokenizer.decoder = visible, decoders.Sequence(steps)
  return tokenizer


MODELS = {"gpt2": _byte_level, "llama": _sentencepiece}


def gguf_tokenizer(metadata: Mapping[str, Any]) -> Any:
  """A PreTrainedTokenizerFast from GGUF metadata: its BPE, control tokens as special tokens, chat template.

  An end-of-turn token beside the end of text is its `eot_token`.

  Raises:
    ValueError: a tokenizer model or pre-tokenizer that is not known, by name.
  """
  from transformers import PreTrainedTokenizerFast  # here, as it reads what `quiet` says when it is imported

  make = known_value(metadata.get(PREFIX + "model", "none"), MODELS, PREFIX + "model")
  count = len(metadata[PREFIX + "tokens"])
  for key in ("bos", "eos", "eot", "unknown", "padding"):
    i = metadata.get(f"{PREFIX}{key}_token_id")
    if i is not None and not (isinstance(i, int) and 0 <= i < count):
      raise ValueError(f"GGUF {PREFIX}{key}_token_id = {i!r} must be one of the {count} tokens; correct it.")
  tokenizer = make(metadata)
  tokens = [tokenizer.id_to_token(i) for i in range(count)]
  pairs = list(zip(tokens, metadata[PREFIX + "token_type"], strict=True))
  control, user = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED
  tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, kind in pairs if kind == control])
  tokenizer.add_tokens([AddedToken(t, normalized=False) for t, kind in pairs if kind == user])
  ids = {name: metadata.get(f"{PREFIX}{key}_token_id") for name, key in SPECIAL_TOKENS.items()}
  names = {name: tokens[i] for name, i in ids.items() if i is not None}
  turn = metadata.get(PREFIX + "eot_token_id")
  if metadata.get(PREFIX + "add_bos_token"):
    bos = names["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
      single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokens.index(bos))])
  return PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    chat_template=metadata.get("tokenizer.chat_template"),
    clean_up_tokenization_spaces=False,
    model_max_length=metadata.get(f"{metadata['general.architecture']}.context_length"),
    extra_special_tokens={} if turn is None else {"eot_token": tokens[turn]},
    **names,
  )

"""Damaged GGUF files end, at once, in one sentence that names the file."""

import struct

import gguf
import numpy as np
import pytest
from families import CONFIGS, random_params
from test_gguf_io import write_gguf
from test_malformed_models import load, told

CFG = CONFIGS["llama"]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
  file = tmp_path_factory.mktemp("gguf") / "model.gguf"
  return write_gguf(file, CFG, random_params(CFG)).read_bytes()


def field(data: bytes, key: str) -> int:
  """Where the type of a key's value stands."""
  return data.index(struct.pack("<Q", len(key)) + key.encode()) + 8 + len(key)


def put(at, form, value):
  """Bytes replaced at a place, or `at(data)`."""
  def change(data):
    i = at(data) if callable(at) else at
    new = struct.pack("<" + form, value)
    return data[:i] + new + data[i + len(new) :]
  return change


def value_of(key, form, value):
  return put(lambda data: field(data, key) + 4, form, value)


FIRST = "token_embd.weight"
DAMAGE = {
  "empty": lambda d: b"", "short": lambda d: d[:10], "header alone": lambda d: d[:24],
  "cut in the keys": lambda d: d[:300],
  "cut by half": lambda d: d[: len(d) // 2], "cut by a page": lambda d: d[:-4096], "cut by 64 bytes": lambda d: d[:-64],
  "zeros": lambda d: bytes(len(d)), "text": lambda d: b"GGUF" + b"hello world " * 30, "html": lambda d: b"<html>" * 50,
  "big-endian version": put(4, "I", 0x03000000), "version 1": put(4, "I", 1), "version 99": put(4, "I", 99),
  "2^60 tensors": put(8, "Q", 1 << 60), "2^60 keys": put(16, "Q", 1 << 60), "2^63 keys": put(16, "Q", 1 << 63),
  "no tensors": put(8, "Q", 0), "no keys": put(16, "Q", 0), "a key of 2^60": put(24, "Q", 1 << 60),
  "an unknown type": put(lambda d: field(d, "llama.block_count"), "I", 77),
  "an array of 2^60": put(lambda d: field(d, "tokenizer.ggml.tokens") + 8, "Q", 1 << 60),
  "numbers, 2^60 of them": put(lambda d: field(d, "tokenizer.ggml.token_type") + 8, "Q", 1 << 60),
  "an array of arrays": put(lambda d: field(d, "tokenizer.ggml.tokens") + 4, "I", 9),
  "an array of type 99": put(lambda d: field(d, "tokenizer.ggml.tokens") + 4, "I", 99),
  "a string of 2^60": put(lambda d: field(d, "general.architecture") + 4, "Q", 1 << 60),
  "a token that is not UTF-8": lambda d: d.replace("Ġab".encode(), b"\xff\xfe\xfdb", 1),
  "1e9 layers": value_of("llama.block_count", "I", 10**9), "0 layers": value_of("llama.block_count", "I", 0),
  "0 heads": value_of("llama.attention.head_count", "I", 0), "5 heads": value_of("llama.attention.head_count", "I", 5),
  "3 key heads": value_of("llama.attention.head_count_kv", "I", 3),
  "width 0": value_of("llama.embedding_length", "I", 0),
  "another width": value_of("llama.embedding_length", "I", 32), "context 0": value_of("llama.context_length", "I", 0),
  "theta nan": value_of("llama.rope.freq_base", "f", float("nan")),
  "theta -1": value_of("llama.rope.freq_base", "f", -1.0),
  "epsilon inf": value_of("llama.attention.layer_norm_rms_epsilon", "f", float("inf")),
  "eos beyond the tokens": value_of("tokenizer.ggml.eos_token_id", "I", 500),
  "a text for a number": lambda d: d.replace(b"llama.block_count", b"llama.block_counx", 1),
  "no architecture": lambda d: d.replace(b"general.architecture", b"general.architectura", 1),
  "no merges": lambda d: d.replace(b"tokenizer.ggml.merges", b"tokenizer.ggml.mergex", 1),
  "no tokens": lambda d: d.replace(b"tokenizer.ggml.tokens", b"tokenizer.ggml.tokenx", 1),
  "no types": lambda d: d.replace(b"tokenizer.ggml.token_type", b"tokenizer.ggml.token_typx", 1),
  "a key twice": lambda d: d.replace(b"llama.context_length", b"tokenizer.ggml.model", 1),
  "a tensor with 9 dimensions": put(lambda d: field(d, FIRST), "I", 9),
  "a tensor with 0 rows": put(lambda d: field(d, FIRST) + 4, "Q", 0),
  "a tensor with 2^40 rows": put(lambda d: field(d, FIRST) + 12, "Q", 1 << 40),
  "a tensor of type 4": put(lambda d: field(d, FIRST) + 20, "I", 4),
  "a tensor of type 999": put(lambda d: field(d, FIRST) + 20, "I", 999),
  "a tensor of integers": put(lambda d: field(d, FIRST) + 20, "I", int(gguf.GGMLQuantizationType.I32)),
  "a tensor of blocks": put(lambda d: field(d, FIRST) + 20, "I", int(gguf.GGMLQuantizationType.Q4_K)),
  "a tensor at 2^60": put(lambda d: field(d, FIRST) + 24, "Q", 1 << 60),
  "a tensor by another name": lambda d: d.replace(b"blk.0.attn_q.weight", b"blk.0.attn_x.weight", 1),
  "a tensor twice": lambda d: d.replace(b"blk.0.attn_q.weight", b"blk.0.attn_v.weight", 1),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files(healthy, tmp_path, change):
  file = tmp_path / "model.gguf"
  file.write_bytes(healthy)
  changed = change(healthy)
  assert changed != healthy
  file.write_bytes(changed)
  told(lambda: load(file), file)


def test_random_bytes_never_end_otherwise(healthy, tmp_path):
  """150 headers with one byte changed: each is read, or ends in the sentence."""
  rng, file, refused = np.random.default_rng(0), tmp_path / "model.gguf", 0
  end = healthy.index(b"blk.2.")
  for _ in range(150):
    data = bytearray(healthy)
    data[rng.integers(end)] = rng.integers(256)
    file.write_bytes(data)
    try:
      load(file)
    except (ValueError, OSError) as error:
      refused += 1
      assert type(error) is ValueError and str(file) in str(error) and "\n" not in str(error)
  assert refused > 30

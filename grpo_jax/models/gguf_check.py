"""The header of a GGUF file against the file's size: its counts, lengths and offsets are a stranger's numbers.

gguf's own reader believes them: a count of 2^60 keeps it busy for years. The format: docs/gguf.md of
github.com/ggml-org/ggml.
"""

import math
import mmap
import os
import struct
from pathlib import Path

import gguf

VERSIONS = (2, 3)
MOST_DIMENSIONS = 4
STRING, ARRAY = gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY
FORMATS = {  # of scalars, as struct calls them
  gguf.GGUFValueType.UINT8: "B", gguf.GGUFValueType.INT8: "b", gguf.GGUFValueType.UINT16: "H",
  gguf.GGUFValueType.INT16: "h", gguf.GGUFValueType.UINT32: "I", gguf.GGUFValueType.INT32: "i",
  gguf.GGUFValueType.FLOAT32: "f", gguf.GGUFValueType.BOOL: "B", gguf.GGUFValueType.UINT64: "Q",
  gguf.GGUFValueType.INT64: "q", gguf.GGUFValueType.FLOAT64: "d",
}


class _Cursor:
  """A place in the bytes of a file that cannot be moved past their end."""

  def __init__(self, data: mmap.mmap):
    self.data, self.at = data, 0

  def skip(self, size: int, what: str) -> int:
    """Moves on and returns where that was."""
    start, self.at = self.at, self.at + size
    if self.at > len(self.data):
      raise ValueError(f"{what} would end at byte {self.at:,} of a file of {len(self.data):,}: it is cut or damaged")
    return start

  def number(self, form: str, what: str):
    """The next number of a struct format."""
    return struct.unpack_from("<" + form, self.data, self.skip(struct.calcsize("<" + form), what))[0]

  def string(self, what: str) -> str:
    """The next string."""
    size = self.number("Q", what)
    start = self.skip(size, what)
    return self.data[start : start + size].decode()


def _value(cursor: _Cursor, kind: int, key: str):
  """Moves past one value; returns it where it is a number."""
  if kind in FORMATS:
    return cursor.number(FORMATS[kind], key)
  if kind == STRING:
    cursor.skip(cursor.number("Q", key), key)
  elif kind == ARRAY:
    inner, count = cursor.number("I", key), cursor.number("Q", key)
    if inner in FORMATS:
      cursor.skip(count * struct.calcsize("<" + FORMATS[inner]), key)
    elif inner == STRING:
      for _ in range(count):  # each takes 8 bytes at least, so the end of the file ends this
        cursor.skip(cursor.number("Q", key), key)
    else:
      raise ValueError(f"{key} is an array of type {inner}, which GGUF does not have")
  else:
    raise ValueError(f"{key} has the type {kind}, which GGUF does not have")
  return None


def _tensor(cursor: _Cursor) -> tuple[str, int]:
  """(name, end of its bytes from where the data begins) of the next tensor."""
  name = cursor.string("the name of a tensor")
  dimensions = cursor.number("I", name)
  if not 1 <= dimensions <= MOST_DIMENSIONS:
    raise ValueError(f"tensor {name} has {dimensions} dimensions, must have 1 to {MOST_DIMENSIONS}")
  shape = [cursor.number("Q", name) for _ in range(dimensions)]
  kind, offset = cursor.number("I", name), cursor.number("Q", name)
  if kind not in set(gguf.GGMLQuantizationType):
    raise ValueError(f"tensor {name} has the type {kind}, which is not known here")
  block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
  if shape[0] % block or not all(shape):
    raise ValueError(f"tensor {name} has the shape {shape[::-1]}, must have rows of whole blocks of {block}")
  return name, offset + math.prod(shape) // block * size


def check_gguf(file: str | os.PathLike) -> None:
  """Raises ValueError, without the file's name, where the header does not fit the file."""
  with Path(file).open("rb") as opened:
    if Path(file).stat().st_size < 24:
      raise ValueError("it is too short for a GGUF file; fetch it again")
    with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
      cursor = _Cursor(data)
      if data[: cursor.skip(4, "") + 4] != b"GGUF":
        raise ValueError(f"it begins with {data[:4]!r} and not with b'GGUF': it is no GGUF file")
      version, tensors, pairs = cursor.number("I", ""), cursor.number("Q", ""), cursor.number("Q", "")
      if version not in VERSIONS:
        raise ValueError(f"it has GGUF version {version}, supported are {VERSIONS} (little-endian)")
      values: dict = {}
      for _ in range(pairs):
        key = cursor.string("a key")
        if key in values:
          raise ValueError(f"it has the key {key} twice")
        values[key] = _value(cursor, cursor.number("I", key), key)
      ends = [_tensor(cursor) for _ in range(tensors)]
      if len(dict(ends)) != len(ends):
        raise ValueError("it has two tensors of one name")
      alignment = values.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)
      if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"general.alignment = {alignment!r} must be a positive integer")
      start = -(-cursor.at // alignment) * alignment
      for name, end in ends:
        cursor.at = start
        cursor.skip(end, f"tensor {name}")

"""Plain data as JSON, between a tested program and its tests: numbers, text, dates and containers of them.

What is decoded is made of Python's own types only, whatever class the other process gave it.
"""

import importlib
import sys
from collections.abc import Callable


def _time_parts(value) -> list:
  offset = value.utcoffset()
  return [value.hour, value.minute, value.second, value.microsecond, offset, value.fold]


def _make_time(kind: type, *parts) -> object:
  *start, offset, fold = parts
  return kind(*start, None if offset is None else importlib.import_module("datetime").timezone(offset), fold=fold)


class _Never:
  """No value is one: a named tuple is known by its fields."""


def _make_namedtuple(fields: list[str], *parts) -> tuple:
  return importlib.import_module("collections").namedtuple("Tuple", fields)(*parts)


# name: (class, its parts, what makes it of its parts).
_COMPOUND = {
  "tuple": (tuple, list, lambda *parts: parts),
  "set": (set, list, lambda *parts: set(parts)),
  "frozenset": (frozenset, list, lambda *parts: frozenset(parts)),
  "dict": (dict, lambda v: list(dict.items(v)), lambda *parts: dict(parts)),
  "bytes": (bytes, list, lambda *parts: bytes(parts)),
  "bytearray": (bytearray, list, lambda *parts: bytearray(parts)),
  "range": (range, lambda v: [v.start, v.stop, v.step], range),
  "complex": (complex, lambda v: [v.real, v.imag], complex),
}
_COMPOUND["namedtuple"] = (_Never, list, _make_namedtuple)
# The same of modules that are imported when a value needs them; a subclass stands before its class.
_STANDARD = {
  "deque": ("collections", list, lambda kind, *parts: kind(parts)),
  "Fraction": ("fractions", lambda v: [v.numerator, v.denominator], lambda kind, *parts: kind(*parts)),
  "Decimal": ("decimal", lambda v: list(v.as_tuple()), lambda kind, *parts: kind(parts)),
  "datetime": ("datetime", lambda v: [v.year, v.month, v.day, *_time_parts(v)], _make_time),
  "date": ("datetime", lambda v: [v.year, v.month, v.day], lambda kind, *parts: kind(*parts)),
  "time": ("datetime", _time_parts, _make_time),
  "timedelta": ("datetime", lambda v: [v.days, v.seconds, v.microseconds], lambda kind, *parts: kind(*parts)),
  "timezone": ("datetime", lambda v: [v.utcoffset(None)], lambda kind, *parts: kind(*parts)),
}
_ATOMS = {bool: bool, int: int.__index__, float: float.__float__, str: str.__str__}  # past what a subclass overrides


def pack(value: object, refer: Callable[[object], dict]) -> object:
  """JSON for a value; `refer` gives the one-entry object that stands for what is no plain data."""
  if value is None:
    return None
  for kind, plain in _ATOMS.items():
    if isinstance(value, kind):
      return plain(value)
  if isinstance(value, list):
    return [pack(item, refer) for item in value]
  if isinstance(value, tuple) and isinstance(fields := getattr(type(value), "_fields", None), tuple):
    return {"namedtuple": [pack(list(fields), refer), *(pack(item, refer) for item in value)]}
  for name, (kind, parts, _) in _COMPOUND.items():
    if isinstance(value, kind):
      return {name: [pack(item, refer) for item in parts(value)]}
  for name, (module, parts, _) in _STANDARD.items():
    if module in sys.modules and isinstance(value, getattr(sys.modules[module], name)):
      return {name: [pack(item, refer) for item in parts(value)]}
  return refer(value)


def unpack(packed: object, find: Callable[[str, object], object]) -> object:
  """What `pack` packed; `find` gives what its `refer` stood for."""
  if isinstance(packed, list):
    return [unpack(item, find) for item in packed]
  if not isinstance(packed, dict):
    return packed
  ((name, parts),) = packed.items()
  if name in _COMPOUND:
    return _COMPOUND[name][2](*(unpack(item, find) for item in parts))
  if name in _STANDARD:
    module, _, make = _STANDARD[name]
    return make(getattr(importlib.import_module(module), name), *(unpack(item, find) for item in parts))
  return find(name, parts)


def copy_back(mine: object, theirs: object) -> None:
  """Changes a container to what the other side made of its copy."""
  if isinstance(mine, list | bytearray) and isinstance(theirs, list | bytearray):
    mine[:] = theirs
  elif isinstance(mine, dict | set) and isinstance(theirs, dict | set):
    mine.clear()
    mine.update(theirs)
  elif type(mine).__name__ == type(theirs).__name__ == "deque":
    mine.clear()
    mine.extend(theirs)

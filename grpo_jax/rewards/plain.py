"""Plain data as JSON, between a tested program and its tests: numbers, text, dates and containers of them.

What is decoded is made of Python's own types only, whatever class the other process gave it.
"""

import collections
import datetime
import decimal
import fractions
from collections.abc import Callable


def _time_parts(value) -> list:
  offset = value.utcoffset()
  return [value.hour, value.minute, value.second, value.microsecond, offset, value.fold]


def _time(make: Callable, *parts) -> object:
  *start, offset, fold = parts
  return make(*start, None if offset is None else datetime.timezone(offset), fold=fold)


# name: (class, its parts, what makes it of its parts); a subclass stands before its class.
_COMPOUND = {
  "tuple": (tuple, list, lambda *parts: parts),
  "set": (set, list, lambda *parts: set(parts)),
  "frozenset": (frozenset, list, lambda *parts: frozenset(parts)),
  "dict": (dict, lambda v: list(dict.items(v)), lambda *parts: dict(parts)),
  "deque": (collections.deque, list, lambda *parts: collections.deque(parts)),
  "bytes": (bytes, list, lambda *parts: bytes(parts)),
  "bytearray": (bytearray, list, lambda *parts: bytearray(parts)),
  "range": (range, lambda v: [v.start, v.stop, v.step], range),
  "complex": (complex, lambda v: [v.real, v.imag], complex),
  "fraction": (fractions.Fraction, lambda v: [v.numerator, v.denominator], fractions.Fraction),
  "decimal": (decimal.Decimal, lambda v: [decimal.Decimal.__str__(v)], decimal.Decimal),
  "datetime": (
    datetime.datetime,
    lambda v: [v.year, v.month, v.day, *_time_parts(v)],
    lambda *parts: _time(datetime.datetime, *parts),
  ),
  "date": (datetime.date, lambda v: [v.year, v.month, v.day], datetime.date),
  "time": (datetime.time, _time_parts, lambda *parts: _time(datetime.time, *parts)),
  "timedelta": (datetime.timedelta, lambda v: [v.days, v.seconds, v.microseconds], datetime.timedelta),
  "timezone": (datetime.timezone, lambda v: [v.utcoffset(None)], datetime.timezone),
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
  for name, (kind, parts, _) in _COMPOUND.items():
    if isinstance(value, kind):
      return {name: [pack(item, refer) for item in parts(value)]}
  return refer(value)


def unpack(packed: object, find: Callable[[str, object], object]) -> object:
  """What `pack` packed; `find` gives what its `refer` stood for."""
  if isinstance(packed, list):
    return [unpack(item, find) for item in packed]
  if not isinstance(packed, dict):
    return packed
  ((name, parts),) = packed.items()
  if name not in _COMPOUND:
    return find(name, parts)
  return _COMPOUND[name][2](*(unpack(item, find) for item in parts))


def copy_back(mine: object, theirs: object) -> None:
  """Changes a container to what the other side made of its copy."""
  if isinstance(mine, list | bytearray) and isinstance(theirs, list | bytearray):
    mine[:] = theirs
  elif isinstance(mine, dict | set | collections.deque) and isinstance(theirs, dict | set | collections.deque):
    mine.clear()
    (mine.extend if isinstance(mine, collections.deque) else mine.update)(theirs)

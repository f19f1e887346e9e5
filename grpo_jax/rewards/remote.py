"""Calls between a tested program and its tests, which run in two processes: plain data travels, objects stay.

Only plain data is ever compared on the tests' side, so an `__eq__`, a patched builtin or an exit of the program's
decides nothing there. Everything else stays where it is and is reached through a `Remote`. Both sides can ask: the
tests call functions, and a function may call back what a test handed to it (`key=lambda x: -x`).
"""

import builtins
import contextlib
import importlib
import io
import itertools
import json
import operator
import types
from collections.abc import Callable, Iterable

from grpo_jax.rewards.plain import copy_back, pack, unpack

_ITEMS = 100_000  # that a generator may yield to a test
_BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"]
_UNARY = ["neg", "pos", "abs", "invert"]
_OPERATIONS = {
  "call": lambda f, *args, **kwargs: f(*args, **kwargs),
  "attribute": getattr,
  "set": setattr,
  "item": operator.getitem,
  "set_item": operator.setitem,
  "delete_item": operator.delitem,
  "length": len,
  "list": lambda values: list(itertools.islice(values, _ITEMS)),
  "next": next,
  "str": str,
  "repr": repr,
  "operator": lambda name, *args: getattr(operator, name)(*args),
}


def _own_attribute(value: object, name: str) -> None:
  """Refuses what would lead a program from an object that it was handed to the tests themselves."""
  if name.startswith("_") or type(value).__module__ != "__main__":
    raise AttributeError(name)


def _get_own(value: object, name: str) -> object:
  _own_attribute(value, name)
  return getattr(value, name)


def _set_own(value: object, name: str, new: object) -> None:
  _own_attribute(value, name)
  setattr(value, name, new)


# What a program may do with the objects that the tests handed to it.
_HANDED = {name: _OPERATIONS[name] for name in ("call", "item", "set_item", "length", "list", "next")}
_HANDED |= {"attribute": _get_own, "set": _set_own}


class ProgramEnded(BaseException):
  """The program is gone; a test that expects any Exception must not take this for one."""


class Channel:
  """One side of the two pipes. The tests' side believes nothing of a reply but plain data."""

  def __init__(self, reading: io.BufferedIOBase, writing: io.BufferedIOBase, namespace: dict | None = None):
    """`namespace`: the program's globals, on its side."""
    self._reading, self._writing, self._is_tests = reading, writing, namespace is None
    self._operations = _HANDED if namespace is None else _OPERATIONS | {"global": namespace.__getitem__}
    self._objects, self._numbers = [], {}
    self.ended, self.asked = False, 0

  def serve(self) -> None:
    """Carries out what the other side asks, until nobody asks any more."""
    for line in self._reading:
      self._answer(json.loads(line))

  def ask(self, operation: str, *args: object, **kwargs: object) -> object:
    """The result of an operation on the other side. What it did to arguments that are containers is copied back.

    Raises:
      Exception: the built-in class that was raised there, or the nearest above it. A StopIteration that no iterator
        raised is a RuntimeError: it would end an `all(map(…))` before its first item.
      ProgramEnded: nobody answers.
    """
    self.asked += 1
    packed = pack(list(args), self._refer), {name: pack(value, self._refer) for name, value in kwargs.items()}
    self._send({"operation": operation, "args": packed[0], "kwargs": packed[1]})
    reply = self._receive()
    while "operation" in reply:  # our own functions are asked for, before the answer can come
      self._answer(reply)
      reply = self._receive()
    if "error" in reply:
      kind = getattr(builtins, str(reply["error"]), RuntimeError)
      known = isinstance(kind, type) and issubclass(kind, Exception)
      if known and issubclass(kind, StopIteration) and operation != "next":
        raise RuntimeError("the program raised StopIteration")
      raise (kind if known else RuntimeError)(str(reply["message"]))
    for mine, theirs in zip(args, unpack(reply["args"], self._find), strict=True):
      copy_back(mine, theirs)
    return unpack(reply["value"], self._find)

  def _answer(self, request: dict) -> None:
    try:
      args = unpack(request["args"], self._find)
      kwargs = {name: unpack(value, self._find) for name, value in request["kwargs"].items()}
      value = pack(self._operations[request["operation"]](*args, **kwargs), self._refer)
      reply = {"value": value, "args": pack(args, self._refer)}
    except BaseException as error:
      names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
      reply = {"error": names[0], "message": str(error)[:200]}
    self._send(reply)

  def _send(self, message: dict) -> None:
    self._writing.write(json.dumps(message).encode() + b"\n")
    self._writing.flush()

  def _receive(self) -> dict:
    line = self._reading.readline()
    self.ended = self.ended or not line.endswith(b"\n")
    if self.ended:
      raise ProgramEnded
    return json.loads(line)

  def _refer(self, value: object) -> dict:
    if isinstance(value, Remote):
      return {"yours": value._number}
    bound = getattr(value, "__self__", None)
    # Python's own functions, such as len or operator.itemgetter(1), are there too; [].append is an object of ours.
    if self._is_tests and (bound is None or isinstance(bound, type | types.ModuleType)):
      with contextlib.suppress(Exception):
        return {"pickled": importlib.import_module("pickle").dumps(value).hex()}
    if id(value) not in self._numbers:
      self._numbers[id(value)] = len(self._objects)
      self._objects.append(value)  # which also keeps the id from being given again
    return {"mine": self._numbers[id(value)]}

  def _find(self, kind: str, parts: object) -> object:
    if kind == "mine":
      return (Remote if self._is_tests else Handed)(self, int(parts))
    if kind == "yours":
      return self._objects[int(parts)]
    if kind == "pickled" and not self._is_tests:
      return importlib.import_module("pickle").loads(bytes.fromhex(parts))
    raise ValueError(f"a program cannot send {kind!r}")


class Remote:
  """An object on the other side. Tests can use it, but neither compare it nor take it for true."""

  def __init__(self, channel: Channel, number: int):
    self.__dict__.update(_channel=channel, _number=number)

  def __call__(self, *args, **kwargs):
    return self._channel.ask("call", self, *args, **kwargs)

  def __getattr__(self, name: str):
    return self._channel.ask("attribute", self, name)

  def __setattr__(self, name: str, value: object):
    self._channel.ask("set", self, name, value)

  def __getitem__(self, key):
    return self._channel.ask("item", self, key)

  def __setitem__(self, key, value):
    self._channel.ask("set_item", self, key, value)

  def __delitem__(self, key):
    self._channel.ask("delete_item", self, key)

  def __len__(self):
    return self._channel.ask("length", self)

  def __iter__(self):
    return iter(self._channel.ask("list", self))

  def __next__(self):
    return self._channel.ask("next", self)

  def __str__(self):
    return self._channel.ask("str", self)

  def __repr__(self):
    return self._channel.ask("repr", self)

  def __reduce_ex__(self, protocol):
    raise TypeError("an object of the program's cannot be copied")

  def _refuse(self, *_):
    raise TypeError("only plain data can be compared or taken for true, not an object of the program's")

  __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __contains__ = _refuse
  __hash__ = object.__hash__


def _binary(name: str, swap: bool) -> Callable:
  return lambda a, b: a._channel.ask("operator", name, *((b, a) if swap else (a, b)))


def _unary(name: str) -> Callable:
  return lambda a: a._channel.ask("operator", name, a)


for _name in _BINARY:
  setattr(Remote, f"__{_name.strip('_')}__", _binary(_name, swap=False))
  setattr(Remote, f"__r{_name.strip('_')}__", _binary(_name, swap=True))
for _name in _UNARY:
  setattr(Remote, f"__{_name}__", _unary(_name))


class Handed(Remote):
  """An object of the tests' that the program was handed: it is itself, and true."""

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Handed) and self._number == other._number

  def __ne__(self, other: object) -> bool:
    return not self == other

  def __bool__(self) -> bool:
    return True

  def __hash__(self) -> int:
    return hash(self._number)

  def __str__(self) -> str:
    return f"<object {self._number} of the tests>"

  __repr__ = __str__


def names_of(channel: Channel, names: Iterable[str]) -> dict[str, object]:
  """Those of the names that the program defines."""
  found = {}
  for name in names:
    with contextlib.suppress(Exception):
      found[name] = channel.ask("global", name)
  return found

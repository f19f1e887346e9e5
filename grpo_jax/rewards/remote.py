"""Values between a tested program and its tests, which run in two processes: plain data travels, objects stay.

Only plain data is ever compared on the tests' side, so an `__eq__`, a patched builtin or an exit of the program's
decides nothing there. Everything else stays where it is and is reached through a `Remote`.
"""

import builtins
import contextlib
import io
import itertools
import json
import operator
from collections.abc import Callable, Iterable

_ITEMS = 100_000  # that a generator may yield to a test
_PLAIN = (bool, int, float, str, type(None))  # JSON has these
_MARKED = {"complex": complex, "tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict, "bytes": bytes}
_OPERATIONS = {
  "call": lambda f, *args, **kwargs: f(*args, **kwargs),
  "attribute": getattr,
  "item": operator.getitem,
  "length": len,
  "list": lambda values: list(itertools.islice(values, _ITEMS)),
  "next": next,
}


def pack(value: object, refer: Callable[[object], int]) -> object:
  """JSON for a value; `refer` gives the number by which an object that is no plain data will be known."""
  for kind in _PLAIN:
    if isinstance(value, kind):
      return value if value is None else kind(value)
  if isinstance(value, list):
    return [pack(item, refer) for item in value]
  for name, kind in _MARKED.items():
    if isinstance(value, kind):
      parts = {"complex": lambda v: (v.real, v.imag), "dict": lambda v: v.items()}.get(name, lambda v: v)(value)
      return {name: [pack(item, refer) for item in parts]}
  return {"object": refer(value)}


def unpack(packed: object, find: Callable[[int], object]) -> object:
  """What `pack` packed; `find` gives the object of a number."""
  if isinstance(packed, list):
    return [unpack(item, find) for item in packed]
  if not isinstance(packed, dict):
    return packed
  ((name, parts),) = packed.items()
  if name == "object":
    return find(parts)
  items = [unpack(item, find) for item in parts]
  return complex(*items) if name == "complex" else _MARKED[name](items)


def send(stream: io.BufferedIOBase, message: object) -> None:
  """Writes a message, one line of JSON."""
  stream.write(json.dumps(message).encode() + b"\n")
  stream.flush()


def serve(namespace: dict[str, object], requests: io.BufferedIOBase, replies: io.BufferedIOBase) -> None:
  """The program's side: carries out operations on its globals and objects until nobody asks any more."""
  operations = _OPERATIONS | {"global": namespace.__getitem__}
  objects, numbers = [], {}

  def refer(value: object) -> int:
    if id(value) not in numbers:
      numbers[id(value)] = len(objects)
      objects.append(value)  # which also keeps the id from being given again
    return numbers[id(value)]

  for line in requests:
    request = json.loads(line)
    args = unpack(request["args"], objects.__getitem__)
    kwargs = {name: unpack(value, objects.__getitem__) for name, value in request["kwargs"].items()}
    try:
      value = pack(operations[request["operation"]](*args, **kwargs), refer)
      reply = {"value": value, "args": pack(args, refer)}
    except BaseException as error:
      names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
      reply = {"error": names[0], "message": str(error)[:200]}
    send(replies, reply)


class ProgramEnded(BaseException):
  """The program is gone; a test that expects any Exception must not take this for one."""


class Channel:
  """The tests' side: asks the program, and believes nothing of its reply but plain data."""

  def __init__(self, requests: io.BufferedIOBase, replies: io.BufferedIOBase):
    self._requests, self._replies = requests, replies
    self.ended = False

  def ask(self, operation: str, *args: object, **kwargs: object) -> object:
    """The result of an operation on the program's side. What it did to arguments that are containers is copied back.

    Raises:
      Exception: the built-in class that the program raised, or the nearest above its own.
      ProgramEnded: nobody answers.
    """
    packed = pack(list(args), _number), {name: pack(value, _number) for name, value in kwargs.items()}
    send(self._requests, {"operation": operation, "args": packed[0], "kwargs": packed[1]})
    line = self._replies.readline()
    self.ended = not line.endswith(b"\n")
    if self.ended:
      raise ProgramEnded
    reply = json.loads(line)
    if "error" in reply:
      kind = getattr(builtins, str(reply["error"]), RuntimeError)
      known = isinstance(kind, type) and issubclass(kind, Exception)
      raise (kind if known else RuntimeError)(str(reply["message"]))
    for mine, theirs in zip(args, unpack(reply["args"], self.remote), strict=True):
      _copy_back(mine, theirs)
    return unpack(reply["value"], self.remote)

  def remote(self, number: int) -> "Remote":
    return Remote(self, int(number))


def _copy_back(mine: object, theirs: object) -> None:
  if isinstance(mine, list) and isinstance(theirs, list):
    mine[:] = theirs
  elif isinstance(mine, dict | set) and type(mine) is type(theirs):
    mine.clear()
    mine.update(theirs)


def _number(value: object) -> int:
  if not isinstance(value, Remote):
    raise TypeError(f"a {type(value).__name__} cannot be handed to the program, only plain data and its own objects")
  return value._number


class Remote:
  """An object on the program's side. It can be used, but neither compared nor taken for true."""

  def __init__(self, channel: Channel, number: int):
    self._channel, self._number = channel, number

  def __call__(self, *args, **kwargs):
    return self._channel.ask("call", self, *args, **kwargs)

  def __getattr__(self, name: str):
    return self._channel.ask("attribute", self, name)

  def __getitem__(self, key):
    return self._channel.ask("item", self, key)

  def __len__(self):
    return self._channel.ask("length", self)

  def __iter__(self):
    return iter(self._channel.ask("list", self))

  def __next__(self):
    return self._channel.ask("next", self)

  def _refuse(self, *_):
    raise TypeError("only plain data can be compared or taken for true, not an object of the program's")

  __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __contains__ = _refuse
  __hash__ = object.__hash__


def names_of(channel: Channel, names: Iterable[str]) -> dict[str, object]:
  """Those of the names that the program defines; what Python defines itself is never the program's."""
  found = {}
  for name in names:
    with contextlib.suppress(Exception):
      if not hasattr(builtins, name) and not name.startswith("__"):
        found[name] = channel.ask("global", name)
  return found

"""Collectives of a compiled program, read from its HLO text: how often, over which mesh axes, how many bytes."""

import itertools
import math
import re
from dataclasses import dataclass

import numpy as np

from grpo_jax.sampling.loop import LATER

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
# Bytes of an element; the others say their bits: bf16, f8e4m3fn, s32
WIDTHS = {"pred": 1, "c64": 8, "c128": 16, "token": 0, "opaque": 0}

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"(?:calls|body|condition|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
  """One kind of collective over some mesh axes. Bytes are per chip and run of the program, loops unrolled.

  `bytes`: of the larger of operand and result. `wire_bytes`: what a chip sends when it is done as a ring over n chips:
  (n-1)/n of them, twice that for an all-reduce, all of them for a permute.
  """

  kind: str
  axes: tuple[str, ...]
  count: int
  bytes: int
  wire_bytes: int
  between_slices: bool = False


@dataclass(frozen=True)
class _Instruction:
  type: str
  opcode: str
  rest: str  # operands and attributes


def _instruction(line: str) -> _Instruction | None:
  _, equals, right = line.partition(" = ")
  if not equals:
    return None
  depth = 0
  for i, letter in enumerate(right):  # a tuple's type has spaces of its own
    depth += (letter == "(") - (letter == ")")
    if letter == " " and depth == 0:
      opcode, _, rest = right[i + 1:].partition("(")
      return _Instruction(right[:i], opcode, rest)
  return None


def _computations(text: str) -> tuple[dict[str, list[_Instruction]], str]:
  """Instructions by computation, and the name of the entry."""
  found, entry, current = {}, "", []
  for line in text.splitlines():
    start = _COMPUTATION.match(line)
    if start:
      current = found.setdefault(start[2], [])
      entry = start[2] if start[1] else entry
    else:
      instruction = _instruction(line)
      if instruction:
        current.append(instruction)
  return found, entry


def _trips(loop: _Instruction, found) -> int:
  """Turns of a while loop: as the compiler notes them, else the largest integer in its condition.

  The largest of 32 bits and above are no bounds: a minimum begins with them. The sampler's later stages turn for rows
  that left the first, whose turns are all counted: none for these.
  """
  if LATER in loop.rest:  # in the name of the operation
    return 0
  known = re.search(r'known_trip_count[^}]*"n":"(\d+)"', loop.rest)
  if known:
    return int(known[1])
  names, bounds = [re.search(r"condition=%?([\w.\-]+)", loop.rest)[1]], []
  while names:
    for instruction in found.get(names.pop(), ()):
      names += _CALLED.findall(instruction.rest)
      if instruction.opcode == "constant" and re.match(r"[su]\d+\[\]", instruction.type):
        bounds.append(int(re.match(r"-?\d+", instruction.rest)[0]))
  return max((bound for bound in bounds if bound < 2**31 - 1), default=1)


def _turns(found, entry: str) -> dict[str, int]:
  """How often each computation runs when the program runs once."""
  turns = {}

  def visit(name, times):
    turns[name] = turns.get(name, 0) + times
    for instruction in found.get(name, ()):
      trips = _trips(instruction, found) if instruction.opcode == "while" else 1
      inner = _CALLED.findall(instruction.rest)
      inner += [n.strip(" %") for names in _BRANCHES.findall(instruction.rest) for n in names.split(",")]
      for called in inner:
        visit(called, times * trips)

  visit(entry, 1)
  return turns


def _bytes(array: tuple[str, str]) -> int:
  dtype, dims = array
  width = WIDTHS[dtype] if dtype in WIDTHS else max(1, int(re.search(r"\d+", dtype)[0]) // 8)
  return width * math.prod(int(n) for n in dims.split(",") if n)


def _groups(rest: str, shape) -> np.ndarray:
  """The groups of partitions that take part together, `[groups, members]`; pairs for a permute."""
  pairs = re.search(r"(?:source_target_pairs|replica_groups)=\{(\{[\d,{}]*\})\}", rest)
  if pairs:
    return np.asarray([[int(n) for n in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", pairs[1])])
  iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest)
  if iota:
    return _iota(iota[2], iota[3]).reshape([int(n) for n in iota[1].split(",")])
  named = re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((.*?)\))? \{([^}]*)\}", rest)
  if named:
    return _named_groups(named[1], named[3], named[2] or "")
  if re.search(r"replica_groups=(?!\{\})", rest):
    raise ValueError(f"replica groups in a notation that is not known: {rest[:200]}")
  return np.arange(math.prod(shape)).reshape(1, -1)


def _iota(dims: str, order: str | None) -> np.ndarray:
  """`[2,8]T(1,0)`: the numbers from 0 in that shape, transposed."""
  dims = [int(n) for n in dims.split(",")]
  return np.arange(math.prod(dims)).reshape(dims).transpose([int(n) for n in order.split(",")] if order else None)


def _named_groups(mesh: str, axes: str, ids: str) -> np.ndarray:
  """Groups from `mesh['a'=2,'b'=8] {'b'}`; `'b':(2)4` is the part of size 4 of axis b below one of size 2.

  `ids`: the devices of the mesh in its order, as `[2,8]T(1,0` of an iota, or a list; empty is 0, 1, ….
  """
  sizes = {name: int(n) for name, n in re.findall(r"'([^']+)'=(\d+)", mesh)}
  taken = {name: (int(low or 1), int(n or sizes[name])) for name, low, n in
           re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", axes)}
  dims, inside = [], []
  for name, size in sizes.items():
    low, n = taken.get(name, (1, 1))
    dims += [low, n, size // (low * n)]
    inside += [False, name in taken, False]
  order = [i for i, member in enumerate(inside) if not member] + [i for i, member in enumerate(inside) if member]
  members = math.prod(n for n, member in zip(dims, inside, strict=True) if member)
  iota = re.match(r"\[([\d,]+)\](?:T\(([\d,]+))?", ids)
  devices = _iota(*iota.groups()) if iota else np.asarray(ids.split(","), int) if ids else np.arange(math.prod(dims))
  return devices.reshape(dims).transpose(order).reshape(-1, members)


def _moved(kind: str, instruction: _Instruction, n: int) -> int:
  """Bytes of the larger of operand and result."""
  opcode, sizes = instruction.opcode, [_bytes(array) for array in _ARRAY.findall(instruction.type)]
  if opcode == "collective-permute-start":
    return max(sizes)  # operand, result and two counters
  if opcode == "all-gather-start":
    return sum(sizes) * n // (n + 1)  # operands beside results
  return sum(sizes) * (n if kind == "reduce-scatter" and opcode == kind else 1)


def _between_slices(instruction: _Instruction, axes) -> Collective | None:
  """What the hosts of several slices send each other for one: such a collective is a `send` in each slice's program."""
  transfer = re.search(r'_xla_megascale_transfer_type="(\w+)"', instruction.rest)
  if instruction.opcode != "send" or not transfer:
    return None
  size = max(_bytes(array) for array in _ARRAY.findall(instruction.type))
  return Collective(transfer[1].lower().replace("_", "-"), (next(iter(axes)),), 1, size, size, True)


def _inside(instruction: _Instruction, computation: str, axes, shape) -> Collective | None:
  """One collective over the devices of a slice, None for other instructions."""
  kind = instruction.opcode.removesuffix("-start")
  if kind not in KINDS:
    return None
  groups = _groups(instruction.rest, shape)
  n = 2 if kind == "collective-permute" else groups.shape[-1]
  if n == 1:
    return None
  kind = "reduce-scatter" if "all-reduce-scatter" in computation else kind  # as TPUs' fused kernel is called
  coordinates = np.stack(np.unravel_index(groups, shape), -1)
  spanned = np.any(coordinates != coordinates[:, :1], (0, 1))
  moved = _moved(kind, instruction, n)
  share = {"all-reduce": 2 * (n - 1) / n, "collective-permute": 1}.get(kind, (n - 1) / n)
  return Collective(kind, tuple(itertools.compress(axes, spanned)), 1, moved, int(moved * share))


def collectives(text: str, axes: dict[str, int]) -> list[Collective]:
  """The collectives of a program, each channel once, added up by kind and mesh axes, dearest first.

  Args:
    text: `compiled.as_text()`.
    axes: name -> size of the mesh that it was compiled for, in order; slices follow each other along the first.
  """
  found, entry = _computations(text)
  turns, shape, single, total = _turns(found, entry), tuple(axes.values()), {}, {}
  for name, instructions in found.items():
    for instruction in instructions if turns.get(name) else ():
      one = _between_slices(instruction, axes) or _inside(instruction, name, axes, shape)
      channel = re.search(r"channel_id=(\d+)", instruction.rest)
      if one:  # the start, the wait and the end of an asynchronous one may each be a fusion that names the whole
        key = (one.between_slices, channel[1]) if channel else len(single)
        single[key] = max(single.get(key, (0, one)), (turns[name], one), key=lambda pair: pair[0])
  for times, one in single.values():
    key, new = (one.kind, one.axes, one.between_slices), (one.count, one.bytes, one.wire_bytes)
    total[key] = tuple(a + times * b for a, b in zip(total.get(key, (0, 0, 0)), new, strict=True))
  rows = [Collective(kind, over, *sums, far) for (kind, over, far), sums in total.items()]
  return sorted(rows, key=lambda c: -c.wire_bytes)

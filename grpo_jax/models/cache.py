"""The keys and values of tokens being decoded: a ring of chunks, of which those that nobody can see are not read.

Every row writes the same column at a step, whatever its age, so that nothing is scattered. Columns are written into an
open chunk; a full one takes the place of the oldest closed chunk. What a row sees follows from its age alone.
"""

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.models.attention import KV
from grpo_jax.models.config import ModelConfig

CHUNKS = 8  # of a cache of T tokens: more leave less unwritten that is read, and take longer to compile
LEAST = 16  # columns of a chunk at least


@struct.dataclass
class Part:
  """Some columns of a cache as one segment of attention: as `KV`, but keys are `[…, E, S]`.

  `read`: whether any row can see any of it, a scalar; None where that is so.
  """

  keys: jax.Array | list
  values: jax.Array | list
  positions: jax.Array
  valid: jax.Array
  read: jax.Array | None = None

  def of(self, prompt_A) -> "Part":
    """The prefixes of some prompts."""
    pick = lambda a: jnp.take(a, prompt_A, axis=a.ndim - 5)  # noqa: E731
    rows = (jnp.take(a, prompt_A, axis=0) for a in (self.positions, self.valid))
    return Part(jax.tree.map(pick, self.keys), jax.tree.map(pick, self.values), *rows)


@struct.dataclass
class Cache:
  """Pairs of keys `[…, A, K, S, E, C]` and values `[…, A, K, S, C, E]`, by layer, of A places with S rows each.

  `step` columns were written so far. Chunk number n, when closed, is `closed[n % len(closed)]`.
  """

  open: tuple
  closed: list[tuple]
  step: jax.Array

  @property
  def columns(self) -> int:
    """Columns of a chunk (C)."""
    return jax.tree.leaves(self.open[1])[0].shape[-2]


def shared_part(prefix: KV) -> Part:
  """A prefix, `[B, 1, P]`, as decoding reads it: its keys turned once."""
  return Part(jax.tree.map(lambda a: a.swapaxes(-1, -2), prefix.keys), prefix.values, prefix.positions, prefix.valid)


def empty_cache(cfg: ModelConfig, A: int, S: int, T: int, ring: bool) -> Cache:
  """Room for rows of at most T tokens; a ring never ends, else T columns are all that will be written."""
  C = max(LEAST, -(-T // CHUNKS))
  layers = (cfg.num_layers,) if cfg.scan_layers else ()

  def zeros(*shape):
    one = lambda: jnp.zeros((*layers, A, cfg.num_kv_heads, S, *shape), cfg.compute_dtype)  # noqa: E731
    return one() if cfg.scan_layers else [one() for _ in range(cfg.num_layers)]

  chunk = lambda: (zeros(cfg.head_width, C), zeros(C, cfg.head_width))  # noqa: E731
  return Cache(chunk(), [chunk() for _ in range(-(-T // C) - (not ring))], jnp.int32(0))


def written(cache: Cache, new: KV, step) -> Cache:
  """The cache with this token's keys and values in the column of `step`, its own (in place under jit)."""
  column = step % cache.columns
  put = lambda old, one, axis: jax.lax.dynamic_update_slice_in_dim(old, one, column, old.ndim + axis)  # noqa: E731
  keys = jax.tree.map(lambda o, n: put(o, n.swapaxes(-1, -2), -1), cache.open[0], new.keys)
  values = jax.tree.map(lambda o, n: put(o, n, -2), cache.open[1], new.values)
  return cache.replace(open=(keys, values), step=cache.step + 1)


def closed(cache: Cache) -> Cache:
  """The cache with its open chunk among the closed where it is full; what it holds is written over from there on."""
  C, N = cache.columns, len(cache.closed)
  full = cache.step % C == 0
  place = lambda i: full & ((cache.step // C - 1) % N == i)  # noqa: E731
  keep = lambda i, old: jax.tree.map(lambda o, n: jnp.where(place(i), n, o), old, cache.open)  # noqa: E731
  return cache.replace(closed=[keep(i, old) for i, old in enumerate(cache.closed)])


def parts(cache: Cache, start_AS, age_AS, oldest) -> tuple[Part, ...]:
  """What rows see that hold `age_AS` tokens, the first at position `start_AS`; `oldest`: the largest age of all."""
  C, N = cache.columns, len(cache.closed)
  number = cache.step // C

  def part(pair, chunk, closed: bool):
    delay_C = cache.step - chunk * C - jnp.arange(C)  # steps since a column was written; of the last one, 1
    valid = (delay_C[None, None] > 0) & (delay_C[None, None] <= age_AS[..., None])
    positions = (start_AS + age_AS)[..., None] - delay_C[None, None]
    return Part(*pair, positions, valid, oldest >= delay_C[-1] if closed else None)

  before = [number - 1 - (number - 1 - i) % N for i in range(N)]  # below 0: not written yet, and older than any row
  return (*(part(pair, n, True) for pair, n in zip(cache.closed, before, strict=True)), part(cache.open, number, False))


def moved(cache: Cache, from_AS) -> Cache:
  """The cache of rows that stood elsewhere: `from_AS` is the old place · S + slot of every new one."""

  def move(a):
    rows = jnp.moveaxis(a, -3, -4)  # […, A, S, K, …]
    rows = rows.reshape(*a.shape[:-5], -1, *rows.shape[-3:])
    rows = jnp.take(rows, from_AS.reshape(-1), axis=a.ndim - 5)
    return jnp.moveaxis(rows.reshape(*a.shape[:-5], *from_AS.shape, *rows.shape[-3:]), -4, -3)

  return cache.replace(open=jax.tree.map(move, cache.open), closed=jax.tree.map(move, cache.closed))

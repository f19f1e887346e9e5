"""Where the rows of a rollout sit while they are decoded: places with one prompt's prefix, each with some seats."""

import jax
import jax.numpy as jnp
from flax import struct

FEWEST = 8  # rows below which the finished ones are not dropped
SHORTEST = 64  # tokens below which they are not: two more loops to compile for little work


@struct.dataclass
class Seats:
  """A places with S seats each. Row r = prompt · G + member; a seat keeps its row when that is done.

  `row_AS` is -1 where nobody sits; `seat_R` is the place · S + seat of a row, -1 where it has none.
  """

  prompt_A: jax.Array
  row_AS: jax.Array
  seat_R: jax.Array


def rectangles(B: int, G: int, T: int, ends: bool) -> list[tuple[int, int]]:
  """(places, seats of a place) of each stage of the loop; rows move on when those left fit the next.

  Half of the rows, then a sixth, are as good as twice the stages: with geometric lengths of mean T / 4 each token costs
  1.7 row-steps (4 with all rows to the end, 1.3 with six stages). `ends`: whether rows may end before T.
  """
  rows, seats = B * G, 2 if G >= 4 else 1
  if not ends or rows < FEWEST or T < SHORTEST:
    return [(B, G)]
  return [(B, G), (-(-rows // (2 * seats)), seats), (-(-rows // 6), 1)]


def places_of(live_BG, S: int):
  """Places `[B]` that the rows left of each group take, S to a place."""
  return -(-jnp.sum(live_BG, 1, dtype=jnp.int32) // S)


def seated(live_BG, A: int, S: int) -> Seats:
  """The rows left of each group side by side, in as few places as hold them; they must fit."""
  places_B = places_of(live_BG, S)
  rank_BG = jnp.cumsum(live_BG, 1, dtype=jnp.int32) - 1
  first_B = (jnp.cumsum(places_B) - places_B) * S
  seat_R = jnp.where(live_BG, first_B[:, None] + rank_BG, -1).reshape(-1)
  row_AS = whose(seat_R, A * S).reshape(A, S)
  return Seats(jnp.maximum(row_AS[:, 0], 0) // live_BG.shape[1], row_AS, seat_R)


def whose(seat_R, seats: int):
  """The row that sits in each seat, -1 where none does."""
  sits = seat_R[None] == jnp.arange(seats)[:, None]
  return jnp.where(jnp.any(sits, 1), jnp.argmax(sits, 1), -1).astype(jnp.int32)

"""Where the rows of a rollout sit while they are decoded: places with one prompt's prefix, each with some seats."""

import jax
import jax.numpy as jnp
from flax import struct

FEWEST = 8  # rows below which the finished ones are not dropped
SHORTEST = 64  # tokens below which they are not: two more loops to compile for little work


@struct.dataclass
class Seats:
  """A places with S seats each. Row r = prompt · G + member; a seat keeps its row when that is done.

  `row_AS` is -1 where nobody sits; `seat_R` is the place · S + seat of a row, -1 where it has none. Of a place's group
  `handed_A` members have had a seat; `taken` prompts have had a place.
  """

  prompt_A: jax.Array
  row_AS: jax.Array
  seat_R: jax.Array
  handed_A: jax.Array
  taken: jax.Array


def rectangles(B: int, G: int, T: int, ends: bool, slots: int = 0) -> list[tuple[int, int]]:
  """(places, seats of a place) of each stage of the loop; rows move on when those left fit the next.

  Half of the rows, then a sixth, are as good as twice the stages: with geometric lengths of mean T / 4 each token costs
  1.7 row-steps (4 with all rows to the end, 1.3 with six stages).

  Args:
    ends: whether rows may end before T.
    slots: most rows at once; 0 is all. Of a place, then: as many places as there may be, since a place waits for the
      last of its group.
  """
  A = min(B, slots or B)
  S = min(G, slots // A) if slots else G
  rows, seats = A * S, 2 if S >= 4 else 1
  if not ends or rows < FEWEST or T < SHORTEST:
    return [(A, S)]
  return [(A, S), (-(-rows // (2 * seats)), seats), (-(-rows // 6), 1)]


def first_seats(B: int, G: int, A: int, S: int) -> Seats:
  """The first S members of the first A groups."""
  row_AS = jnp.arange(A, dtype=jnp.int32)[:, None] * G + jnp.arange(S, dtype=jnp.int32)[None]
  return Seats(jnp.arange(A), row_AS, seats_of(row_AS, B * G), jnp.full(A, S), jnp.int32(A))


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
  B, G = live_BG.shape
  return Seats(jnp.maximum(row_AS[:, 0], 0) // G, row_AS, seat_R, jnp.full(A, G), jnp.int32(B))


def whose(seat_R, seats: int):
  """The row that sits in each seat, -1 where none does."""
  sits = seat_R[None] == jnp.arange(seats)[:, None]
  return jnp.where(jnp.any(sits, 1), jnp.argmax(sits, 1), -1).astype(jnp.int32)


def seats_of(row_AS, R: int):
  """The place · S + seat of each of R rows, -1 where it has none."""
  return whose(row_AS.reshape(-1), R)


def _free(seats: Seats, live_R):
  return (seats.row_AS < 0) | ~jnp.take(live_R, jnp.maximum(seats.row_AS, 0))


def handed_out(seats: Seats, live_R, G: int) -> Seats:
  """Free seats taken by the next members of their groups."""
  free_AS = _free(seats, live_R)
  member_AS = seats.handed_A[:, None] + jnp.cumsum(free_AS, 1, dtype=jnp.int32) - 1
  taken_AS = free_AS & (member_AS < G)
  row_AS = jnp.where(taken_AS, seats.prompt_A[:, None] * G + member_AS, seats.row_AS)
  seat_R = jax.lax.cond(jnp.any(taken_AS), lambda: seats_of(row_AS, len(live_R)), lambda: seats.seat_R)
  return seats.replace(row_AS=row_AS, seat_R=seat_R, handed_A=seats.handed_A + jnp.sum(taken_AS, 1, dtype=jnp.int32))


def done_places(seats: Seats, live_R, G: int):
  """Places `[A]` all of whose group was handed out and is done."""
  return jnp.all(_free(seats, live_R), 1) & (seats.handed_A >= G)


def next_prompts(seats: Seats, live_R, G: int) -> Seats:
  """Places that are done taken by the next prompts, with the first members of those in their seats."""
  done_A = done_places(seats, live_R, G)
  prompt_A = seats.taken + jnp.cumsum(done_A, dtype=jnp.int32) - 1
  new_A = done_A & (prompt_A < len(live_R) // G)
  seats = seats.replace(
    prompt_A=jnp.where(new_A, prompt_A, seats.prompt_A), handed_A=jnp.where(new_A, 0, seats.handed_A),
    taken=seats.taken + jnp.sum(new_A, dtype=jnp.int32))
  return handed_out(seats, live_R, G)

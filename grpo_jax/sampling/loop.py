"""The decoding loop of one replica: rows in seats, which the next take; when all that are left fit fewer, they move."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.models.cache import Part, closed, empty_cache, moved, parts, written
from grpo_jax.models.config import ModelConfig
from grpo_jax.models.decoder import decoder
from grpo_jax.models.layers import Head
from grpo_jax.sampling.draw import draw_tokens, filtered
from grpo_jax.sampling.seats import (
  Seats,
  done_places,
  first_seats,
  handed_out,
  next_prompts,
  places_of,
  rectangles,
  seated,
)
from grpo_jax.types import SampleRequest

LATER = "later_stage"  # names the loops that rows reach only where others have ended before them


@struct.dataclass
class Asked:
  """B prompts of which G completions each are asked for: what a replica's loop is given of them.

  `prefix` has keys and values `[B, K, 1, …]` of each prompt without its last token `last_B`, which stands at position
  `start_B`; members with `greedy_BG` take the likeliest token.
  """

  prefix: Part
  last_B: jax.Array
  start_B: jax.Array
  uniforms_BGT: jax.Array
  greedy_BG: jax.Array


@struct.dataclass
class Drawn:
  """What R rows have drawn so far: `length_R` tokens each, the newest `last_R` (at first the prompt's last)."""

  tokens_RT: jax.Array
  logps_RT: jax.Array
  length_R: jax.Array
  last_R: jax.Array
  stopped_R: jax.Array

  @property
  def live_R(self):
    """Rows that go on."""
    return ~self.stopped_R & (self.length_R < self.tokens_RT.shape[1])


def _most(a, together):
  """The largest entry: of this replica, and of those of vmapped axes that loop together with it."""
  return jax.lax.pmax(jnp.max(a), together) if together else jnp.max(a)


def _recorded(drawn: Drawn, seats: Seats, token_N, logp_N, stop_ids) -> Drawn:
  """With the tokens of one step, each in the column of its row's length."""
  T = drawn.tokens_RT.shape[1]
  new_R = drawn.live_R & (seats.seat_R >= 0)
  token_R, logp_R = (jnp.take(a, jnp.maximum(seats.seat_R, 0)) for a in (token_N, logp_N))
  here = new_R[:, None] & (drawn.length_R[:, None] == jnp.arange(T)[None])
  stops_R = jnp.any(token_R[:, None] == jnp.asarray(stop_ids or (-1,), jnp.int32)[None], 1)
  return Drawn(
    jnp.where(here, token_R[:, None], drawn.tokens_RT), jnp.where(here, logp_R[:, None], drawn.logps_RT),
    drawn.length_R + new_R, jnp.where(new_R, token_R, drawn.last_R), drawn.stopped_R | (new_R & stops_R))


def _step(carry, *, params, output: Head, cfg: ModelConfig, asked: Asked, prefix: Part, before: list,
          request: SampleRequest, refills: bool, together):
  """One token for every seat; `before`: the closed chunks of the cache."""
  drawn, seats, cache = carry
  (A, S), (_, G, T) = seats.row_AS.shape, asked.uniforms_BGT.shape
  row_AS, most = jnp.maximum(seats.row_AS, 0), partial(_most, together=together)
  age_AS, start_AS = jnp.take(drawn.length_R, row_AS), jnp.take(asked.start_B, row_AS // G)
  live_AS = (seats.row_AS >= 0) & jnp.take(drawn.live_R, row_AS)
  seen = parts(cache.replace(closed=before), start_AS, age_AS, most(jnp.where(live_AS, age_AS, 0)))
  inputs = (jnp.take(drawn.last_R, row_AS), start_AS + age_AS, jnp.ones((A, S), bool))
  hidden, new = decoder(params, cfg, *(a[..., None] for a in inputs), (prefix, *seen))
  logits = output.logits(hidden.reshape(A * S, -1)).astype(jnp.float32) / request.temperature
  if request.top_k or request.top_p < 1 or request.min_p > 0:
    logits = filtered(logits, request)
  row_N, all_greedy = row_AS.reshape(-1), request.greedy_members >= request.group_size
  uniform_N = jnp.take(asked.uniforms_BGT.reshape(-1), row_N * T + jnp.minimum(age_AS.reshape(-1), T - 1))
  greedy_N = jnp.take(asked.greedy_BG.reshape(-1), row_N) if request.greedy_members and not all_greedy else all_greedy
  token, logp = draw_tokens(logits, uniform_N, greedy_N)
  step = cache.step + jnp.minimum(-most(-token), 0)  # is the step, but known after the cache was read: so no copy
  drawn = _recorded(drawn, seats, token, logp, request.stop_ids)
  return drawn, handed_out(seats, drawn.live_R, G) if refills else seats, written(cache, new, step)


def _stage(carry, step, asked: Asked, goes, first: bool, together):
  """Steps while `goes(drawn)`: chunk by chunk of the cache, so that what is read does not change within a loop.

  In the first stage free seats and places are taken by the next members and prompts, if not all sit from the start. The
  only number in the condition of a loop is its bound: the plan counts by it.
  """
  (B, G, T), (A, S), C = asked.uniforms_BGT.shape, carry[1].row_AS.shape, carry[2].columns
  prompts_wait = first and A < B
  # A seat that has worked more than n·T had n + 1 members, a place n + 1 prompts; each new prompt cuts a chunk in two.
  loops = jax.lax.psum(1, together) if together else 1
  most_chunks = -(-T // C) * -(-G // S) * -(-B // A) + B * loops * prompts_wait if first else -(-T // C) + 1
  prefix = asked.prefix if first and A == B else asked.prefix.of(carry[1].prompt_A)

  def waits(drawn, seats):
    ready = jnp.any(done_places(seats, drawn.live_R, G)) & (seats.taken < B)
    return _most(ready.astype(jnp.int32), together) > 0

  def turn(carry, **of_chunk):
    column, _, *rest = carry
    rest = drawn, seats, _ = step(rest, **of_chunk)
    return column + 1, goes(drawn) & ~waits(drawn, seats) if prompts_wait else goes(drawn), *rest

  def chunk(carry):
    number, _, drawn, seats, cache = carry
    seats = next_prompts(seats, drawn.live_R, G) if prompts_wait else seats
    mine = asked.prefix.of(seats.prompt_A) if prompts_wait else prefix
    turns = partial(turn, before=cache.closed, prefix=mine, refills=first and (A, S) != (B, G))
    carry = cache.step % C, jnp.bool_(True), drawn, seats, cache.replace(closed=[])
    *_, drawn, seats, after = jax.lax.while_loop(lambda c: (c[0] < C) & c[1], turns, carry)
    return number + 1, goes(drawn), drawn, seats, closed(after.replace(closed=cache.closed))

  carry = jnp.int32(0), goes(carry[0]), *carry
  return jax.lax.while_loop(lambda c: (c[0] < most_chunks) & c[1], chunk, carry)[2:]


def decode(params, output: Head, asked: Asked, *, cfg: ModelConfig, request: SampleRequest, together=(), replicas=1):
  """(tokens, mask, log-probabilities `[B, G, T]`, truncated `[B, G]`, row-steps that were computed).

  `together`: the vmapped axes whose members go on until all have stopped; `replicas`: how many share the slots.
  """
  B, G, T = asked.uniforms_BGT.shape
  shapes = rectangles(B, G, T, bool(request.stop_ids), -(-request.slots // replicas))
  groups = lambda a: a.reshape(B, G, *a.shape[1:])  # noqa: E731
  zeros = [jnp.zeros((B * G, T), dtype) for dtype in (jnp.int32, jnp.float32)]
  drawn = Drawn(*zeros, jnp.zeros(B * G, jnp.int32), jnp.repeat(asked.last_B, G), jnp.zeros(B * G, bool))
  seats, row_steps = first_seats(B, G, *shapes[0]), jnp.int32(0)
  cache = empty_cache(cfg, *shapes[0], T, ring=shapes[0] != (B, G))
  step = partial(_step, params=params, output=output, cfg=cfg, asked=asked, request=request, together=together)
  for i, (A, S) in enumerate(shapes):
    before, (A2, S2) = cache.step, (*shapes, (0, 1))[i + 1]
    if i:
      new = seated(groups(drawn.live_R), A, S)
      cache = moved(cache, jnp.maximum(jnp.take(seats.seat_R, jnp.maximum(new.row_AS, 0)), 0))
      seats = new
    goes = lambda drawn: _most(jnp.sum(places_of(groups(drawn.live_R), S2)), together) > A2  # noqa: B023, E731
    with jax.named_scope(LATER if i else "first"):
      drawn, seats, cache = _stage((drawn, seats, cache), step, asked, goes, not i, together)
    row_steps += (cache.step - before) * (A * S)
  mask_RT = jnp.arange(T)[None] < drawn.length_R[:, None]
  return *(groups(a) for a in (drawn.tokens_RT, mask_RT, drawn.logps_RT, ~drawn.stopped_R)), row_steps

"""Rewards that need no text: pure functions of tokens, so that a jitted program can score without the host.

Tokens and masks are `[B, G, T]`, rewards `[B, G]` float32. What the mask leaves out may hold anything.
"""

import jax
import jax.numpy as jnp

from grpo_jax.rewards.token_answers import HOWS

_DIGITS = 10  # of the largest int32


def token_match(
  tokens_BGT: jax.Array, mask_BGT: jax.Array, targets_BK: jax.Array, lengths_B: jax.Array, *, how: str = "equals"
) -> jax.Array:
  """1 where a completion's tokens are the target's, hold them in one piece (how="contains") or start with them.

  Args:
    mask_BGT: True on the completion's tokens, which are a prefix of T; leave the stop token out.
    targets_BK: token ids, of which the first `lengths_B` count; an empty target is in everything.

  Raises:
    ValueError: `how` is none of these.
  """
  if how not in HOWS:
    raise ValueError(f"how={how!r} must be one of {HOWS}.")
  T, K = tokens_BGT.shape[-1], targets_BK.shape[-1]
  ignored_BK = ~(jnp.arange(K)[None] < lengths_B[:, None])
  sizes_BG = mask_BGT.astype(jnp.int32).sum(-1)

  def at(start: jax.Array) -> jax.Array:
    t_K = start + jnp.arange(K)
    here_BGK = jnp.take(tokens_BGT, jnp.minimum(t_K, T - 1), axis=-1)
    inside_BG = start + lengths_B[:, None] <= sizes_BG
    return inside_BG & jnp.all((here_BGK == targets_BK[:, None]) | ignored_BK[:, None], axis=-1)

  if how == "equals":
    return (at(jnp.int32(0)) & (sizes_BG == lengths_B[:, None])).astype(jnp.float32)
  if how == "starts":
    return at(jnp.int32(0)).astype(jnp.float32)
  found_BG = jax.lax.fori_loop(1, T + 1, lambda t, found: found | at(t), at(jnp.int32(0)))
  return found_BG.astype(jnp.float32)


def integer_answer(
  tokens_BGT: jax.Array,
  mask_BGT: jax.Array,
  answers_B: jax.Array,
  *,
  digit_ids: tuple[int, ...],
  minus_ids: tuple[int, ...],
  marker_id: int | None,
) -> jax.Array:
  """1 where the first integer behind a completion's last marker token equals the answer (int32).

  For tokenizers that write a number digit by digit: `digit_ids` are the tokens of 0 … 9, `minus_ids` those that end in
  a minus. A minus right before the first digit is its sign. Without a marker the whole completion counts. Digits are
  compared one by one, so nothing overflows, however many there are. It agrees with the rule
  `numeric(after=marker, pick="first")` on texts without points, commas, exponents or letters before a minus.
  """
  T = tokens_BGT.shape[-1]
  t_11T = jnp.arange(T)[None, None]
  same_BGTd = tokens_BGT[..., None] == jnp.array(digit_ids)[None, None, None]
  digits_BGT = jnp.argmax(same_BGTd, axis=-1)
  marked_BGT = mask_BGT & (tokens_BGT == (-1 if marker_id is None else marker_id))
  marker_BG = jnp.max(jnp.where(marked_BGT, t_11T, -1), axis=-1)
  is_digit_BGT = mask_BGT & same_BGTd.any(-1) & (t_11T > marker_BG[..., None])
  first_BG = jnp.argmax(is_digit_BGT, axis=-1)
  past_BGT = t_11T >= first_BG[..., None]
  run_BGT = past_BGT & (jnp.cumsum(past_BGT & ~is_digit_BGT, axis=-1) == 0)
  count_BG = run_BGT.sum(-1)
  # The place of a digit counts from the run's end: 0 for ones.
  place_BGT = first_BG[..., None] + count_BG[..., None] - 1 - t_11T
  powers_1d = jnp.array([[10**d for d in range(_DIGITS)]])
  wanted_Bd = jnp.abs(answers_B)[:, None] // powers_1d % 10
  index_BGT = jnp.clip(place_BGT, 0, _DIGITS - 1)
  wanted_BGT = jnp.take_along_axis(wanted_Bd[:, None], index_BGT, axis=-1) * (place_BGT < _DIGITS)
  equal_BG = jnp.all((digits_BGT == wanted_BGT) | ~run_BGT, axis=-1)
  enough_BG = count_BG >= jnp.sum(jnp.abs(answers_B)[:, None] >= powers_1d, axis=-1)[:, None]
  before_BG = jnp.take_along_axis(tokens_BGT, jnp.maximum(first_BG - 1, 0)[..., None], axis=-1)[..., 0]
  negative_BG = jnp.isin(before_BG, jnp.array(minus_ids or (-1,))) & (first_BG - 1 > marker_BG)
  sign_BG = (negative_BG == (answers_B < 0)[:, None]) | (answers_B == 0)[:, None]
  found_BG = ((marker_BG >= 0) | (marker_id is None)) & is_digit_BGT.any(-1)
  return (found_BG & equal_BG & enough_BG & sign_BG).astype(jnp.float32)

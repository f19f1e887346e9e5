"""The arrays that travel between the parts, as frozen pytrees. Letters: see README, "Letters and words"."""

import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array


def wide(a):
  """In float32, or float64 where it is that already: statistics are never narrower."""
  return a.astype(jnp.promote_types(a.dtype, jnp.float32))


@struct.dataclass
class Prompts:
  """B prompts, left-padded to P tokens. `uids_B` are global draw numbers: they name the random keys of the samples."""

  tokens_BP: Array
  mask_BP: Array
  uids_B: Array


@struct.dataclass
class SampleRequest:
  """What a caller wants sampled. Choices are static (a new program each); `temperature` is a number."""

  temperature: Array | float = 1.0
  group_size: int = struct.field(pytree_node=False, default=1)
  max_new_tokens: int = struct.field(pytree_node=False, default=16)
  greedy_members: int = struct.field(pytree_node=False, default=0)  # the first so many take the likeliest token
  stop_ids: tuple[int, ...] = struct.field(pytree_node=False, default=())
  stream: int = struct.field(pytree_node=False, default=0)  # 0 training, 1 evaluation: separate random keys
  top_k: int = struct.field(pytree_node=False, default=0)  # evaluation only; 0 is off
  top_p: float = struct.field(pytree_node=False, default=1.0)  # evaluation only; 1 is off
  min_p: float = struct.field(pytree_node=False, default=0.0)  # evaluation only; 0 is off
  arms: str = struct.field(pytree_node=False, default="")  # a vmapped axis whose members go on until all have stopped
  slots: int = struct.field(pytree_node=False, default=0)  # most rows decoded at once, of all replicas; 0 is all
  whole: bool = struct.field(pytree_node=False, default=False)  # no part of the policy is split over the mesh's `fsdp`


@struct.dataclass
class Rollout:
  """G completions of T tokens for each of B prompts.

  `mask_BGT` is true up to and including the first stop token; `behavior_logps_BGT` are the sampler's own
  log-probabilities (0 where masked); `truncated_BG` marks completions that met no stop token in T tokens.
  """

  prompts: Prompts
  tokens_BGT: Array
  mask_BGT: Array
  behavior_logps_BGT: Array
  truncated_BG: Array


@struct.dataclass
class Experience:
  """What a policy step learns from. `advantages_BGT` is `[B, G, 1]` where all tokens of a completion share one.

  `old_logps_BGT` is None when one update uses the rollout (old = current); the rest are None unless the row asks.
  """

  prompts: Prompts
  tokens_BGT: Array
  mask_BGT: Array
  behavior_logps_BGT: Array
  advantages_BGT: Array
  old_logps_BGT: Array | None = None
  ref_logps_BGT: Array | None = None
  ref_hidden_BGTD: Array | None = None  # the reference's hidden states, for the exact KL
  roles_BG: Array | None = None  # +1 best, -1 worst of the group, for the pair loss
  present_BG: Array | None = None  # members that take part, where group sizes are dynamic
  values_BGT: Array | None = None  # the critic's, before its update
  returns_BGT: Array | None = None  # what the critic learns
  picked_BGT: Array | None = None  # tokens that a covariance row treats apart

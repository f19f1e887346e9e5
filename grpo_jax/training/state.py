"""The state of a run: everything the next iteration depends on, as one pytree."""

import jax
import jax.numpy as jnp
from flax import struct

from grpo_jax.models.lora import adapted
from grpo_jax.training.optimizer import adam_init

Array = jax.Array


@struct.dataclass
class Learner:
  """Parameters with their own optimizer beside the policy: a critic. Counters as in `TrainState`."""

  step: Array
  skipped: Array
  params: dict
  opt_state: tuple


def new_learner(params) -> Learner:
  """A learner at step 0."""
  zero = jnp.zeros((), jnp.int32)
  return Learner(zero, zero, params, adam_init(params))


@struct.dataclass
class TrainState:
  """`step` counts optimizer updates, `iteration` rollouts, `skipped` updates refused for non-finite gradients.

  `ref_params` is None when no reference is needed; `data_state["position"]` is the next draw of the prompt stream,
  `data_state["pass_rates"]` the table of a curriculum, where there is one. With LoRA `params` are the adapters, `base`
  the frozen model below them (never saved), and `ref_params` a snapshot of adapters, or None while the reference is the
  base itself.
  """

  step: Array
  iteration: Array
  skipped: Array
  seed: Array
  params: dict
  opt_state: tuple
  ref_params: dict | None
  algorithm_state: dict
  data_state: dict
  critic: Learner | None = None
  base: dict | None = None
  lora_scale: float = struct.field(pytree_node=False, default=0.0)
  hashes: Array | None = None  # of all other leaves, in a checkpoint only

  def model(self, params):
    """What the decoder takes for some value of `params`: themselves, or the base under these adapters."""
    return params if self.base is None else adapted(self.base, params, self.lora_scale)

  @property
  def policy(self):
    """The parameters of the policy, as the decoder takes them."""
    return self.model(self.params)

  @property
  def reference(self):
    """The parameters of the reference, as the decoder takes them; None where there is none."""
    return self.base if self.ref_params is None else self.model(self.ref_params)


def new_state(params, seed, *, reference: bool, algorithm_state: dict | None = None, critic=None,
              problems: int = 0, reference_dtype="float32") -> TrainState:
  """A state at step 0; the reference starts as a copy of the policy. `critic`: parameters, where there is one.

  `problems`: rows of the table of a curriculum, all without a pass rate (negative); 0 is no table.
  """
  zero = jnp.zeros((), jnp.int32)
  return TrainState(
    step=zero, iteration=zero, skipped=zero, seed=jnp.asarray(seed, jnp.uint32), params=params,
    opt_state=adam_init(params),
    ref_params=jax.tree.map(lambda p: jnp.array(p, reference_dtype), params) if reference else None,
    algorithm_state=algorithm_state or {},
    data_state={"position": zero} | ({"pass_rates": jnp.full(problems, -1, jnp.float32)} if problems else {}),
    critic=None if critic is None else new_learner(critic),
  )


def end_iteration(state: TrainState, data_state: dict, refresh_every, pass_rate=None) -> TrainState:
  """Moves to the next iteration: data state, and the reference, renewed every `refresh_every` (0: frozen).

  `pass_rate` of the rollout enters a moving average where the state keeps one (dynamic group size).
  """
  iteration = state.iteration + 1
  ref_params = state.ref_params
  if ref_params is not None:
    due = (refresh_every > 0) & (iteration % jnp.maximum(refresh_every, 1) == 0)
    as_reference = jax.tree.map(lambda p, r: p.astype(r.dtype), state.params, ref_params)
    ref_params = jax.lax.cond(due, lambda p, r: p, lambda p, r: r, as_reference, ref_params)
  data_state = jax.tree.map(jnp.asarray, data_state)
  algorithm_state = state.algorithm_state
  if "pass_rate" in algorithm_state:
    algorithm_state = {**algorithm_state, "pass_rate": 0.8 * algorithm_state["pass_rate"] + 0.2 * pass_rate}
  return state.replace(
    iteration=iteration, ref_params=ref_params, data_state=data_state, algorithm_state=algorithm_state)

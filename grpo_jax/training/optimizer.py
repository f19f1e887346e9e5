"""AdamW (optax) with schedules and global-norm clipping; every number is an array leaf, so none recompiles."""

import jax
import jax.numpy as jnp
import optax
from flax import struct

SCHEDULES = ("constant", "cosine", "linear")


@struct.dataclass
class OptimizerSpec:
  """Numbers of AdamW (Loshchilov & Hutter 2019). `schedule` is what follows the linear warm-up."""

  schedule: str = struct.field(pytree_node=False, default="constant")
  learning_rate: float = 1e-6
  warmup_steps: float = 0  # optimizer updates
  total_steps: float = 1  # optimizer updates; where cosine and linear reach `final_fraction`
  final_fraction: float = 0.0  # of the learning rate
  b1: float = 0.9
  b2: float = 0.999
  epsilon: float = 1e-8
  weight_decay: float = 0.0  # of matrices; norms and biases are never decayed
  clip_norm: float = 1.0  # of the global gradient


def learning_rate(spec: OptimizerSpec, step):
  """lr · min(1, (step+1) / warmup) · decay(progress), progress in [0, 1] after the warm-up."""
  warm = jnp.minimum(1.0, (step + 1) / jnp.maximum(spec.warmup_steps, 1))
  progress = jnp.clip((step - spec.warmup_steps) / jnp.maximum(spec.total_steps - spec.warmup_steps, 1), 0, 1)
  shape = {"constant": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + jnp.cos(jnp.pi * progress))}[spec.schedule]
  floor = 1.0 if spec.schedule == "constant" else spec.final_fraction
  return spec.learning_rate * warm * (floor + (1 - floor) * shape)


def adam_init(params):
  """Zero moments."""
  return optax.scale_by_adam().init(params)


def _decayed(path) -> bool:
  return not str(path[-1].key).endswith(("norm", "bias"))


def apply_gradients(state, grads, spec: OptimizerSpec):
  """One AdamW update of `state`; a gradient that is not finite, or one that would leave parameters
  or moments that are not, changes nothing but the counters.

  p ← p - lr (m̂ / (sqrt(v̂) + eps) + weight_decay p), gradients first scaled to `clip_norm` at most.
  Returns the state and metrics as (sum, count).
  """
  norm = optax.tree.norm(grads)
  finite = jnp.isfinite(norm)
  scale = jnp.minimum(1.0, spec.clip_norm / jnp.maximum(norm, 1e-30))
  grads = jax.tree.map(lambda g: jnp.where(finite, g * scale, 0), grads)
  adam = optax.scale_by_adam(b1=spec.b1, b2=spec.b2, eps=spec.epsilon)
  directions, opt_state = adam.update(grads, state.opt_state)
  lr = learning_rate(spec, state.step)

  def moved(path, p, d):
    decay = spec.weight_decay if _decayed(path) else 0.0
    return p - lr * (d + decay * p)

  params = jax.tree_util.tree_map_with_path(moved, state.params, directions)
  finite = jnp.stack([finite, *(jnp.all(jnp.isfinite(a)) for a in jax.tree.leaves((params, opt_state)))]).all()
  params = jax.tree.map(lambda new, old: jnp.where(finite, new, old), params, state.params)
  opt_state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), opt_state, state.opt_state)
  skipped = (~finite).astype(jnp.int32)
  state = state.replace(params=params, opt_state=opt_state, step=state.step + 1, skipped=state.skipped + skipped)
  return state, {"update/grad_norm": (norm, 1), "update/learning_rate": (lr, 1),
                 "update/skipped": (skipped, 1), "update/applied": (1 - skipped, 1)}

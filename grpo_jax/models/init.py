"""Parameters from scratch."""

import jax
import jax.numpy as jnp

from grpo_jax.models.config import ModelConfig, param_shapes


def init_params(cfg: ModelConfig, seed):
  """Float32 parameters: norms 1, biases 0, matrices normal with variance 1 / fan-in.

  Norms stored as differences from 1 are 0. Matrices that write to the residual stream (o, down) are divided by
  sqrt(2 L) (Radford et al. 2019), and the embedding has variance 1 / D, so that logits start with variance 1 whether
  or not it is tied.
  """
  shapes, treedef = jax.tree_util.tree_flatten_with_path(param_shapes(cfg), is_leaf=lambda x: isinstance(x, tuple))
  key = jax.random.fold_in(jax.random.key(seed), 0x1417)

  def leaf(index, path, shape):
    """One array, by the name that its path ends in."""
    name = path[-1].key
    if name.endswith("norm"):
      return jnp.full(shape, 0 if cfg.norm_offset else 1, jnp.float32)
    if name.endswith("bias"):
      return jnp.zeros(shape, jnp.float32)
    fan_in = cfg.width if name == "embed" else shape[-2]
    std = fan_in**-0.5 / ((2 * cfg.num_layers) ** 0.5 if name in ("o", "down") else 1)
    return std * jax.random.normal(jax.random.fold_in(key, index), shape, jnp.float32)

  return treedef.unflatten([leaf(i, path, shape) for i, (path, shape) in enumerate(shapes)])

"""Compiles the gradient of a Gemma-2-like decoder with kernels for four TPU v5p chips; prints how many there are.

The rows are packed: where completions begin is known at run time only.
"""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from grpo_jax.distributed.mesh import batch_shardings, make_mesh, state_shardings
from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.models.rows import branches
from grpo_jax.tools.plan_chips import parse_topology, topology_devices
from grpo_jax.types import Prompts

CFG = ModelConfig(
  vocab_size=512, num_layers=4, width=256, ffn_width=512, num_heads=4, num_kv_heads=2, head_width=128,
  layer_windows=(96, 0, 96, 0), attention_cap=50.0, activation="gelu_tanh", sandwich_norms=True, norm_offset=True,
  compute_dtype="bfloat16", remat=True, attention="splash")


def main():
  """Four chips: prompts over two, heads over two."""
  mesh = make_mesh(1, 2, 2, devices=topology_devices(parse_topology("v5p:2x2x1")))
  B, G, T, size = 2, 3, 100, jax.ShapeDtypeStruct
  batch = (Prompts(size((B, 80), np.int32), size((B, 80), bool), size((B,), np.int32)),
           size((B, G, T), np.int32), size((B, G, T), bool))
  params = jax.tree.map(lambda s: size(s, np.float32), param_shapes(CFG), is_leaf=lambda x: isinstance(x, tuple))

  def placed(tree, shardings):
    return jax.tree.map(lambda a, s: size(a.shape, a.dtype, sharding=s), tree, shardings)

  def loss(params, prompts, tokens, mask):
    return branches(params, CFG, prompts, tokens, mask, 300)[0].astype(np.float32).sum()

  with jax.set_mesh(mesh):
    arguments = placed(params, state_shardings(mesh, params)), *placed(batch, batch_shardings(mesh, batch))
    compiled = jax.jit(jax.grad(loss), out_shardings=NamedSharding(mesh, P())).lower(*arguments).compile()
  print(compiled.as_text().count('custom_call_target="tpu_custom_call"'))


if __name__ == "__main__":
  main()

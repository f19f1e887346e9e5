"""Hashes of arrays: any changed, moved or swapped value shows, on any mesh, in any type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.distributed.mesh import make_mesh, state_shardings
from grpo_jax.training.fingerprint import fingerprint, leaf_fingerprint

of_tree, of_leaf = jax.jit(fingerprint), jax.jit(leaf_fingerprint)


def test_values_changed_swapped_or_moved_show_on_any_mesh(params):
  own = np.asarray(of_tree(params))
  changed = jax.tree.map(np.copy, params)
  changed["layers"]["q"][1, 2, 3] = np.nextafter(changed["layers"]["q"][1, 2, 3], np.float32(9))
  swapped = {**params, "layers": {**params["layers"], "k": params["layers"]["v"], "v": params["layers"]["k"]}}
  moved = {**params, "layers": {**params["layers"], "q": params["layers"]["q"][:, ::-1]}}
  for other in (changed, swapped, moved):
    assert (np.asarray(of_tree(other)) != own).all()
  mesh = make_mesh(data=1, fsdp=4, tensor=2)
  np.testing.assert_array_equal(of_tree(jax.device_put(params, state_shardings(mesh, params))), own)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint32", "bool"])
def test_every_single_bit_shows(dtype):
  a = np.asarray(jnp.arange(24).reshape(4, 6) % 2 if dtype == "bool" else jnp.arange(24).reshape(4, 6), dtype)
  seen = {tuple(np.asarray(of_leaf(a)).tolist())}
  raw, flips = a.tobytes(), 0
  for byte in range(0, len(raw), 5):
    for bit in range(8) if dtype != "bool" else (0,):
      data = bytearray(raw)
      data[byte] ^= 1 << bit
      seen.add(tuple(np.asarray(of_leaf(np.frombuffer(bytes(data), a.dtype).reshape(a.shape))).tolist()))
      flips += 1
  assert len(seen) == flips + 1

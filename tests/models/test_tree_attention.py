"""A group in one kernel against the plain attention: every kind of layer, on one device and on a mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from families import FAMILIES

from grpo_jax.distributed.mesh import batch_shardings, make_mesh, state_shardings
from grpo_jax.models.attention import attend, visible
from grpo_jax.models.decoder import branches
from grpo_jax.models.tree_attention import Tree, by_nn, tree_attention


@functools.partial(jax.jit, static_argnums=1)
def value_and_gradient(params, cfg, prompts, tokens, mask):
  weights = np.random.default_rng(5).normal(size=(*tokens.shape, cfg.width)).astype(np.float32)

  def loss(params):
    hidden = branches(params, cfg, prompts, tokens, mask).astype(jnp.float32)
    hidden = jnp.where(mask[..., None], hidden, 0)
    return jnp.sum(weights * hidden), hidden

  (_, hidden), gradient = jax.value_and_grad(loss, has_aux=True)(params)
  return hidden, gradient


def both(cfg, *batch):
  """Hidden states and gradients by the plain attention and by the kernel."""
  params = tiny.params(cfg)
  kernel = dataclasses.replace(cfg, attention="splash_interpreted")
  return tuple(jax.device_get(value_and_gradient(params, c, *batch)) for c in (cfg, kernel))


@pytest.mark.parametrize("family, scan, remat", [("gemma2", True, True), ("qwen2_window", False, False)])
def test_kernel_is_the_plain_attention(family, scan, remat):
  cfg = tiny.config(scan_layers=scan, remat=remat, **FAMILIES[family])
  plain, kernel = both(cfg, tiny.prompts(), *tiny.completions())
  assert tiny.gap(kernel, plain) <= 1e-5


def test_in_bfloat16():
  cfg = tiny.config(compute_dtype="bfloat16", num_layers=1)
  plain, kernel = both(cfg, tiny.prompts(), *tiny.completions())
  assert tiny.gap(kernel[0], plain[0]) <= 2e-2


@pytest.mark.parametrize("G, T", [(3, 128), (2, 96)])  # branches in one block each, and across blocks
def test_branches_of_whole_blocks(G, T):
  cfg = tiny.config(num_layers=1, layer_windows=(40,))
  batch = tiny.prompts((3, 150), P=150), *tiny.completions(2, G, T)
  plain, kernel = both(cfg, *batch)
  assert tiny.gap(kernel, plain) <= 1e-5


@pytest.mark.parametrize("sizes", [(2, 2, 2), (4, 2, 1)])
def test_on_a_mesh(sizes):
  """Heads over tensor, prompts over data and fsdp, and, where four prompts do not fill eight devices, members."""
  cfg = tiny.config(scan_layers=True, remat=True, attention="splash_interpreted")
  params, batch = tiny.params(cfg), (tiny.prompts(), *tiny.completions())
  mesh = make_mesh(*sizes)
  place = lambda tree, of: jax.device_put(tree, of(mesh, tree))  # noqa: E731
  prompts, tokens, mask = (place(a, batch_shardings) for a in batch)
  with jax.set_mesh(mesh):
    got = value_and_gradient(place(params, state_shardings), cfg, prompts, tokens, mask)
  want = value_and_gradient(params, cfg, *batch)
  assert tiny.gap(jax.device_get(got), jax.device_get(want)) <= 1e-5


@pytest.mark.parametrize("T, window", [(4, 0), (4, 3), (6, 0), (6, 9)])
def test_a_tree_is_positions_and_branches(T, window):
  """Rows and columns of the mask against the definition: same branch or prefix, not later, within the window."""
  shared, G = 5, 3
  q, k = np.arange(G * T), np.arange(shared + G * T)
  position = np.concatenate([np.arange(shared), shared + np.arange(G * T) % T])
  branch = np.concatenate([np.full(shared, -1), np.arange(G * T) // T])
  mine, at = branch[shared:][:, None], position[shared:][:, None]
  want = ((branch[None] == mine) | (branch[None] == -1)) & (position[None] <= at)
  want &= (at - position[None] < window) if window else True
  np.testing.assert_array_equal(Tree(shared, T, window)(q[:, None], k[None]), want)


def test_the_packed_row_that_cudnn_gets():
  """The packing and mask of the GPU path, through the same function of jax's without cuDNN."""
  cfg = tiny.config()
  rng, B, K, G, R, T, S, E = np.random.default_rng(0), 2, 2, 3, 2, 5, 4, 4
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  q, own, before = draw(B, K, G, R, T, E), (draw(B, K, G, T, E), draw(B, K, G, T, E)), (draw(B, K, 1, S, E),) * 2
  valid, early = np.ones((B, G, T), bool), np.arange(S)[None, None] >= np.array([0, 2])[:, None, None]
  at, first = np.broadcast_to(S + np.arange(T), (B, G, T)), np.broadcast_to(np.arange(S), (B, 1, S))
  want = attend(q, [(*before, visible(at, first, early)), (*own, visible(at, at, valid))], cfg.attention_scale)

  def through_nn(*arrays):
    return by_nn(*arrays, implementation="xla")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("grpo_jax.models.tree_attention.by_nn", through_nn)
    cudnn = dataclasses.replace(cfg, compute_dtype="bfloat16", attention="cudnn")
    got = tree_attention(q, [(*before, early), (*own, valid)], cudnn)
  assert tiny.gap(got, want) <= 1e-5

"""A group in one kernel against the plain attention: every kind of layer, on one device and on a mesh."""

import dataclasses
import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from families import FAMILIES

from grpo_jax.distributed.mesh import batch_shardings, make_mesh, state_shardings
from grpo_jax.models.attention import attend, visible
from grpo_jax.models.row_attention import Row, _kernel, by_nn, row_attention
from grpo_jax.models.rows import branches


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr("grpo_jax.models.packing.SMALLEST", 2)


@functools.partial(jax.jit, static_argnums=(1, 5))
def value_and_gradient(params, cfg, prompts, tokens, mask, N):
  weights = np.random.default_rng(5).normal(size=(*tokens.shape, cfg.width)).astype(np.float32)

  def loss(params):
    hidden, packing = branches(params, cfg, prompts, tokens, mask, N)
    hidden = packing.back(hidden[:, 0].astype(jnp.float32))
    return jnp.sum(weights * hidden), hidden

  (_, hidden), gradient = jax.value_and_grad(loss, has_aux=True)(params)
  return hidden, gradient


def both(cfg, *batch):
  """Hidden states and gradients by the plain attention and by the kernel; the batch ends with N."""
  params = tiny.params(cfg)
  kernel = dataclasses.replace(cfg, attention="splash_interpreted")
  return tuple(jax.device_get(value_and_gradient(params, c, *batch)) for c in (cfg, kernel))


@pytest.mark.parametrize("family, scan, remat, N", [("gemma2", True, True, 64), ("qwen2_window", False, False, 0)])
def test_kernel_is_the_plain_attention(family, scan, remat, N):
  cfg = tiny.config(scan_layers=scan, remat=remat, **FAMILIES[family])
  plain, kernel = both(cfg, tiny.prompts(), *tiny.completions(), N)
  assert tiny.gap(kernel, plain) <= 1e-5


def test_in_bfloat16():
  cfg = tiny.config(compute_dtype="bfloat16", num_layers=1)
  plain, kernel = both(cfg, tiny.prompts(), *tiny.completions(), 64)
  assert tiny.gap(kernel[0], plain[0]) <= 2e-2


@pytest.mark.parametrize("G, T, N", [(3, 128, 0), (2, 96, 0), (3, 128, 640)])  # one block each; across blocks; packed
def test_several_blocks(G, T, N):
  cfg = tiny.config(num_layers=1, layer_windows=(40,))
  batch = tiny.prompts((3, 150), P=150), *tiny.completions(2, G, T), N
  assert not N or batch[2].sum() <= N - 2
  plain, kernel = both(cfg, *batch)
  assert tiny.gap(kernel, plain) <= 1e-5


@pytest.mark.parametrize("sizes, attention, N", [
  ((2, 2, 2), "splash_interpreted", 18), ((4, 2, 1), "splash_interpreted", 10), ((4, 2, 1), "xla", 0),
  ((2, 1, 2, 2), "xla", 60), ((2, 2, 1, 2), "xla", 0)])
def test_on_a_mesh(sizes, attention, N):
  """Heads over tensor, rows over data and fsdp; where four prompts do not fill eight devices, groups are two rows."""
  cfg = tiny.config(scan_layers=True, remat=True, attention=attention)
  params, batch = tiny.params(cfg), (tiny.prompts(), *tiny.completions())
  mesh = make_mesh(*sizes)
  place = lambda tree, of: jax.device_put(tree, of(mesh, tree))  # noqa: E731
  prompts, tokens, mask = (place(a, batch_shardings) for a in batch)
  with jax.set_mesh(mesh):
    got = value_and_gradient(place(params, state_shardings), cfg, prompts, tokens, mask, N)
  want = value_and_gradient(params, cfg, *batch, 0)
  assert tiny.gap(jax.device_get(got), jax.device_get(want)) <= 1e-5


@pytest.mark.parametrize("window", [0, 3, 9])
@pytest.mark.parametrize("lengths", [(6, 6, 6), (2, 6, 1, 5)])
def test_a_row_is_positions_and_completions(lengths, window):
  """The mask against its definition: shared or the same completion, not later, within the window; and its blocks."""
  shared, T = 5, 6
  member = np.repeat(np.arange(-1, len(lengths)), (shared, *lengths))
  ages = np.concatenate([np.zeros(shared), *map(np.arange, lengths)]).astype(np.int32)
  position = np.where(member < 0, np.arange(len(member)), shared + ages)
  own = (member[:, None] == member[None]) | (member[None] == -1)
  want = own & (position[None] <= position[:, None]) & np.tri(len(member), dtype=bool)
  want &= (position[:, None] - position[None] < window) if window else True
  row = Row(shared, 1, T, lengths == (6, 6, 6), window)
  np.testing.assert_array_equal(row(row.codes(ages[None])[0][:, None], np.arange(len(member))[None]), want)
  for q, k in itertools.product(range(0, len(member) - 3, 4), repeat=2):
    block = want[q : q + 4, k : k + 4]
    some, every = row.seen(q, q + 3, k, k + 3)
    assert some >= block.any() and every <= block.all()
    assert not (row.whole and k >= shared) or (some == block.any() and every == (block.all() and not window))


def test_the_table_of_blocks_costs_the_host_nothing():
  """65,536 tokens: the kernel's tables are made from the ends of blocks, never from pairs of tokens."""
  started = time.process_time()
  _kernel.__wrapped__(Row(512, 1, 1024, False), 4, 65_536, 512, 0.0, True)
  assert time.process_time() - started < 5


def test_rows_too_long_for_the_codes_are_refused():
  with pytest.raises(ValueError, match=r"train\.micro_members"):
    Row(0, 1, 2**16, False).codes(np.zeros((1, 2**16), np.int32))


def test_the_packed_row_that_cudnn_gets():
  """The packing and mask of the GPU path, through the same function of jax's without cuDNN."""
  cfg = tiny.config()
  rng, B, K, G, R, T, S, E = np.random.default_rng(0), 2, 2, 3, 2, 5, 4, 4
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  q, own, before = draw(B, K, G, R, T, E), (draw(B, K, G, T, E), draw(B, K, G, T, E)), (draw(B, K, 1, S, E),) * 2
  valid, early = np.ones((B, G, T), bool), np.arange(S)[None, None] >= np.array([0, 2])[:, None, None]
  at, first = np.broadcast_to(S + np.arange(T), (B, G, T)), np.broadcast_to(np.arange(S), (B, 1, S))
  want = attend(q, [(*before, visible(at, first, early)), (*own, visible(at, at, valid))], cfg.attention_scale)
  q = np.concatenate([draw(B, K, 1, R, S, E), q.swapaxes(2, 3).reshape(B, K, 1, R, G * T, E)], 4)
  keys = [np.concatenate([a, b.reshape(B, K, 1, G * T, E)], 3) for a, b in zip(before, own, strict=True)]
  valid = np.concatenate([early[:, 0], valid.reshape(B, -1)], 1)
  ages = np.concatenate([np.zeros((B, S)), np.broadcast_to(np.arange(G * T) % T, (B, G * T))], 1).astype(np.int32)

  def through_nn(*arrays):
    return by_nn(*arrays, implementation="xla")

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("grpo_jax.models.row_attention.by_nn", through_nn)
    cudnn = dataclasses.replace(cfg, compute_dtype="bfloat16", attention="cudnn")
    got = row_attention(q, *keys, valid.astype(np.int32), ages, Row(S, 1, T, True), cudnn)
  got = got[..., S:, :].reshape(B, K, R, G, T, E).swapaxes(2, 3)
  assert tiny.gap(got, want) <= 1e-5

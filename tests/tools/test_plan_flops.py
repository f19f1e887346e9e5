"""The counter of matrix products, by hand."""

import jax
import jax.numpy as jnp
import pytest
import tiny

from grpo_jax.models.decoder import prefill
from grpo_jax.models.rows import branches
from grpo_jax.sampling.generate import generate
from grpo_jax.tools.flops import matmul_flops
from grpo_jax.types import SampleRequest

A, B = jnp.ones((2, 3)), jnp.ones((3, 5))
ONE = 2 * 2 * 3 * 5


def test_one_product_and_a_batch_of_them():
  assert matmul_flops(jnp.matmul, A, B) == ONE
  assert matmul_flops(jax.vmap(jnp.matmul, (0, None)), jnp.ones((4, 2, 3)), B) == 4 * ONE


def test_scans_count_their_trips():
  looped = lambda a, b: jax.lax.scan(lambda c, _: (c, a @ b), 0, None, length=7)[1]  # noqa: E731
  assert matmul_flops(jax.jit(looped), A, B) == 7 * ONE


def test_a_gradient_costs_twice_and_recomputing_once_more():
  f = lambda a, b: jnp.sum(jnp.sin(a @ b))  # noqa: E731
  assert matmul_flops(jax.grad(f, (0, 1)), A, B) == 3 * ONE
  assert matmul_flops(jax.grad(jax.checkpoint(f), (0, 1)), A, B) == 4 * ONE


@pytest.mark.parametrize("loss", [False, True])
def test_a_kernel_counts_its_blocks(loss):
  """Two completions of a block each behind a prompt of one: the blocks at and below the diagonal that hold a pair.

  Backward, both kernels make the scores again, and a sum over heads and width is a product too.
  """

  def attention(kind):
    cfg = tiny.config(num_layers=1, attention=kind)
    prompts, (tokens, mask) = tiny.prompts((129,), P=129), tiny.completions(1, 2, 128)
    hidden = lambda params: branches(params, cfg, prompts, tokens, mask)[0]  # noqa: E731
    return matmul_flops(jax.grad(lambda p: jnp.sum(hidden(p))) if loss else hidden, tiny.params(cfg), while_trips=1000)

  one = 2 * 4 * 4  # heads × width, for a query and a key
  plain, kernel = one * 2 * 128 * 256, one * 3 * 2 * 128**2  # rows of blocks in the kernel's grid are two wide
  prompt = 2 * 128 * (2 * 16 * 16 + 3 * 16 * 24)  # only the plain form leaves the prompt out after its keys and values
  difference = attention("splash_interpreted") - attention("xla")
  if loss:
    assert difference == (2 + 3 + 4) * kernel - (2 + 4) * plain + one * 384 + 3 * prompt
  else:
    assert difference == 2 * (kernel - plain) + prompt


def test_a_branch_counts_the_dearest_and_a_while_loop_is_refused():
  branch = lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: jnp.zeros((2, 5)))  # noqa: E731
  assert matmul_flops(branch, A, B) == ONE
  with pytest.raises(ValueError, match="trip count"):
    matmul_flops(lambda a: jax.lax.while_loop(lambda c: c[0, 0] < 9, lambda c: c @ c, a), jnp.ones((2, 2)))


@pytest.mark.parametrize("slots, tokens", [(0, 64), (16, 64), (4, 4 * 64)])
def test_the_sampler_is_counted_to_the_last_token(cfg, params, prompts, slots, tokens):
  """Its chunks and rounds, and no later stage: twice as many members, twice the work of all but the prefill."""

  def flops(G, stops):
    request = SampleRequest(group_size=G, max_new_tokens=64, stop_ids=stops, slots=slots)
    return matmul_flops(lambda p, q: generate(p, cfg, q, 0, request), params, prompts)

  prefill_only = matmul_flops(lambda p, q: prefill(p, cfg, q).keys, params, prompts)
  step = (flops(4, ()) - prefill_only) / tokens
  assert flops(4, (2, 5)) == flops(4, ()) and step == int(step)
  if not slots:
    assert (flops(8, ()) - prefill_only) / tokens == 2 * step

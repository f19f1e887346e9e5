"""How microbatches are cut and added up, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from grpo_jax.training.accumulate import Cut, accumulate, merged
from grpo_jax.types import Experience, Prompts


def test_sums_are_divided_once():
  """loss = sum(w · mask) / sum(mask) with microbatches of unequal counts: a mean of means would be 1.5."""
  mask = np.array([[[1, 1, 1]], [[1, 0, 0]]], bool)
  rows = np.zeros((2, 2), np.int32)
  advantages = np.array([[[1.0]], [[2.0]]], np.float32)
  batch = Experience(Prompts(rows, rows > 0, rows[:, 0]), np.zeros((2, 1, 3), np.int32), mask, mask * 0.0, advantages)

  def loss(w, micro):
    count = jnp.sum(micro.mask_BGT)
    total = w * jnp.sum(micro.mask_BGT * micro.advantages_BGT)
    return total, (count, {"loss": (total, count), "most_max": (jnp.max(micro.advantages_BGT), jnp.ones(()))})

  for cut in (Cut(), Cut(prompts=1)):
    gradient, metrics = accumulate(loss, jnp.float32(2.0), batch, cut)
    assert float(gradient) == (3 * 1 + 1 * 2) / 4
    assert tuple(map(float, metrics["loss"])) == (10.0, 4.0)
    assert float(metrics["most_max"][0]) == 2.0


def test_a_cut_through_a_batch_of_arithmetic_size():
  """128 prompts of G = 5, microbatches of 8 prompts × 1 member: 80 accumulation steps, each on 8 sequences."""
  shape = lambda *sizes: jnp.zeros(sizes, bool)  # noqa: E731
  batch = Experience(Prompts(shape(128, 2), shape(128, 2), shape(128)), *[shape(128, 5, 3)] * 3, shape(128, 5, 1))
  calls = []

  def loss(params, micro):
    calls.append(micro.mask_BGT.shape)
    return jnp.sum(params * 0.0), (1, {"microbatches": (jnp.ones(()), jnp.ones(()))})

  _, metrics = accumulate(loss, jnp.zeros(2), batch, Cut(prompts=8, members=1))
  assert float(metrics["microbatches"][0]) == 80 and set(calls) == {(8, 1, 3)}


def test_metrics_merge_by_sum_and_maxima_by_maximum():
  a, b = {"x": (1.0, 2), "y_max": (3.0, 1)}, {"x": (10.0, 20), "y_max": (2.0, 1)}
  assert jax.tree.map(float, merged(a, b)) == {"x": (11.0, 22.0), "y_max": (3.0, 1.0)}

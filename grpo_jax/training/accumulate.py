"""Gradient accumulation: how a minibatch is cut to save memory without changing a result."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from grpo_jax.types import Experience


@dataclass(frozen=True)
class Cut:
  """How a minibatch is cut to save memory and time; never changes a result. 0 is the whole axis."""

  prompts: int = 0  # prompts per microbatch
  members: int = 0  # completions of each prompt per microbatch
  logit_chunk: int = 0  # tokens of T per chunk of logits; 0 chooses
  row: int = 0  # tokens of a packed row (models/packing.py), as many as the mask counts at most; 0 is room for all


def _microbatches(batch: Experience, cut: Cut) -> Experience:
  """The same batch with a leading axis of (prompts × members) cuts; strided, so that each device keeps its rows."""
  B, G = batch.mask_BGT.shape[:2]
  b, g = cut.prompts or B, cut.members or G
  nb, ng = B // b, G // g

  def rows(a):  # [B, ...] -> [nb, b, ...]
    return jnp.swapaxes(a.reshape(b, nb, *a.shape[1:]), 0, 1)

  def members(a):  # [B, G, ...] -> [nb * ng, b, g, ...]
    a = rows(a).reshape(nb, b, ng, g, *a.shape[2:])
    return jnp.swapaxes(a, 1, 2).reshape(nb * ng, b, g, *a.shape[4:])

  prompts = jax.tree.map(lambda a: jnp.repeat(rows(a), ng, 0), batch.prompts)
  grouped = jax.tree.map(members, batch.replace(prompts=None))
  return grouped.replace(prompts=prompts)


def map_microbatches(fn, batch: Experience, cut: Cut):
  """`fn(microbatch)`, an array `[b, g, T]`, over the whole minibatch in its order: a pass without gradients."""
  B, G = batch.mask_BGT.shape[:2]
  out = jax.lax.map(fn, _microbatches(batch, cut))
  n, b, g = out.shape[:3]
  out = jnp.swapaxes(out.reshape(n * g // G, G // g, b, g, *out.shape[3:]), 1, 2)
  return jnp.swapaxes(out.reshape(n * g // G, b, G, *out.shape[4:]), 0, 1).reshape(B, G, *out.shape[4:])


def accumulate(loss_fn, params, batch: Experience, cut: Cut):
  """Gradient of (sum of numerators) / (sum of denominators) over microbatches, and summed metrics.

  `loss_fn(params, microbatch) -> (numerator, (denominator, metrics))`. Metrics are (sum, count); those whose name
  ends in `_max` are combined by maximum.
  """
  grad = jax.value_and_grad(loss_fn, has_aux=True)

  def one(micro):
    (_, (denominator, metrics)), grads = grad(params, micro)
    return grads, jnp.asarray(denominator, jnp.float32), metrics

  micros = _microbatches(batch, cut)
  first = jax.tree.map(lambda a: a[0], micros)
  if micros.mask_BGT.shape[0] == 1:
    grads, denominator, metrics = one(first)
  else:

    def add(total, micro):
      grads, denominator, metrics = one(micro)
      return (jax.tree.map(jnp.add, total[0], grads), total[1] + denominator, merged(total[2], metrics)), None

    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(one, first))
    (grads, denominator, metrics), _ = jax.lax.scan(add, zeros, micros)
  return jax.tree.map(lambda g: divided(g, denominator), grads), metrics


def divided(numerator, denominator):
  """Their quotient, and the numerator where the denominator is 0 because no token counts; it may be below 1."""
  return numerator / jnp.where(denominator > 0, denominator, 1)


def merged(a: dict, b: dict) -> dict:
  """Metrics of two parts of a batch as one."""
  return {
    name: jax.tree.map(jnp.maximum if name.endswith("_max") else jnp.add, a[name], b[name]) for name in a
  }

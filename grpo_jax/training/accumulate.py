"""Gradient accumulation: how a minibatch is cut to save memory without changing a result."""

import jax
import jax.numpy as jnp

from grpo_jax.training.dealing import Cut, group_order, member_order
from grpo_jax.types import Experience


def _microbatches(batch: Experience, cut: Cut):
  """The same batch with a leading axis of (prompts × members) cuts, and the order in which groups and members stand.

  Strided, so that each device keeps its rows. Packed rows are dealt out by length first; others stay as they are.
  """
  B, G = batch.mask_BGT.shape[:2]
  b, g = cut.sizes(B, G)
  parts, n, groups, members = G // g, B // b * (G // g), None, None
  prompts, rest = batch.prompts, batch.replace(prompts=None)
  if cut.row:
    mesh, lengths_BG = jax.sharding.get_abstract_mesh(), jnp.sum(batch.mask_BGT, -1, dtype=jnp.int32)
    members = member_order(lengths_BG, cut, mesh)
    rest = rest if members is None else jax.tree.map(lambda a: _along(a, members), rest)
    groups = group_order(jnp.sum(jnp.sum(rest.mask_BGT, -1).reshape(B * parts, g), -1), n, cut, mesh, g)
  rest = jax.tree.map(lambda a: a.reshape(B * parts, g, *a.shape[2:]), rest)
  prompts = jax.tree.map(lambda a: jnp.repeat(a, parts, 0) if parts > 1 else a, prompts)
  grouped = rest.replace(prompts=prompts)
  if groups is not None:
    grouped = jax.tree.map(lambda a: a[groups], grouped)
  micros = jax.tree.map(lambda a: jnp.swapaxes(a.reshape(b, n, *a.shape[1:]), 0, 1), grouped)
  return micros, groups, members


def _along(a, members_BG):
  """The members of each group in another order."""
  return jnp.take_along_axis(a, members_BG.reshape(*members_BG.shape, *(1 for _ in a.shape[2:])), 1)


def map_microbatches(fn, batch: Experience, cut: Cut):
  """`fn(microbatch)`, an array `[b, g, …]`, over the whole minibatch, in its order: a pass without gradients."""
  B, G = batch.mask_BGT.shape[:2]
  micros, groups, members = _microbatches(batch, cut)
  out = jax.lax.map(fn, micros) if len(micros.mask_BGT) > 1 else fn(jax.tree.map(lambda a: a[0], micros))[None]
  out = jnp.swapaxes(out, 0, 1).reshape(-1, *out.shape[2:])
  out = out if groups is None else out[jnp.argsort(groups)]
  out = out.reshape(B, G, *out.shape[2:])
  return out if members is None else _along(out, jnp.argsort(members, 1))


def accumulate(loss_fn, params, batch: Experience, cut: Cut):
  """Gradient of (sum of numerators) / (sum of denominators) over microbatches, and summed metrics.

  `loss_fn(params, microbatch) -> (numerator, (denominator, metrics))`. Metrics are (sum, count); those whose name
  ends in `_max` are combined by maximum.
  """
  grad = jax.value_and_grad(loss_fn, has_aux=True)

  def one(micro):
    (_, (denominator, metrics)), grads = grad(params, micro)
    return grads, jnp.asarray(denominator, jnp.float32), metrics

  micros = _microbatches(batch, cut)[0]
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

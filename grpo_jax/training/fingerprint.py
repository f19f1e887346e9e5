"""Hashes of arrays on the device: the same on every mesh, so that what was saved anywhere can be checked anywhere."""

import jax
import jax.numpy as jnp

SEEDS = (0x9E3779B9, 0x7F4A7C15)


def _mixed(x):
  """Murmur3's finalizer: each bit of the result depends on each bit of a uint32."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def leaf_fingerprint(leaf):
  """64 bits of an array, `[2]` uint32: two sums over its elements, each mixed with its place.

  Whole numbers modulo 2^32, so the order of adding does not matter. Any changed, moved or swapped value shows.
  """
  width = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
  leaf = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
  bits = jax.lax.bitcast_convert_type(leaf, width).astype(jnp.uint32)
  place = jnp.zeros(leaf.shape, jnp.uint32)
  for axis in range(leaf.ndim):
    place = _mixed(place + jnp.uint32(axis + 1)) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
  return jnp.stack([jnp.sum(_mixed(bits ^ _mixed(place + jnp.uint32(seed))), dtype=jnp.uint32) for seed in SEEDS])


def leaf_fingerprints(tree):
  """`[leaves, 2]` uint32, in the order of `jax.tree.leaves`."""
  return jnp.stack([leaf_fingerprint(leaf) for leaf in jax.tree.leaves(tree)])


def fingerprint(tree):
  """One for a whole tree, `[2]` uint32."""
  total = jnp.zeros(2, jnp.uint32)
  for one in leaf_fingerprints(tree):
    total = total * jnp.uint32(31) + one
  return total

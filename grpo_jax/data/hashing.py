"""Hashes that are the same on every machine and Python version (unlike `hash`)."""

import hashlib


def stable_hash(*parts: object) -> int:
  """128 bits, as an integer, that depend on the text of the parts alone."""
  text = "\x1f".join(str(part) for part in parts)
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def unit_hash(*parts: object) -> float:
  """A number in [0, 1), uniform over distinct parts."""
  return (stable_hash(*parts) >> 75) / 2**53

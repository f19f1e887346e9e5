"""Which run a config is: a hash of everything that what is computed depends on."""

import hashlib
import json

from ml_collections import ConfigDict

# What may change between two starts of one run: how it is watched and kept, not what is computed.
FREE_KEYS = (
  "checkpoint", "distributed", "doctor", "log", "contamination",
  "rewards.workers", "rewards.deadline_seconds", "rewards.self_test", "train.max_skips",
)


def identity(config: ConfigDict) -> str:
  """Eight hex digits of everything that what is computed depends on; the keys of `FREE_KEYS` are left out."""
  return hashlib.sha256(json.dumps(identity_items(config), sort_keys=True).encode()).hexdigest()[:8]


def identity_items(config: ConfigDict) -> dict:
  """Flat key -> value of the config without the free keys."""
  items = flat(config.to_dict()).items()
  return {k: v for k, v in items if not any(k == free or k.startswith(f"{free}.") for free in FREE_KEYS)}


def flat(tree: dict, prefix: str = "") -> dict:
  """{"a": {"b": 1}} as {"a.b": 1}; tuples as lists, as JSON has them."""
  items = {}
  for key, value in tree.items():
    name = f"{prefix}{key}"
    if isinstance(value, dict):
      items |= flat(value, f"{name}.")
    else:
      items[name] = list(value) if isinstance(value, tuple) else value
  return items

"""Which run a config is: a hash of everything that what is computed depends on; and what a later start may change."""

import hashlib
import json

from ml_collections import ConfigDict

# How a run is watched and kept, not what is computed: no part of its identity.
FREE_KEYS = (
  "checkpoint", "distributed", "doctor", "log", "contamination",
  "rewards.workers", "rewards.deadline_seconds", "rewards.self_test", "train.max_skips",
)
# Part of the identity, which names the default folder, but free to change when a run in a folder goes on: layout,
# memory, and how often and on how much it is evaluated. They change last bits at most.
RESUMABLE_KEYS = (
  "name", "evaluate", "mesh", "sampling.slots", "train.micro_prompts", "train.micro_members", "train.logit_chunk",
  "train.token_budgets", "sft.micro_batch", "preference.micro_batch", "model.remat", "model.scan_layers",
  "model.attention", "rewards.max_error_rate",
)
# Where a stage ends: (the stages it ends, optimizers whose schedules depend on it).
ENDS = {
  "sft.steps": (("sft",), ("sft_optimizer",)),
  "train.iterations": (("rl",), ("optimizer", "critic_optimizer")),
  "preference.steps": (("dpo", "reward_model"), ("optimizer",)),
}


def identity(config: ConfigDict) -> str:
  """Eight hex digits of everything that what is computed depends on; the keys of `FREE_KEYS` are left out."""
  return hashlib.sha256(json.dumps(identity_items(config), sort_keys=True).encode()).hexdigest()[:8]


def identity_items(config: ConfigDict) -> dict:
  """Flat key -> value of the config without the free keys."""
  return {k: v for k, v in flat(config.to_dict()).items() if not below(k, FREE_KEYS)}


def resumable(key: str, trains: bool) -> bool:
  """Whether a run may go on with another value of this key; of one that trains nothing, evaluate.* is the result."""
  return below(key, RESUMABLE_KEYS) and (trains or not below(key, ("evaluate",)))


def below(key: str, parents: tuple[str, ...]) -> bool:
  """Whether a key is one of these, or in one of these sections."""
  return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


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

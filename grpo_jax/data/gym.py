"""Tasks of reasoning-gym (Apache-2.0, 105 procedural tasks) as sources: deterministic by seed, no network."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from grpo_jax.data.contamination import normalized
from grpo_jax.data.example import Example
from grpo_jax.data.hashing import unit_hash

HELDOUT_SHARE = 0.2  # of all problems, by a hash of the prompt alone
SEEDS = 2**22  # generator seeds that a seed owns, half for each split: entry i is made from the base seed plus i
DRAWS = 20  # entries looked at for each one wanted; part of the contract with the reward, as the generator's `size`


class GymSource:
  """One task. Held-out problems are made from other seeds, and no prompt is in both splits.

  `Example.answer` says how to make the entry again, which is how the reward rule `reasoning_gym` finds the task's own
  scorer: {"task", "config", "seed", "size", "index"}. `solution` is the entry's gold text.
  """

  def __init__(self, task: str, config: Mapping[str, Any], *, split: str, size: int, seed: int):
    self._task, self._split = task, split
    if size < 1 or size * DRAWS > SEEDS // 2:
      raise ValueError(f"reasoning_gym: {split}_size={size} must lie in 1 … {SEEDS // 2 // DRAWS}; change it.")
    if not 0 <= seed < 2**32 // SEEDS:
      raise ValueError(f"reasoning_gym: seed={seed} must lie in 0 … {2**32 // SEEDS - 1}; change it.")
    base = seed * SEEDS + (split == "heldout") * (SEEDS // 2)
    self._recipe = {"task": task, "config": dict(config), "seed": base, "size": size * DRAWS}
    self._entries = make_task(**self._recipe)
    self._rows = self._kept(size)

  def _kept(self, size: int) -> np.ndarray:
    """Indices of the first `size` entries of this split whose prompts are all different."""
    seen, kept, i = set(), [], 0
    while len(kept) < size and i < size * DRAWS:
      text = normalized(self._entries[i]["question"])
      if text not in seen and (unit_hash("heldout", text) < HELDOUT_SHARE) == (self._split == "heldout"):
        kept.append(i)
      seen.add(text)
      i += 1
    if len(kept) < size:
      raise ValueError(
        f"reasoning_gym: {self._split}_size={size} must not exceed the distinct problems of {self._task}, about"
        f" {len(kept)} with this config; lower it or make the task larger."
      )
    return np.asarray(kept, np.int64)

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, i: int) -> Example:
    index = int(self._rows[i])
    entry = self._entries[index]
    answer = json.dumps(self._recipe | {"index": index}, sort_keys=True)
    return Example(entry["question"], answer, str(entry["answer"]), self._task)


def make_task(task: str, config: Mapping[str, Any], seed: int, size: int) -> Any:
  """The generator of a task: a sequence of {"question", "answer", "metadata"}.

  Raises:
    ValueError: the package knows no such task or option.
  """
  import reasoning_gym  # takes seconds
  from reasoning_gym.factory import DATASETS

  if task not in DATASETS:
    raise ValueError(f"reasoning_gym: task={task!r} must be one of {', '.join(sorted(DATASETS))}; change it.")
  try:
    return reasoning_gym.create_dataset(task, **config, seed=seed, size=size)
  except (TypeError, AssertionError, ValueError) as error:
    raise ValueError(
      f"reasoning_gym: config={dict(config)!r} must be options of the task {task} ({error}); correct it."
    ) from None

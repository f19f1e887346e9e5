"""Flat overrides of a config, and the checks of a whole run that need neither device nor compilation."""

import difflib
from collections.abc import Mapping

from ml_collections import ConfigDict

from grpo_jax.config.identity import flat
from grpo_jax.config.stages import kind_of
from grpo_jax.data.sources import make_source
from grpo_jax.rewards.components import make_component
from grpo_jax.runs.model import load_model
from grpo_jax.runs.validate import validate

OPEN = ("data", "rewards.components")  # sections whose keys the schema does not list


def changed(config: ConfigDict, overrides: Mapping) -> ConfigDict:
  """The config itself, with its keys replaced.

  Raises:
    ValueError: a key that the schema lacks, or a value of another type than its key's.
  """
  for key, value in overrides.items():
    if any(key == section or key.startswith(f"{section}.") for section in OPEN):
      _set_open(config, key, value)
      continue
    known = flat(config.to_dict())
    if key not in known:
      near = "".join(f"; did you mean {name!r}?" for name in difflib.get_close_matches(key, known, 1))
      raise ValueError(f"{key}={value!r} is not a key of the schema (grpo_jax/config/defaults.py){near}")
    try:
      config.update_from_flattened_dict({key: value})
    except (TypeError, ValueError) as error:
      kind = type(known[key]).__name__ if known[key] is not None else "of its placeholder's type"
      raise ValueError(f"{key}={value!r} must be {kind}, as in grpo_jax/config/defaults.py; change it.") from error
  return config


def _set_open(config: ConfigDict, key: str, value) -> None:
  """Replaces a key of an open section, or with a mapping for a value the whole of what is there."""
  *path, last = key.split(".")
  with config.unlocked():
    section = config
    for name in path:
      if name not in section:
        section[name] = ConfigDict()
      section = section[name]
    if last in section and isinstance(value, Mapping):
      del section[last]  # else the two would be merged
    section[last] = ConfigDict(value) if isinstance(value, Mapping) else value


def check_run(config: ConfigDict, seen: set[str]) -> None:
  """Raises ValueError for what the trainer would refuse, short of devices; parts in `seen` are not checked again."""
  if not kind_of(config.task).trains:
    raise ValueError(f"task={config.task!r} trains nothing, so there is no curve to compare; choose a training task.")
  validate(config)
  parts = repr([config[name].to_dict() for name in ("data", "rewards", "model", "tokenizer")])
  if parts in seen:
    return
  make_source(config.data.to_dict(), "train")
  for name, component in config.rewards.components.to_dict().items():
    make_component(name, component)
  load_model(config)
  seen.add(parts)

"""The file that says which config a run's folder belongs to, with a digest of itself."""

import hashlib
import json
import pathlib

from grpo_jax.reading import read_json

CONFIG = "config.json"


def config_text(identity: dict, config: dict) -> str:
  """The text of config.json."""
  data = json.loads(json.dumps({"identity": identity, "config": config}, default=str))
  return json.dumps(data | {"digest": _digest(data)}, indent=1, sort_keys=True)


def checked_config(path: pathlib.Path, fix: str = "restore it from a copy") -> dict:
  """{"identity", "config"} of a run; ValueError where the file is cut or changed. Earlier code wrote no digest."""
  data = read_json(path, fix)
  digest = data.pop("digest", None)
  if "identity" not in data or "config" not in data or (digest and digest != _digest(data)):
    raise ValueError(f"{path} is not what was written, its digest is another; {fix}.")
  return data


def _digest(data: dict) -> str:
  return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

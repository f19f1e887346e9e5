"""Paths of a config are folders and files of this machine, or of what is mounted there."""

import re
from collections.abc import Mapping
from typing import Any

_NAMES_PATH = re.compile(r"(workdir|path|paths|dir|folder|file|files|model|source|target)$")


def check_local(values: Any, key: str = "") -> None:
  """Raises ValueError naming the first key whose path is an address, such as gs://bucket/run."""
  if isinstance(values, Mapping):
    for name, value in values.items():
      check_local(value, f"{key}.{name}" if key else str(name))
  elif isinstance(values, list | tuple):
    for value in values:
      check_local(value, key)
  elif isinstance(values, str) and "://" in values and _NAMES_PATH.search(key):
    raise ValueError(f"{key}={values!r} is an address, and paths must be local; mount the bucket (gcsfuse) or copy it, "
                     "and give that folder.")

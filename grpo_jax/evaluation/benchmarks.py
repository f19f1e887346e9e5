"""Benchmarks by name: each is a config's data, rewards and lengths."""

from ml_collections import ConfigDict


def benchmark(name: str, config: ConfigDict) -> dict:
  """The config keys that a benchmark sets. ValueError names the known ones."""
  raise ValueError(name)

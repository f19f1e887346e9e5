"""Dynamic group size: as many completions per prompt as it takes for most groups to have signal, no more."""

from ml_collections import ConfigDict


def group_buckets(config: ConfigDict) -> tuple[int, ...]:
  """The group sizes that are compiled."""
  return tuple(config.sampling.group_sizes) or (config.sampling.group_size,)


def members(config: ConfigDict, algorithm_state: dict) -> tuple[int, int]:
  """(members that take part, compiled size) of the next rollout.

  With pass rate p, a group of n has signal with probability 1 - p^n - (1 - p)^n. The least n that reaches
  `sampling.group_signal` is taken, at most the largest size; members beyond it are masked. p is a moving average that
  lives in the state.
  """
  sizes = group_buckets(config)
  if not config.sampling.group_sizes:
    return sizes[0], sizes[0]
  p, largest = float(algorithm_state["pass_rate"]), sizes[-1]
  enough = (n for n in range(2, largest) if 1 - p**n - (1 - p) ** n >= config.sampling.group_signal)
  n = next(enough, largest)
  return n, min(size for size in sizes if size >= n)

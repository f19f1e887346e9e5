"""Dynamic group size: as many completions per prompt as it takes for most groups to have signal, no more."""


def members(sizes: tuple[int, ...], signal: float, algorithm_state: dict) -> tuple[int, int]:
  """(members that take part, compiled size) of the next rollout, of the group sizes that are compiled.

  With pass rate p, a group of n has signal with probability 1 - p^n - (1 - p)^n. The least n that reaches `signal` is
  taken, at most the largest size; members beyond it are masked. p is a moving average that lives in the state; without
  it there is one size.
  """
  if "pass_rate" not in algorithm_state:
    return sizes[0], sizes[0]
  p, largest = float(algorithm_state["pass_rate"]), sizes[-1]
  n = next((n for n in range(2, largest) if 1 - p**n - (1 - p) ** n >= signal), largest)
  return n, min(size for size in sizes if size >= n)

"""Rewards with planted faults, by dotted path."""


def constant(completion, example, context):
  """Everything is as good as everything else."""
  return 0.5


def broken(completion, example, context):
  """Fails on every completion."""
  raise RuntimeError("no such file")


def hackable(completion, example, context):
  """Full marks for any digit at all."""
  return float(any(c.isdigit() for c in completion))

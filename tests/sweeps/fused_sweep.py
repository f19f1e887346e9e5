"""A sweep over tests/runs/tiny_fused.py: two arms that differ in a number, and one that the host must drive."""

from grpo_jax.sweeps.spec import Sweep, listed

SMALL = {"train.prompts": 4, "train.minibatch_prompts": 2, "train.iterations": 4, "evaluate.samples": 1, "mesh.data": 1}


def get_sweep():
  """Two seeds each."""
  arms = listed({"algorithm.beta": 0.0}, {"algorithm.beta": 0.5}, {"train.fused_iterations": 0})
  return Sweep("fused", base="tests/runs/tiny_fused.py", seeds=2, arms=arms, common=SMALL)

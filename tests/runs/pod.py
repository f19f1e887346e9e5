"""One process of a pod, for tests: `python tests/runs/pod.py WORKDIR OUT key=value …` trains the tiny config.

Writes what the first iteration sampled and learned to OUT, an npz, from the first process.
"""

import ast
import pathlib
import runpy
import sys

import jax
import numpy as np

from grpo_jax import main
from grpo_jax.distributed.multihost import fetch, initialize, is_first
from grpo_jax.distributed.preemption import Preempted
from grpo_jax.runs import rl


def watched(out: str):
  """RLRun.iterate, which also writes the first iteration's arrays and numbers."""
  original = rl.RLRun.iterate

  def iterate(self, state, iteration):
    state, numbers, experience = original(self, state, iteration)
    if iteration == 1:
      arrays = {name: fetch(getattr(experience, name)) for name in ("tokens_BGT", "mask_BGT", "advantages_BGT")}
      params = fetch(state.params)
      if is_first():
        flat = {f"params{jax.tree_util.keystr(k)}": v for k, v in jax.tree_util.tree_leaves_with_path(params)}
        scalars = {k: v for k, v in numbers.items() if isinstance(v, float) and not k.startswith("time/")}
        np.savez(out, **arrays, **flat, **{f"number/{k}": v for k, v in scalars.items()})
    return state, numbers, experience

  return iterate


if __name__ == "__main__":
  initialize()
  workdir, out, *changes = sys.argv[1:]
  config = runpy.run_path(str(pathlib.Path(__file__).with_name("tiny_run.py")))["get_config"]()
  config.task, config.completion_buckets, config.prompt_buckets, config.evaluate.every = "rl", (9,), (6,), 0
  config.update_from_flattened_dict({k: ast.literal_eval(v) for k, v in (c.split("=", 1) for c in changes)})
  rl.RLRun.iterate = watched(out)
  try:
    main.run(config, pathlib.Path(workdir))
  except Preempted as stop:
    print("preempted", stop)
  except ValueError as error:
    sys.exit(f"error: {error}")

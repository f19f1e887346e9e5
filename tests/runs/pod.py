"""One process of a pod, for tests: `python tests/runs/pod.py WORKDIR OUT [stop=STEP] key=value …` trains a tiny config.

Writes what the first iteration it makes sampled and learned to OUT, an npz, from the first process. With `stop` it ends
after the checkpoint of that step.
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
from grpo_jax.runs.stage import Stage


def watched(out: str):
  """rl.iterate, which also writes the arrays and numbers of the first iteration of this process."""
  original, seen = rl.iterate, []

  def iterate(*args):
    state, numbers, made = original(*args)
    if not seen:
      seen.append(args[-1])
      arrays = {name: fetch(getattr(made.experience, name)) for name in ("tokens_BGT", "mask_BGT", "advantages_BGT")}
      params = fetch(state.params)
      if is_first():
        flat = {f"params{jax.tree_util.keystr(k)}": v for k, v in jax.tree_util.tree_leaves_with_path(params)}
        scalars = {k: v for k, v in numbers.items() if isinstance(v, float) and not k.startswith("time/")}
        np.savez(out, **arrays, **flat, **{f"number/{k}": v for k, v in scalars.items()})
    return state, numbers, made

  return iterate


def stopping(stage: str, step: int):
  """Stage.maybe_save, which ends the run once this step of the stage is on disk."""
  original = Stage.maybe_save

  def maybe_save(self, now, *rest):
    original(self, now, *rest)
    if self.name == stage and now == step:
      self.saved.wait()
      raise Preempted(f"stopped at {now}")

  return maybe_save


if __name__ == "__main__":
  initialize()
  workdir, out, *changes = sys.argv[1:]
  if changes and changes[0].startswith("stop="):
    Stage.maybe_save = stopping("rl", int(changes.pop(0).removeprefix("stop=")))
  config = runpy.run_path(str(pathlib.Path(__file__).with_name("tiny_run.py")))["get_config"]()
  config.task, config.completion_buckets, config.prompt_buckets, config.evaluate.every = "rl", (9,), (6,), 0
  config.update_from_flattened_dict({k: ast.literal_eval(v) for k, v in (c.split("=", 1) for c in changes)})
  rl.iterate = watched(out)
  try:
    main.run(config, pathlib.Path(workdir))
  except Preempted as stop:
    print("preempted", stop)
  except ValueError as error:
    sys.exit(f"error: {error}")

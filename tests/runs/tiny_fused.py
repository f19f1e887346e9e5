"""A run of seconds whose reward is on the device and often met by chance: `--config=tests/runs/tiny_fused.py`."""

import pathlib
import runpy


def get_config():
  """Two updates per rollout, some prompts too long, a reference that is renewed; K = 4 cut by what comes every 3."""
  c = runpy.run_path(str(pathlib.Path(__file__).with_name("tiny_run.py")))["get_config"]()
  with c.unlocked():
    c.data.operations = "-"
    c.rewards.components = {
      "correct": {"rule": "integer_answer"},
      "holds": {"rule": "token_match", "weight": 0.5, "options": {"how": "contains"}}}
  c.task, c.prompt_buckets, c.completion_buckets = "rl", (4,), (9,)  # only one digit less another fits
  c.model.num_layers, c.model.width, c.model.ffn_width = 1, 16, 32
  c.rewards.self_test = 0  # solutions begin with the columns
  c.train.iterations, c.train.fused_iterations = 7, 4
  c.evaluate.every, c.evaluate.problems, c.checkpoint.every = 4, 6, 3
  c.optimizer.learning_rate, c.optimizer.schedule, c.algorithm.kl_target = 1e-3, "linear", 0.001
  return c

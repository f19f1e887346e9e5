"""tiny_run.py with all that keeps state: critic, adaptive beta, resampling, curriculum; `:groups` dynamic sizes."""

import pathlib
import runpy


def get_config(kind="critic"):
  c = runpy.run_path(str(pathlib.Path(__file__).with_name("tiny_run.py")))["get_config"]()
  c.name = kind
  c.task, c.train.iterations, c.completion_buckets, c.prompt_buckets = "rl", 5, (9,), (6,)
  if kind == "groups":
    c.sampling.group_sizes, c.sampling.group_signal = (2, 4), 0.5
    return c
  c.algorithm.preset = "ppo"
  c.algorithm.beta_control = "adaptive"
  c.algorithm.kl_target = 0.001
  c.algorithm.truncated = "penalize"
  c.algorithm.length_penalty = 0.1
  c.algorithm.sampler_correction = "token_truncate"
  c.critic_optimizer.learning_rate = 1e-3
  c.train.resample_attempts = 2
  c.data.train_size = 24  # so few that problems come again, and are passed over by the curriculum
  c.curriculum.low, c.curriculum.skips = 0.1, 5
  return c

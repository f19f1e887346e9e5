"""tiny_run.py with rows that keep state: critic, adaptive beta and dynamic sampling; or (`:groups`) dynamic sizes."""

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
  return c

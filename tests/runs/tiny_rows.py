"""tiny_run.py with a row that keeps state: critic, adaptive beta, dynamic sampling."""

import pathlib
import runpy


def get_config():
  c = runpy.run_path(str(pathlib.Path(__file__).with_name("tiny_run.py")))["get_config"]()
  c.name = "rows"
  c.algorithm.preset = "ppo"
  c.algorithm.beta_control = "adaptive"
  c.algorithm.kl_target = 0.001
  c.algorithm.truncated = "penalize"
  c.algorithm.length_penalty = 0.1
  c.algorithm.sampler_correction = "token_truncate"
  c.critic_optimizer.learning_rate = 1e-3
  c.train.resample_attempts = 2
  c.train.iterations = 5
  c.sft.steps = 4
  return c

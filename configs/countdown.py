"""Countdown with a character model: make a target from three numbers with + and -, by careless teachers, then by GRPO.

Command:   python -m grpo_jax.main --config=configs/countdown.py
Hardware:  2 CPU cores, 2 GB.
Time:      16 minutes on two cores shared with three times as much other work; not timed on idle ones.
Expected:  held-out greedy accuracy 0.16 after SFT, 0.52 after GRPO; pass rate 0.17 → 0.42, pass@8 0.70 → 0.80
           (512 problems, one run, seed 0).
"""

from grpo_jax.config.defaults import default_config


def get_config():
  """SFT on worked solutions of which 60 % have a wrong sign in the last step, then GRPO with "solved" as the reward."""
  c = default_config()
  c.name = "countdown"
  c.task = "sft_then_rl"
  c.data = {"kind": "countdown", "count": 3, "high": 30, "operations": "+-", "steps": True, "slip": 0.6,
            "train_size": 8000, "heldout_size": 1000}
  c.prompt_buckets = (12,)
  c.completion_buckets = (32,)
  c.tokenizer.alphabet = "0123456789+-*/()[],=:"
  c.model.num_layers = 3
  c.model.width = 128
  c.model.ffn_width = 512
  c.model.num_heads = 4
  c.model.num_kv_heads = 2
  c.sft.steps = 400
  c.sft.batch = 64
  c.sft_optimizer.learning_rate = 2e-3
  c.sft_optimizer.schedule = "cosine"
  c.sft_optimizer.warmup_steps = 20
  c.rewards.components = {"correct": {"rule": "countdown", "weight": 1.0, "options": {"after": "]"}}}
  c.train.iterations = 150
  c.train.prompts = 32
  c.optimizer.learning_rate = 3e-4
  c.optimizer.warmup_steps = 5
  c.optimizer.schedule = "linear"
  c.optimizer.final_fraction = 0.1
  c.evaluate.every = 50
  c.evaluate.problems = 512
  c.evaluate.batch = 128
  c.checkpoint.every = 50
  return c.lock()

"""A bandit whose length is free: the first token of an answer is right or wrong, and how many follow it is no matter.

Command:   python -m grpo_jax.main --config=configs/bandit.py
Hardware:  2 CPU cores, 2 GB.
Time:      under a minute.
Expected:  training reward from a fifteenth to about 0.5 in 100 iterations, from scratch; held-out problems are few and
           not what it is about. `configs/sweeps/length_bias.py` compares what becomes of the lengths.
"""

from grpo_jax.config.defaults import default_config


def get_config():
  """`7-3=` is answered right by anything that starts with 4; a policy from scratch writes about a dozen tokens."""
  c = default_config()
  c.name = "bandit"
  c.task = "rl"
  c.data = {"kind": "columns", "operations": "-", "digits": 1, "train_size": 40, "heldout_size": 8}
  c.prompt_buckets = (4,)
  c.completion_buckets = (40,)
  c.tokenizer.alphabet = "0123456789-=[]"
  c.model.num_layers = 2
  c.model.width = 48
  c.model.ffn_width = 96
  c.model.num_heads = 4
  c.model.num_kv_heads = 2
  c.model.head_width = 12
  c.rewards.components = {"correct": {"rule": "token_match", "weight": 1.0, "options": {"how": "starts"}}}
  c.rewards.self_test = 0  # the worked solutions of this data start with a bracket
  c.algorithm.kl = "off"  # nothing but the reward, and the estimator, moves the policy
  c.train.iterations = 100
  c.train.prompts = 32
  c.train.fused_iterations = 20
  c.optimizer.learning_rate = 1e-3
  c.optimizer.warmup_steps = 5
  c.evaluate.every = 100
  c.evaluate.problems = 8
  c.evaluate.batch = 8
  c.checkpoint.every = 100
  c.log.tensorboard = False
  return c.lock()

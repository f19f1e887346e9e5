"""The smallest RL run there is, for sweeps in seconds: `tests/sweeps/tiny_base.py`."""

from grpo_jax.config.defaults import default_config


def get_config():
  """A model of two thousand parameters on columns of one digit, four iterations, no reference."""
  c = default_config()
  with c.unlocked():
    c.name = "tiny"
    c.data = {"kind": "columns", "digits": 1, "train_size": 40, "heldout_size": 8}
  c.prompt_buckets, c.completion_buckets = (4,), (8,)
  c.tokenizer.alphabet = "0123456789+-=[]"
  c.model.num_layers, c.model.width, c.model.ffn_width = 1, 16, 32
  c.model.num_heads, c.model.num_kv_heads, c.model.head_width = 2, 2, 8
  c.sft.steps, c.sft.batch = 4, 8
  c.rewards.components = {"correct": {"rule": "numeric", "weight": 1.0, "options": {"after": "]"}},
                          "length": {"rule": "length", "weight": 0.5, "options": {"target": 2}}}
  c.rewards.workers, c.rewards.self_test = 1, 0
  c.algorithm.preset = "dr_grpo"
  c.sampling.group_size, c.train.prompts, c.train.iterations = 2, 4, 4
  c.optimizer.learning_rate = 1e-2
  c.evaluate.every, c.evaluate.problems, c.evaluate.batch, c.evaluate.samples = 2, 8, 8, 1
  c.checkpoint.every, c.checkpoint.keep = 1, 1
  c.log.tensorboard, c.log.samples = False, 0
  return c.lock()

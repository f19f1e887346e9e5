"""The shipped arithmetic config shrunk to seconds: `--config=tests/runs/tiny_run.py`."""

from grpo_jax.config.defaults import default_config


def get_config():
  """SFT then RL on one-digit columns, a model of a few thousand parameters, two updates per rollout."""
  c = default_config()
  with c.unlocked():
    c.name = "tiny"
    c.task = "sft_then_rl"
    c.data = {"kind": "columns", "digits": 2, "train_size": 300, "heldout_size": 40}
  c.prompt_buckets = (5, 6)
  c.completion_buckets = (6, 9)
  c.tokenizer.alphabet = "0123456789+-=[]"
  c.model.num_layers = 2
  c.model.width = 32
  c.model.ffn_width = 64
  c.model.num_heads = 4
  c.model.head_width = 8
  c.sft.steps = 6
  c.sft.batch = 16
  c.rewards.components = {
    "correct": {"rule": "numeric", "weight": 1.0, "options": {"after": "]"}},
    "length": {"rule": "length", "weight": 0.1, "options": {"target": 4}},
  }
  c.rewards.workers = 1
  c.sampling.group_size = 4
  c.train.iterations = 8
  c.train.prompts = 8
  c.train.minibatch_prompts = 4
  c.train.token_budgets = ()  # each size is compiled; tests/runs/test_token_budgets.py has some
  c.train.refresh_reference_every = 3
  c.optimizer.learning_rate = 1e-3
  c.evaluate.every = 4
  c.evaluate.problems = 16
  c.evaluate.batch = 8
  c.evaluate.samples = 2
  c.checkpoint.every = 2
  c.log.tensorboard = False
  return c.lock()

"""The embedded default: a character model learns column addition and subtraction from sloppy teachers, then by GRPO.

Command:   python -m grpo_jax.main --config=configs/arithmetic.py
Hardware:  2 CPU cores, 2 GB.
Time:      about 5 minutes.
Expected:  held-out greedy accuracy at most 0.5 after SFT (0.426 … 0.479 over four seeds), 0.949 … 0.992 after GRPO.

`configs/arithmetic.py:tiny` is the same task for ablations by the hundred: 43 thousand parameters, a reward on the
device, iterations that are one program of 0.1 s. Held-out greedy accuracy 0.40 after SFT, 0.54 after 60 iterations
(256 problems; from one SFT, over two seeds and three learning rates 0.52 … 0.55).
"""

from grpo_jax.config.defaults import default_config


def get_config(size: str = ""):
  """SFT on worked solutions of which 65 % forget every carry, then GRPO with the right answer as the only reward.

  Raises:
    ValueError: `size` is neither empty nor "tiny".
  """
  if size not in ("", "tiny"):
    raise ValueError(f"configs/arithmetic.py:{size} is unknown; leave it out or use configs/arithmetic.py:tiny.")
  c = default_config()
  c.name = "arithmetic"
  c.task = "sft_then_rl"
  c.data = {"kind": "columns", "digits": 2, "min_digits": 2, "align": True, "slip": 0.65, "train_size": 6000,
            "heldout_size": 1000}
  c.prompt_buckets = (6,)
  c.completion_buckets = (9,)
  c.tokenizer.alphabet = "0123456789+-=[]"
  c.model.num_layers = 4
  c.model.width = 192
  c.model.ffn_width = 768
  c.model.num_heads = 6
  c.model.num_kv_heads = 2
  c.sft.steps = 450
  c.sft.batch = 64
  c.sft_optimizer.learning_rate = 2e-3
  c.sft_optimizer.schedule = "cosine"
  c.sft_optimizer.warmup_steps = 20
  c.rewards.components = {"correct": {"rule": "numeric", "weight": 1.0, "options": {"after": "]"}}}
  c.train.iterations = 160
  c.train.prompts = 32
  c.train.token_budgets = ()  # nine tokens are too few for packed rows to pay
  c.train.minibatch_prompts = 16  # two updates per rollout: a fifth more time, and 1.6 times the updates in all
  c.optimizer.learning_rate = 3e-4
  c.optimizer.warmup_steps = 5
  c.optimizer.schedule = "linear"
  c.optimizer.final_fraction = 0.1
  c.evaluate.every = 80  # each takes as long as four iterations
  c.evaluate.problems = 512
  c.evaluate.batch = 128
  c.checkpoint.every = 50
  c.log.rollouts = 25
  return (_tiny(c) if size else c).lock()


def _tiny(c):
  """The same with less of everything."""
  c.name = "arithmetic-tiny"
  c.model.num_layers = 2
  c.model.width = 48
  c.model.ffn_width = 96
  c.model.num_heads = 4
  c.model.head_width = 12
  c.rewards.components = {"correct": {"rule": "integer_answer", "weight": 1.0, "options": {"after": "]"}}}
  c.sft.steps = 600
  c.sft_optimizer.learning_rate = 5e-3
  c.train.iterations = 60
  c.train.minibatch_prompts = 0
  c.train.fused_iterations = 20
  c.optimizer.learning_rate = 1e-3
  c.evaluate.every = 20
  c.evaluate.problems = 256
  c.evaluate.samples = 4
  c.checkpoint.every = 20
  c.log.tensorboard, c.log.rollouts = False, 0
  return c

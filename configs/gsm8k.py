"""GSM8K with any Hugging Face model: chat prompts, math-verify as the reward.

Command:   python -m grpo_jax.main --config=configs/gsm8k.py:MODEL [--config.data.path=gsm8k_train.jsonl …]
           MODEL: a Hugging Face directory, a .gguf file or smollm2-135m (the default).
Data:      --config.data.path and --config.data.heldout_path name the official JSONL files (question, answer with ####);
           `configs/gsm8k.py:MODEL,tfds` reads the TFDS data set `gsm8k` instead (downloads where there is a network).
Hardware:  2 CPU cores and 8 GB for two short iterations of SmolLM2-135M (too small to score: no-signal groups near 1);
           a 1.5B model wants a pod.
"""

from grpo_jax.config.defaults import default_config

TEMPLATE = "Question: {prompt}\nThink step by step and end with the answer as a number after ####.\nAnswer:"


def get_config(arg: str = "smollm2-135m"):
  """`arg` is the model, optionally followed by `,tfds` for the TFDS data source."""
  path, _, kind = arg.partition(",")
  c = default_config()
  c.name = "gsm8k"
  c.task = "rl"
  c.model.path = path
  c.model.remat = True
  if kind == "tfds":
    c.data = {"kind": "tfds", "name": "gsm8k", "fields": {"prompt": "question", "answer": "answer"},
              "answer_after": "####", "prompt_template": TEMPLATE}
  else:
    c.data = {"kind": "jsonl", "path": "gsm8k_train.jsonl", "heldout_path": "gsm8k_test.jsonl",
              "fields": {"prompt": "question", "answer": "answer", "solution": "answer"},
              "answer_after": "####", "prompt_template": TEMPLATE}
  c.prompt_buckets = (128, 256)
  c.completion_buckets = (128, 256)
  c.rewards.components = {"correct": {"rule": "math", "weight": 1.0, "options": {"after": "####"}}}
  c.sampling.group_size = 8
  c.train.iterations = 200
  c.train.prompts = 16
  c.train.micro_prompts = 2
  c.optimizer.learning_rate = 1e-6
  c.optimizer.warmup_steps = 10
  c.evaluate.every = 20
  c.evaluate.problems = 512
  c.evaluate.batch = 32
  c.evaluate.samples = 0
  return c.lock()

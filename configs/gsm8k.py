"""GSM8K with any Hugging Face model: plain prompts, the rule math as the reward.

Command:   python -m grpo_jax.main --config=configs/gsm8k.py:MODEL [--config.data.path=gsm8k_train.jsonl …]
           MODEL: a Hugging Face directory, a .gguf file or smollm2-135m (the default).
Data:      --config.data.path and --config.data.heldout_path name the official JSONL files (question, answer with ####);
           `configs/gsm8k.py:MODEL,tfds` reads the TFDS data set `gsm8k` instead (downloads where there is a network).
Hardware:  a 1.5B model wants a pod. Short form, 2 CPU cores and 8 GB: SmolLM2-135M with
           --config.train.iterations=2 --config.train.prompts=4 --config.sampling.group_size=4
           --config.completion_buckets="(64,)" --config.evaluate.problems=8 --config.evaluate.batch=8
Time:      the short form: 3 minutes after the first compilation, 52-69 s an iteration. The whole was not run here.
Expected:  the short form was run and shows that all of it works, not that it learns: SmolLM2 is too small to score
           (greedy 0 of 8, no group has signal), sampler gap at most 3.5e-5, self-test 1.0.
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

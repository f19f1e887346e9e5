"""Qwen2.5-1.5B on GSM8K with GRPO, for 16 TPU v5e chips.

Command:   python -m grpo_jax.main --config=configs/pods/qwen2_5_1_5b.py:MODEL_DIRECTORY --config.data.path=….jsonl …
           Without a directory: the same sizes, random weights, a character tokenizer (for speed and for planning).
Hardware:  16 TPU v5e chips (4x4).
Known:     it compiles for them and fits: docs/plans/qwen2_5_1_5b_v5e_4x4.md. It has not been run on them yet.
"""

from grpo_jax.config.defaults import default_config

TEMPLATE = "Question: {prompt}\nThink step by step and end with the answer as a number after ####.\nAnswer:"


def get_config(arg: str = ""):
  """`arg`: a Hugging Face directory; empty is the shape with random weights."""
  c = default_config()
  c.name = "qwen2_5_1_5b"
  c.task = "rl"
  c.model.path = arg
  c.model.shape = "" if arg else "qwen2.5-1.5b"
  c.model.compute_dtype = "bfloat16"
  c.model.remat = True
  c.model.scan_layers = True
  c.data = {"kind": "jsonl", "path": "gsm8k_train.jsonl", "heldout_path": "gsm8k_test.jsonl",
            "fields": {"prompt": "question", "answer": "answer", "solution": "answer"},
            "answer_after": "####", "prompt_template": TEMPLATE}
  c.prompt_buckets = (512,)
  c.completion_buckets = (1024,)
  c.rewards.components = {"correct": {"rule": "math", "weight": 1.0, "options": {"after": "####"}}}
  c.rewards.workers = 8
  c.sampling.group_size = 8
  c.train.iterations = 200
  c.train.prompts = 64
  c.train.micro_prompts = 16
  c.train.logit_chunk = 128
  c.train.reference_dtype = "bfloat16"
  c.optimizer.learning_rate = 1e-6
  c.optimizer.warmup_steps = 10
  c.evaluate.every = 20
  c.evaluate.problems = 1024
  c.evaluate.batch = 512
  c.evaluate.samples = 0
  c.checkpoint.every = 20
  c.mesh.data = 2
  c.mesh.fsdp = 8
  c.mesh.sampler = "gathered"
  return c.lock()

"""Qwen2.5-7B on mathematics with GRPO, a rollout of 512 prompts × 5 and four updates of 128 prompts each.

Command:   python -m grpo_jax.main --config=configs/pods/qwen2_5_7b.py:MODEL_DIRECTORY --config.data.path=….jsonl …
           Without a directory: the same sizes, random weights, a character tokenizer (for speed and for planning).
           A layout after a comma, `configs/pods/qwen2_5_7b.py:MODEL_DIRECTORY,v5p`, is for other hardware.
Hardware:  256 TPU v5e chips (16x16); `,v5p`: 32 TPU v5p chips (2x4x4); `,2slices`: 512 TPU v5e chips in two slices.
Known:     the batch is that of the EasyR1 examples. It compiles and fits: docs/plans/qwen2_5_7b_v5e_16x16.md,
           qwen2_5_7b_v5p_2x4x4.md, qwen2_5_7b_2xv5e_16x16.md. It has not been run on them yet.
"""

from grpo_jax.config.defaults import default_config

TEMPLATE = "{prompt}\nThink step by step and put the final answer within \\boxed{}."
LAYOUTS = {
  "v5e": {"mesh.data": 4, "mesh.fsdp": 32, "mesh.tensor": 2},
  "v5p": {"mesh.data": 1, "mesh.fsdp": 32, "train.micro_prompts": 32},
  "2slices": {"mesh.data": 8, "mesh.fsdp": 32, "mesh.tensor": 2,
              "train.prompts": 1024, "train.minibatch_prompts": 256},  # the batch grows with the chips
}


def get_config(arg: str = ""):
  """`arg`: a Hugging Face directory (empty: random weights), optionally followed by a comma and a layout."""
  path, _, layout = arg.partition(",")
  c = default_config()
  c.name = "qwen2_5_7b"
  c.task = "rl"
  c.model.path = path
  c.model.shape = "" if path else "qwen2.5-7b"
  c.model.compute_dtype = "bfloat16"
  c.model.remat = True
  c.model.scan_layers = True
  c.data = {"kind": "jsonl", "path": "train.jsonl", "heldout_path": "test.jsonl",
            "fields": {"prompt": "problem", "answer": "answer"}, "prompt_template": TEMPLATE}
  c.prompt_buckets = (1024,)
  c.completion_buckets = (2048,)
  c.rewards.components = {"correct": {"rule": "math", "weight": 1.0}}
  c.rewards.workers = 16
  c.sampling.group_size = 5
  c.train.iterations = 200
  c.train.prompts = 512
  c.train.minibatch_prompts = 128
  c.train.logit_chunk = 128
  c.train.reference_dtype = "bfloat16"
  c.optimizer.learning_rate = 1e-6
  c.optimizer.weight_decay = 0.01
  c.algorithm.preset = "grpo_dual_clip"
  c.evaluate.every = 20
  c.evaluate.problems = 512
  c.evaluate.batch = 512
  c.evaluate.samples = 0
  c.checkpoint.every = 20
  c.mesh.sampler = "gathered"
  c.update_from_flattened_dict(LAYOUTS[layout or "v5e"])
  return c.lock()

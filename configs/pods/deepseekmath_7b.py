"""DeepSeekMath-7B with the numbers of the paper that GRPO comes from (arXiv:2402.03300, section 4.2).

Command:   python -m grpo_jax.main --config=configs/pods/deepseekmath_7b.py:MODEL_DIRECTORY --config.data.path=….jsonl …
           Without a directory: the same sizes, random weights, a character tokenizer (for speed and for planning).
           A layout after a comma, `configs/pods/deepseekmath_7b.py:MODEL_DIRECTORY,v5p`, is for other hardware.
Hardware:  256 TPU v5e chips (16x16); `,v5p`: 32 TPU v5p chips (2x4x4).
Known:     of the paper: 64 completions per question, batch 1024, at most 1024 tokens, learning rate 1e-6, KL weight
           0.04, one update per rollout. It compiles and fits: docs/plans/deepseekmath_7b_v5e_16x16.md and
           deepseekmath_7b_v5p_2x4x4.md. It has not been run on them yet.
"""

from grpo_jax.config.defaults import default_config

TEMPLATE = "{prompt}\nPlease reason step by step, and put your final answer within \\boxed{}."
LAYOUTS = {  # 16 prompts over data, the 64 members of each over fsdp
  "v5e": {"mesh.data": 16, "mesh.fsdp": 4, "mesh.tensor": 4, "train.micro_members": 16},
  "v5p": {"mesh.data": 16, "mesh.fsdp": 2, "train.micro_members": 8},
}


def get_config(arg: str = ""):
  """`arg`: a Hugging Face directory (empty: random weights), optionally followed by a comma and a layout."""
  path, _, layout = arg.partition(",")
  c = default_config()
  c.name = "deepseekmath_7b"
  c.task = "rl"
  c.model.path = path
  c.model.shape = "" if path else "deepseekmath-7b"
  c.model.compute_dtype = "bfloat16"
  c.model.remat = True
  c.model.scan_layers = True
  c.data = {"kind": "jsonl", "path": "train.jsonl", "heldout_path": "test.jsonl",
            "fields": {"prompt": "problem", "answer": "answer"}, "prompt_template": TEMPLATE}
  c.prompt_buckets = (512,)
  c.completion_buckets = (1024,)
  c.rewards.components = {"correct": {"rule": "math", "weight": 1.0}}
  c.rewards.workers = 16
  c.sampling.group_size = 64
  c.train.iterations = 1000
  c.train.prompts = 16
  c.train.logit_chunk = 128
  c.train.reference_dtype = "bfloat16"
  c.optimizer.learning_rate = 1e-6
  c.algorithm.preset = "deepseekmath"
  c.evaluate.every = 50
  c.evaluate.problems = 512
  c.evaluate.batch = 256
  c.evaluate.samples = 0
  c.checkpoint.every = 50
  c.mesh.sampler = "gathered"
  c.update_from_flattened_dict(LAYOUTS[layout or "v5e"])
  return c.lock()

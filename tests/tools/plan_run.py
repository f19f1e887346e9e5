"""A run of a few thousand parameters for four chips: `--config=tests/tools/plan_run.py`."""

from grpo_jax.config.defaults import default_config


def get_config():
  """Two layers, 8 prompts × 4, split over data and fsdp."""
  c = default_config()
  with c.unlocked():
    c.data = {"kind": "columns", "digits": 2}
  c.model.num_layers = 2
  c.model.width = 128
  c.model.ffn_width = 256
  c.model.num_heads = 2
  c.model.head_width = 64
  c.model.compute_dtype = "bfloat16"
  c.model.scan_layers = True
  c.prompt_buckets = (16,)
  c.completion_buckets = (16,)
  c.rewards.components = {"correct": {"rule": "numeric", "weight": 1.0}}
  c.sampling.group_size = 4
  c.evaluate.batch = 8
  c.mesh.data = 2
  c.mesh.fsdp = 2
  return c.lock()

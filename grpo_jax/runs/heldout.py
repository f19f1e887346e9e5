"""Held-out evaluation within an RL stage: with its programs, into its log."""

import time

import numpy as np

from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.heldout import Answers, ask, summarize, verified
from grpo_jax.runs.printed import sample_text
from grpo_jax.runs.rl_metrics import eval_line
from grpo_jax.runs.rl_programs import sampler_policy
from grpo_jax.runs.stage import Stage


def ask_policy(run, params) -> Answers:
  """The policy's answers to the held-out problems; `run` has config, setup, rewards, programs and seed."""
  e, P = run.config.evaluate, max(run.config.prompt_buckets)

  def sample(prompts):
    prompts = put(run.setup.mesh, prompts)
    return run.programs(("heldout", P, 1 + e.samples), params, prompts, run.seed, np.float32(e.temperature))

  return ask(sample, run.setup.heldout, run.setup.tokenizer, run.rewards, e.batch)


def heldout_metrics(answers: Answers, e, ks=()) -> dict[str, float]:
  """What `config.evaluate` asks to know of some answers."""
  second = verified(answers, e.component, e.verifier, e.verifier_gap) if e.verifier else {}
  return summarize(answers, e.component, ks) | second


def log_heldout(run, stage: Stage, step: int, state) -> float:
  """Evaluates, logs and prints; returns greedy accuracy."""
  started, e = time.perf_counter(), run.config.evaluate
  answers = ask_policy(run, sampler_policy(run, state))
  metrics = heldout_metrics(answers, e) | run.setup.notes
  metrics["time/evaluate"] = time.perf_counter() - started
  stage.log(step, "eval", metrics, eval_line(metrics))
  right = answers.right(e.component)[:, 0]
  for i, example in enumerate(answers.examples[: run.config.log.samples]):
    scores = {name: score[i, 0] for name, score in answers.components.items()}
    print(sample_text(example.prompt, answers.texts[i][0], example.answer, scores, right=right[i],
                      length=answers.lengths[i, 0], truncated=answers.truncated[i, 0]), flush=True)
  return metrics["greedy"]

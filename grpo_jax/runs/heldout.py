"""Held-out evaluation: the policy is asked, its answers judged, and what came of it goes into the log."""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.heldout import Answers, ask, summarize, verified
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs.experience import sample
from grpo_jax.runs.parts import heldout_request
from grpo_jax.runs.printed import sample_text
from grpo_jax.runs.rl_metrics import eval_line
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.stage import Stage
from grpo_jax.types import Prompts, Rollout


def answered(ops, setup: Setup, policy, prompts: Prompts, seed, temperature) -> Rollout:
  """The answers of a policy to held-out prompts; the first of each is greedy."""
  asked = heldout_request(setup.config, setup.tokenizer.stop_ids)
  return ops(partial(sample, cfg=setup.cfg, asked=asked), policy, prompts, seed, temperature)


def heldout_metrics(answers: Answers, e, ks=()) -> dict[str, float]:
  """What `config.evaluate` asks to know of some answers."""
  second = verified(answers, e.component, e.verifier, e.verifier_gap) if e.verifier else {}
  return summarize(answers, e.component, ks) | second


@dataclass(frozen=True)
class Exam:
  """The held-out problems of a setup, and who judges the answers; `ops` runs the sampler."""

  setup: Setup
  rewards: Rewards
  ops: Any

  def ask(self, policy) -> Answers:
    """The policy's answers, as the sampler takes a policy."""
    setup, e, seed = self.setup, self.setup.config.evaluate, np.uint32(self.setup.config.seed)

    def answer(prompts):
      return answered(self.ops, setup, policy, put(setup.mesh, prompts), seed, np.float32(e.temperature))

    return ask(answer, setup.heldout, setup.tokenizer, self.rewards, e.batch)

  def log(self, stage: Stage, step: int, policy) -> float:
    """Evaluates, logs and prints; returns greedy accuracy."""
    started, e, samples = time.perf_counter(), self.setup.config.evaluate, self.setup.config.log.samples
    answers = self.ask(policy)
    metrics = heldout_metrics(answers, e) | self.setup.notes
    metrics["time/evaluate"] = time.perf_counter() - started
    stage.log(step, "eval", metrics, eval_line(metrics))
    right = answers.right(e.component)[:, 0]
    for i, example in enumerate(answers.examples[:samples]):
      scores = {name: score[i, 0] for name, score in answers.components.items()}
      print(sample_text(example.prompt, answers.texts[i][0], example.answer, scores, right=right[i],
                        length=answers.lengths[i, 0], truncated=answers.truncated[i, 0]), flush=True)
    return metrics["greedy"]

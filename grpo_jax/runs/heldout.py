"""Held-out evaluation: the policy is asked, its answers judged, and what came of it goes into the log."""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.heldout import Answers, ask, summarize, verified
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs.parts import heldout_request
from grpo_jax.runs.printed import sample_text
from grpo_jax.runs.rl_metrics import eval_line
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.stage import Stage
from grpo_jax.sampling.sampler import sample
from grpo_jax.types import Prompts, Rollout


def heldout_metrics(answers: Answers, e, ks=()) -> dict[str, float]:
  """What `config.evaluate` asks to know of some answers."""
  second = verified(answers, e.component, e.verifier, e.verifier_gap) if e.verifier else {}
  return summarize(answers, e.component, ks) | second


@dataclass(frozen=True)
class Exam:
  """The held-out problems of a setup, and who judges the answers; `ops` runs the sampler."""

  setup: Setup
  rewards: Rewards | None  # None: to compile
  ops: Any

  def answer(self, policy, prompts: Prompts) -> Rollout:
    """The answers of a policy, as the sampler takes it, to held-out prompts; the first of each is greedy."""
    setup, config = self.setup, self.setup.config
    draw = partial(sample, cfg=setup.cfg, asked=heldout_request(config, setup.tokenizer.stop_ids))
    return self.ops(draw, policy, prompts, np.uint32(config.seed), np.float32(config.evaluate.temperature))

  def ask(self, policy) -> Answers:
    """What the policy answers to all problems, judged."""
    setup, batch = self.setup, self.setup.config.evaluate.batch
    answer = lambda prompts: self.answer(policy, put(setup.mesh, prompts))  # noqa: E731
    return ask(answer, setup.heldout, setup.tokenizer, self.rewards, batch)

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

"""Prompts to judged rollouts, on the host; one an iteration, or as many as it takes for groups with signal.

The latter is dynamic sampling (DAPO, arXiv 2503.14476, equation 11): sample until a full batch of groups has signal.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from grpo_jax.algorithms.bounds import alike
from grpo_jax.distributed.multihost import fetch
from grpo_jax.rewards.scores import Scores
from grpo_jax.runs.curriculum import Draws
from grpo_jax.runs.signals import Judged
from grpo_jax.types import Rollout


@dataclass(frozen=True)
class Collected:
  """What one iteration learns from, the data state after it, what its draws passed over, and the rollouts it took."""

  judged: Judged
  data_state: dict
  passed: Counter
  rollouts: int = 1


def collect(sample: Callable, judge: Callable, score: Callable, draws: Draws, data_state: dict,
            attempts: int) -> Collected:
  """One rollout, or with `attempts` as many as it takes until `draws.count` groups have signal, at most so many.

  Groups are taken in the order of their draw; where there are too few with signal, groups without fill up. What is
  left over is not kept: the next iteration begins after the last prompt drawn, so the position is all the state.

  Args:
    sample: `position -> (Drawn, Rollout)`; `judge`: `(rollout, drawn) -> Judged`.
    score: called with what is learned from. One rollout is scored before it is judged: the devices score while the
      host judges. Chosen groups come as arrays on the host.
  """
  position = int(data_state["position"])
  if not attempts:
    drawn, rollout = sample(position)
    score(rollout)
    result = judge(rollout, drawn)
    return Collected(result, draws.after(data_state, drawn.position, [result]), drawn.passed)
  parts, passed, found = [], Counter(), 0
  while found < draws.count and len(parts) < attempts:
    drawn, rollout = sample(position)
    position, passed = drawn.position, passed + drawn.passed
    result = judge(rollout, drawn)
    rewards = result.signals.rewards_BG
    parts.append((fetch(rollout), result, ~alike(rewards.min(1), rewards.max(1))))
    found += int(parts[-1][2].sum())
  rollout, result = _chosen(parts, draws.count)
  score(rollout)
  return Collected(result, draws.after(data_state, position, [r for _, r, _ in parts]), passed, len(parts))


def _chosen(parts, B: int) -> tuple[Rollout, Judged]:
  """The first B groups with signal, in the order of their draw; where there are fewer, groups without fill up."""
  P = max(rollout.prompts.tokens_BP.shape[1] for rollout, _, _ in parts)

  def left(a):
    return np.pad(a, ((0, 0), (P - a.shape[1], 0)))

  wide = lambda p: p.replace(tokens_BP=left(p.tokens_BP), mask_BP=left(p.mask_BP))  # noqa: E731
  rollouts = [r.replace(prompts=wide(r.prompts)) for r, _, _ in parts]
  signal = np.concatenate([s for _, _, s in parts])
  rows = np.sort(np.concatenate([np.flatnonzero(signal), np.flatnonzero(~signal)])[:B])
  join = lambda *a: np.concatenate(a)[rows]  # noqa: E731
  results = [result for _, result, _ in parts]
  all_scores = [r.scores for r in results]
  scores = Scores(
    join(*(s.rewards_BG for s in all_scores)),
    {name: join(*(s.components[name] for s in all_scores)) for name in all_scores[0].components},
    sum(s.errors for s in all_scores), sum(s.deadlines for s in all_scores),
    [failure for s in all_scores for failure in s.failures], sum(s.bounded for s in all_scores))
  signals = jax.tree.map(join, *(r.signals for r in results))
  names = ("lengths_BG", "truncated_BG", "sources_B", "uids_B")
  arrays = {name: join(*(getattr(r, name) for r in results)) for name in names}
  return jax.tree.map(join, *rollouts), Judged(scores=scores, signals=signals, **arrays)

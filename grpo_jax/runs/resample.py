"""Dynamic sampling (DAPO, arXiv 2503.14476, equation 11): sample until a full batch of groups has signal."""

from collections import Counter

import jax
import numpy as np

from grpo_jax.distributed.mesh import put
from grpo_jax.distributed.multihost import fetch
from grpo_jax.rewards.scores import Scores
from grpo_jax.runs.curriculum import advanced
from grpo_jax.runs.rollouts import Collected, judged, sampled
from grpo_jax.runs.signals import Judged
from grpo_jax.types import Prompts, Rollout


def resampled(run, state, score) -> Collected:
  """Rollouts until B groups have signal, at most `train.resample_attempts`; then `score` is called with the chosen.

  Groups are taken in the order of their draw; where there are too few with signal, groups without fill up. What is
  left over is not kept: the next iteration begins after the last prompt drawn, so the position is all the state.
  """
  config, position = run.config, int(state.data_state["position"])
  parts, passed, found = [], Counter(), 0
  for attempt in range(1, config.train.resample_attempts + 1):  # noqa: B007
    drawn, rollout = sampled(run, state, position)
    position, passed = drawn.position, passed + drawn.passed
    result = judged(run, state, rollout, drawn)
    rewards = result.signals.rewards_BG
    parts.append((fetch(rollout), result, rewards.max(1) > rewards.min(1)))
    found += int(parts[-1][2].sum())
    if found >= config.train.prompts:
      break
  rollout, result = _chosen(parts, config.train.prompts)
  score(put(run.setup.mesh, rollout))
  return Collected(result, advanced(run, state, position, [r for _, r, _ in parts]), passed, attempt)


def _chosen(parts, B: int) -> tuple[Rollout, Judged]:
  """The first B groups with signal, in the order of their draw; where there are fewer, groups without fill up."""
  P = max(rollout.prompts.tokens_BP.shape[1] for rollout, _, _ in parts)

  def left(a):
    return np.pad(a, ((0, 0), (P - a.shape[1], 0)))

  rollouts = [
    r.replace(prompts=Prompts(left(r.prompts.tokens_BP), left(r.prompts.mask_BP), r.prompts.uids_B))
    for r, _, _ in parts]
  signal = np.concatenate([s for _, _, s in parts])
  rows = np.sort(np.concatenate([np.flatnonzero(signal), np.flatnonzero(~signal)])[:B])
  join = lambda *a: np.concatenate(a)[rows]  # noqa: E731
  results = [result for _, result, _ in parts]
  all_scores = [r.scores for r in results]
  scores = Scores(
    join(*(s.rewards_BG for s in all_scores)),
    {name: join(*(s.components[name] for s in all_scores)) for name in all_scores[0].components},
    sum(s.errors for s in all_scores), sum(s.deadlines for s in all_scores),
    [failure for s in all_scores for failure in s.failures], sum(s.unread for s in all_scores))
  signals = jax.tree.map(join, *(r.signals for r in results))
  names = ("lengths_BG", "truncated_BG", "sources_B", "uids_B")
  arrays = {name: join(*(getattr(r, name) for r in results)) for name in names}
  return jax.tree.map(join, *rollouts), Judged(scores=scores, signals=signals, **arrays)

"""What an iteration leaves on disk beside its line of the log: its rollout, and the batch of a refused update."""

from typing import NamedTuple

import numpy as np

from grpo_jax.distributed.multihost import code_version, fetch, is_first
from grpo_jax.reports.rollouts import KeptRollout, rollout_file, write_rollout
from grpo_jax.runs.rl_metrics import save_skipped
from grpo_jax.runs.signals import Judged
from grpo_jax.runs.token_budgets import packed_key, share_of
from grpo_jax.types import Experience, Rollout


class Made(NamedTuple):
  """What one iteration made on its way to the next state."""

  rollout: Rollout  # without greedy members
  judged: Judged
  experience: Experience


def record(run, stage, iteration: int, state, numbers: dict, made: Made) -> None:
  """Keeps the rollout of every `log.rollouts`-th iteration, with what its tokens meant and hashes of `state` after it.

  A batch whose gradient was not finite is written too. All processes call this; the first one writes.
  """
  save_skipped(stage.directory, iteration, numbers, made.experience)
  every = run.config.log.rollouts
  if every and iteration % every == 0:
    (_, G, T), P = made.experience.mask_BGT.shape, made.rollout.prompts.tokens_BP.shape[1]
    share = share_of(fetch(made.experience.mask_BGT).sum(-1), T, run.config, run.setup.mesh)
    key = ("look", *packed_key((P, T, G), share))
    looks = fetch(run.programs(key, state.policy, made.experience, run.spec, run.temperature))
    kept = kept_rollout(iteration, made, looks, np.asarray(fetch(stage.saved.hashes(state))), {"code": code_version()})
    if is_first():
      write_rollout(rollout_file(stage.directory.parent, iteration), kept)


def kept_rollout(iteration: int, made: Made, looks=None, hashes=None, facts=None) -> KeptRollout:
  """An iteration as it is kept, on the host."""
  rollout, judged, T = fetch(made.rollout), made.judged, made.rollout.mask_BGT.shape[-1]
  signals = {name: getattr(judged.signals, name) for name in judged.signals.__dataclass_fields__}
  longer = lambda a: np.pad(a, ((0, 0), (0, 0), (0, T - a.shape[-1])))  # noqa: E731  cut to a bucket before
  advantages = np.asarray(fetch(made.experience.advantages_BGT))
  rest = {"looks": {name: longer(a) for name, a in looks.items()}, "state": hashes, "facts": facts} if looks else {}
  return KeptRollout(
    iteration, rollout.prompts.tokens_BP, rollout.prompts.mask_BP.sum(-1), rollout.prompts.uids_B, judged.sources_B,
    rollout.tokens_BGT, rollout.mask_BGT.sum(-1), rollout.truncated_BG, rollout.behavior_logps_BGT,
    longer(advantages) if advantages.shape[-1] > 1 else advantages,
    {name: np.asarray(a) for name, a in signals.items() if a is not None}, judged.scores.components, **rest)

"""What an iteration leaves on disk beside its line of the log: its rollout, and the batch of a refused update."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from grpo_jax.distributed.multihost import code_version, fetch, is_first
from grpo_jax.reports.rollouts import KeptRollout, rollout_file, write_rollout
from grpo_jax.runs.parts import RLParts
from grpo_jax.runs.rl_metrics import save_skipped
from grpo_jax.runs.signals import Judged
from grpo_jax.runs.stage import Stage
from grpo_jax.training.dealing import Cut
from grpo_jax.training.look import look
from grpo_jax.types import Experience, Rollout


class Made(NamedTuple):
  """What one iteration made on its way to the next state."""

  rollout: Rollout  # without greedy members
  judged: Judged
  experience: Experience


def looked(ops, parts: RLParts, state, batch: Experience, cut: Cut | None = None):
  """What each token meant to the iteration, by name; see training/look.py. `cut` None is found from the lengths."""
  choices, numbers = parts.choices, parts.numbers
  if cut is None:
    cut = parts.budgets.least(choices.cut, fetch(batch.mask_BGT).sum(-1), batch.mask_BGT.shape[-1])
  return ops(partial(look, cfg=choices.cfg, cut=cut), state.policy, batch, numbers.spec, numbers.temperature)


def record(stage: Stage, every: int, iteration: int, state, numbers: dict, made: Made, see: Callable) -> None:
  """Keeps every `every`-th rollout (0: none), and the batch of a refused update. All processes call this.

  With it go what its tokens meant, `see(state, made.experience)`, and hashes of `state`, the one after it.
  """
  save_skipped(stage.directory, iteration, numbers, made.experience)
  if every and iteration % every == 0:
    looks, hashes = fetch(see(state, made.experience)), np.asarray(fetch(stage.saved.hashes(state)))
    kept = kept_rollout(iteration, made, looks, hashes, {"code": code_version()})
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

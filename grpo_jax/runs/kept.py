"""What an iteration leaves on disk beside its line of the log: its rollout, and the batch of a refused update."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from grpo_jax.distributed.multihost import code_version, fetch, is_first
from grpo_jax.reports.rollouts import KeptRollout, rollout_file, write_rollout
from grpo_jax.runs.parts import Choices, Numbers
from grpo_jax.runs.rl_metrics import save_skipped
from grpo_jax.runs.signals import Judged
from grpo_jax.runs.stage import Stage
from grpo_jax.training.look import look
from grpo_jax.types import Experience, Rollout


class Made(NamedTuple):
  """What one iteration made on its way to the next state."""

  rollout: Rollout  # without greedy members
  judged: Judged
  experience: Experience


def looked(ops, choices: Choices, state, batch: Experience, numbers: Numbers):
  """What each token meant to the iteration, by name; see training/look.py."""
  see = partial(look, cfg=choices.cfg, cut=choices.cut)
  return ops(see, state.policy, batch, numbers.spec, numbers.temperature)


@dataclass(frozen=True)
class Recorder:
  """Keeps every `every`-th rollout, with what its tokens meant, and the batch of a refused update; 0 keeps none."""

  stage: Stage
  every: int
  ops: Any
  choices: Choices
  numbers: Numbers

  def record(self, iteration: int, state, numbers: dict, made: Made) -> None:
    """Writes what is due, with hashes of `state`, the one after it. All processes call this; the first one writes."""
    save_skipped(self.stage.directory, iteration, numbers, made.experience)
    if self.every and iteration % self.every == 0:
      looks = fetch(looked(self.ops, self.choices, state, made.experience, self.numbers))
      hashes = np.asarray(fetch(self.stage.saved.hashes(state)))
      kept = kept_rollout(iteration, made, looks, hashes, {"code": code_version()})
      if is_first():
        write_rollout(rollout_file(self.stage.directory.parent, iteration), kept)


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

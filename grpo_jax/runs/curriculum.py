"""Where a run's prompts come from: its stream, or, with `config.curriculum`, what the pass rates in the state leave."""

from collections.abc import Sequence

import numpy as np

from grpo_jax.data.curriculum import Banded, updated
from grpo_jax.data.order import Stream
from grpo_jax.runs.signals import Judged


def stream_of(run, state) -> Stream | Banded:
  """What the next prompts are drawn from."""
  if "pass_rates" not in state.data_state:
    return run.setup.train
  c, rates = run.config.curriculum, np.asarray(state.data_state["pass_rates"])
  return Banded(run.setup.train, rates, c.low, c.high, c.revisit, c.skips)


def advanced(run, state, position: int, results: Sequence[Judged]) -> dict:
  """The data state after an iteration: the next position, and the pass rates with those of all its rollouts."""
  data = {"position": np.int32(position)}
  if "pass_rates" in state.data_state:
    rates = np.asarray(state.data_state["pass_rates"])
    for result in results:
      rows = [run.setup.train.row(int(uid)) for uid in result.uids_B]
      right_BG = result.scores.components[run.config.evaluate.component] >= 1
      rates = updated(rates, rows, right_BG.mean(1), run.config.curriculum.momentum)
    data["pass_rates"] = rates
  return data

"""Prompts to judged rollouts: the next prompts of the stream, their completions, and what the rewards say of them."""

from collections import Counter
from dataclasses import dataclass

from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.heldout import judge
from grpo_jax.runs.curriculum import advanced, stream_of
from grpo_jax.runs.group_size import members
from grpo_jax.runs.prompts import Drawn, draw
from grpo_jax.runs.rl_programs import sampler_policy
from grpo_jax.runs.signals import Judged, row_signals
from grpo_jax.types import Rollout


@dataclass(frozen=True)
class Collected:
  """What one iteration learns from, the data state after it, what its draws passed over, and the rollouts it took."""

  judged: Judged
  data_state: dict
  passed: Counter
  rollouts: int = 1


def sampled(run, state, position: int) -> tuple[Drawn, Rollout]:
  """The next B prompts from `position` on, and their completions on the devices."""
  config, setup = run.config, run.setup
  drawn = draw(stream_of(run, state), setup.tokenizer, position, config.train.prompts, config.prompt_buckets)
  key = ("train", drawn.prompts.tokens_BP.shape[1], members(config, state.algorithm_state)[1] + ("greedy" in run.asks))
  policy, prompts = sampler_policy(run, state), put(setup.mesh, drawn.prompts)
  return drawn, run.programs(key, policy, prompts, run.seed, run.temperature)


def judged(run, state, rollout: Rollout, drawn: Drawn) -> Judged:
  """Scores a rollout and makes the signals that the row asks for."""
  _, scores, lengths, truncated = judge(rollout, drawn.examples, run.setup.tokenizer, run.rewards)
  return row_signals(run, state, rollout, drawn, scores, lengths, truncated)


def collect(run, state, score) -> Collected:
  """One rollout. `score` is called with it before it is judged: the devices score while the host judges."""
  drawn, rollout = sampled(run, state, int(state.data_state["position"]))
  score(rollout)
  result = judged(run, state, rollout, drawn)
  return Collected(result, advanced(run, state, drawn.position, [result]), drawn.passed)

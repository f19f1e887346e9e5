"""What an RL stage compiles before its first step: the iteration, walked on shapes for every bucket."""

import itertools
from collections import Counter

import numpy as np
from ml_collections import ConfigDict

from grpo_jax.algorithms.table import Signals
from grpo_jax.data.batches import prompt_shapes
from grpo_jax.models.config import ModelConfig
from grpo_jax.runs.heldout import Exam
from grpo_jax.runs.iteration import learned, sampled, sampler_policy, scored
from grpo_jax.runs.kept import looked
from grpo_jax.runs.ops import Count, like, shaped
from grpo_jax.runs.parts import Choices, Judgement, Numbers, RLParts, choices_of, minibatches_of, numbers_of
from grpo_jax.training.state import Learner, TrainState


def empty_signals(B: int, G: int, T: int, asks) -> Signals:
  """The fields that the host fills for a row that asks for them, as zeros."""
  steps = [np.zeros((B, G, T), dtype) if "steps" in asks else None for dtype in (np.float32, bool)]
  greedy_B = np.zeros(B, np.float32) if "greedy" in asks else None
  present = np.zeros((B, G), bool) if "present" in asks else None
  return Signals(np.zeros((B, G), np.float32), present_BG=present, greedy_B=greedy_B,
                 step_rewards_BGT=steps[0], step_ends_BGT=steps[1])


def walk(ops, choices: Choices, numbers: Numbers, state, prompts, signals, rows_UM, G: int, T: int, cut_of=None):
  """One iteration of G completions a prompt, cut to T tokens; what was learned from. `cut_of`: as of `learned`."""
  rollout = sampled(ops, choices, state, prompts, numbers, G)
  known = scored(ops, choices.with_cut(cut_of(None)) if cut_of else choices, state, rollout, numbers, T)
  judgement = Judgement(signals, rows_UM, np.int32(0), state.data_state)
  return learned(ops, choices, state, known, judgement, numbers, cut_of)[2]


def calls_per_iteration(config: ConfigDict, cfg: ModelConfig) -> Counter:
  """How often an iteration calls each function, by function; sampling again for want of signal left out."""
  numbers, ops, state = numbers_of(config), Count(), TrainState(*[None] * 9, critic=Learner(*[None] * 4))
  choices = choices_of(config, cfg, (), numbers.spec)
  walk(ops, choices, numbers, state, None, None, minibatches_of(config).rows(1), 1, 1)
  return Counter({function: times for (function, _), times in ops.calls.items()})


def compile_rl(ops, parts: RLParts, state) -> None:
  """Compiles all that the stage will ever call, evaluation included: nothing compiles after this."""
  choices, config, mesh, state, B = parts.choices, parts.setup.config, parts.setup.mesh, like(state), parts.draws.count
  sizes = (config.prompt_buckets, parts.group_sizes, parts.completion_buckets, parts.budgets.shares)
  for P, G, T, share in itertools.product(*sizes):
    cut_of = lambda rows: parts.budgets.cut(choices.cut, share, B if rows is None else len(rows), G, T)  # noqa: B023, E731
    prompts = shaped(mesh, prompt_shapes(B, P))
    signals = shaped(mesh, empty_signals(B, G, choices.request.max_new_tokens, choices.asks))
    batch = walk(ops, choices, parts.numbers, state, prompts, signals, parts.minibatches.rows(1), G, T, cut_of)
    if config.log.rollouts:
      looked(ops, parts, state, batch, cut_of(None))
  compile_heldout(ops, parts.setup, sampler_policy(ops, choices, state))


def compile_heldout(ops, setup, policy) -> None:
  """Compiles the sampler of held-out evaluation."""
  prompts = shaped(setup.mesh, prompt_shapes(setup.config.evaluate.batch, max(setup.config.prompt_buckets)))
  Exam(setup, None, ops).answer(policy, prompts)

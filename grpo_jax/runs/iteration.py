"""One iteration of RL, the only spelling of it: sample, score, compare within groups, update.

`ops` (runs/ops.py) says what becomes of it: compiled for shapes, run on arrays, traced into one program, or counted.
Between `scored` and `learned` the rewards speak, on the host (runs/rl.py) or on the device (runs/fused.py).
"""

from collections.abc import Callable
from functools import partial

from grpo_jax.runs.ops import cast, gathered, kept
from grpo_jax.runs.parts import Choices, Judgement, Numbers, Scored
from grpo_jax.sampling.sampler import sample
from grpo_jax.training import experience
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import end_iteration
from grpo_jax.training.value_step import value_step
from grpo_jax.types import Experience, Prompts, Rollout


def sampler_policy(ops, choices: Choices, state):
  """The policy as the sampler takes it: where it is gathered, no decoding step gathers weights."""
  if not choices.gather:
    return state.policy
  return ops(partial(cast, dtype=choices.cfg.compute_dtype), state.policy, layout=gathered)


def sampled(ops, choices: Choices, state, prompts: Prompts, numbers: Numbers, size: int) -> Rollout:
  """`size` completions of each prompt, behind the greedy ones that the row asks for."""
  asked = choices.request.replace(group_size=size + choices.request.greedy_members)
  draw = partial(sample, cfg=choices.cfg, asked=asked)
  return ops(draw, sampler_policy(ops, choices, state), prompts, numbers.seed, numbers.temperature)


def scored(ops, choices: Choices, state, rollout: Rollout, numbers: Numbers, T: int) -> Scored:
  """What the row asks of reference, old policy and critic; no completion is longer than `T` tokens."""
  asks, fixed = choices.asks, {"cfg": choices.cfg, "T": T, "cut": choices.cut}
  ref, old, values = None, None, None
  if "greedy" in asks:
    rollout = ops(experience.without_greedy, rollout)
  if "reference" in asks:
    measure = partial(experience.reference_of, kl=numbers.spec.kl, **fixed)
    ref = ops(measure, state.reference, rollout, numbers.temperature)
  if "old" in asks:
    old = ops(partial(experience.score, **fixed), state.policy, rollout, numbers.temperature)
  if "values" in asks:
    values = ops(partial(experience.critic_values, **fixed), state.critic.params, rollout)
  return Scored(rollout, T, ref, old, values)


def compared(ops, choices: Choices, state, scores: Scored, judgement: Judgement, numbers: Numbers) -> Experience:
  """Signals to advantages, on the whole `[B, G]` before anything is cut into minibatches."""
  signals, known = judgement.signals, (scores.reference, scores.old, scores.values, state.algorithm_state)
  rest = (numbers.spec, numbers.seed, judgement.iteration)
  return ops(partial(experience.make_experience, T=scores.T), scores.rollout, signals, *known, *rest)


def updated(ops, choices: Choices, state, batch: Experience, numbers: Numbers):
  """One update of the policy, and of the critic where there is one: `(state', metrics)`, each (sum, count)."""
  fixed, rest = {"cfg": choices.cfg, "cut": choices.cut}, (numbers.spec, numbers.optimizers[0], numbers.temperature)
  state, metrics = ops(partial(policy_step, **fixed), state, batch, *rest, layout=kept)
  if "values" not in choices.asks:
    return state, metrics
  rest = (numbers.optimizers[1], numbers.value_clip)
  critic, more = ops(partial(value_step, **fixed), state.critic, batch, *rest, layout=kept)
  return state.replace(critic=critic), {**metrics, **more}


def learned(ops, choices: Choices, state, scores: Scored, judgement: Judgement, numbers: Numbers,
            cut_of: Callable | None = None):
  """All updates of an iteration and its end: `(state', metrics of each update, what was learned from)`.

  `cut_of(rows)`: how the minibatch of these prompts is cut (None: all prompts); as `choices` say where not given.
  """
  batch = compared(ops, choices, state, scores, judgement, numbers)

  def update(state, rows):
    part = batch if rows is None else ops(experience.take_rows, batch, rows)
    return updated(ops, choices.with_cut(cut_of(rows)) if cut_of else choices, state, part, numbers)

  state, metrics = ops.repeat(update, state, judgement.rows_UM)
  rest = (judgement.data_state, numbers.refresh_every, judgement.pass_rate)
  return ops(end_iteration, state, *rest, layout=kept), metrics, batch

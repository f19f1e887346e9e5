"""What a budget of tokens or floating-point operations is in iterations, before the run starts.

Learning-rate schedules need to know their end, so a run's length is fixed before it starts and nothing is stopped in
the middle: a budget becomes `train.iterations`, from the most that one iteration can cost. No run exceeds its budget;
one whose completions stop early uses less of it, and the report shows how much.
"""

import math

import jax
from ml_collections import ConfigDict

from grpo_jax.algorithms.spec import needs
from grpo_jax.config.stages import stages_of
from grpo_jax.models.config import param_shapes
from grpo_jax.runs.model import load_model
from grpo_jax.runs.validate import algorithm_spec
from grpo_jax.runs.warm_up import calls_per_iteration
from grpo_jax.sampling.sampler import sample
from grpo_jax.training.experience import critic_values, reference_of, score
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.value_step import value_step

KINDS = ("steps", "tokens", "flops")


def _group(config: ConfigDict) -> int:
  """Completions of one prompt in a rollout, at most, with the greedy one where the row asks for it."""
  group = max(config.sampling.group_sizes or (config.sampling.group_size,))
  return group + ("greedy" in needs(algorithm_spec(config)))


def tokens_per_iteration(config: ConfigDict) -> int:
  """Sampled tokens of an iteration, at most: attempts × prompts × completions of each × the longest completion."""
  return max(1, config.train.resample_attempts) * config.train.prompts * _group(config) * max(config.completion_buckets)


def flops_per_iteration(config: ConfigDict) -> float:
  """Floating-point operations of an iteration by the count 2·N per token forward and 4·N backward, at most.

  N is the number of the model's parameters; products within attention are left out (Kaplan et al. 2020, arXiv
  2001.08361, section 2.1). A prompt counts once per pass, since a group is a tree. Passes: sampling (once an attempt),
  the reference where the row asks for one, the old policy where a rollout has several updates, and for each update
  epoch forward and backward; with a critic its values, and its own forward and backward.
  """
  t, cfg = config.train, load_model(config).cfg
  calls = calls_per_iteration(config, cfg)
  share = (t.minibatch_prompts or t.prompts) / t.prompts  # of the rollout, that an update sees
  passes = max(1, t.resample_attempts) * calls[sample] + calls[reference_of] + calls[score] + calls[critic_values]
  passes += 3 * share * (calls[policy_step] + calls[value_step])
  shapes = param_shapes(cfg)
  parameters = sum(math.prod(s) for s in jax.tree.leaves(shapes, is_leaf=lambda x: isinstance(x, tuple)))
  tokens = t.prompts * (max(config.prompt_buckets) + _group(config) * max(config.completion_buckets))
  return 2.0 * parameters * passes * tokens


def iterations_within(budget: dict, config: ConfigDict) -> int:
  """How many iterations a budget allows; ValueError where not even one."""
  [(kind, amount)] = budget.items()
  if "rl" not in stages_of(config.task):
    raise ValueError(f"budget={budget!r} is of RL iterations, and task={config.task!r} has none; leave it out.")
  cost = {"steps": lambda _: 1, "tokens": tokens_per_iteration, "flops": flops_per_iteration}[kind](config)
  if amount < cost:
    raise ValueError(f"budget={budget!r} is less than one iteration may take, {cost:.3g} {kind}; raise it.")
  return int(amount // cost)

"""Configs that cannot work are refused before anything compiles, in one sentence that names the key."""

import jax
import pytest

from grpo_jax.config.defaults import default_config
from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.runs.parts import minibatches_of
from grpo_jax.runs.validate import algorithm_spec, optimizer_spec, validate, validate_devices


def config(changes=()):
  """A config that is valid but for the changes."""
  c = default_config()
  with c.unlocked():
    c.rewards.components = {"correct": {"rule": "numeric", "weight": 1.0}}
  c.update_from_flattened_dict(dict(changes))
  return c


def test_the_defaults_with_a_reward_are_valid():
  validate(config())


@pytest.mark.parametrize("key, value, words", [
  ("task", "dpoo", "choose one of"),
  ("sampling.group_size", 1, "at least 2 for algorithm.advantage='group_normalized'"),
  ("sampling.group_size", 0, "whole number in [1, "),
  ("sampling.temperature", 0.0, "finite number in [1e-3"),
  ("prompt_buckets", (64, 32), "increasing"),
  ("completion_buckets", (8, 16, 32), "one or two"),
  ("train.minibatch_prompts", 3, "train.prompts=8"),
  ("train.micro_prompts", 5, "must divide"),
  ("train.micro_members", 3, "the group size=8"),
  ("sampling.group_sizes", (8, 4), "increasing"),
  ("train.resample_attempts", -1, "whole number in [0"),
  ("contamination", "ask", "choose one of ('refuse'"),
  ("curriculum.low", 1.0, "in [0, 1)"),
  ("curriculum.high", 1.5, "in (0, 1]"),
  ("curriculum.momentum", 1.0, "[0, 1)"),
  ("curriculum.revisit", -0.1, "in [0, 1]"),
  ("curriculum.skips", 0, "in [1, "),
  ("train.logit_chunk", 7, "completion_buckets"),
  ("train.update_epochs", 0, "in [1, "),
  ("optimizer.schedule", "step", "choose one of"),
  ("optimizer.clip_norm", 0.0, "in (0, 1e12]"),
  ("evaluate.component", "nonsense", "choose one of ['correct']"),
  ("evaluate.top_p", 0.0, "(0, 1]"),
  ("algorithm.preset", "gpro", "choose one of ['cispo', 'dapo'"),
  ("algorithm.kl", "k1", "penalize nothing"),
  ("algorithm.reduction", "mean", "choose one of ['constant', 'sequence_mean', 'sequence_sum'"),
])
def test_refusals_name_key_value_and_rule(key, value, words):
  with pytest.raises(ValueError) as error:
    validate(config({key: value}))
  message = str(error.value)
  assert message.startswith(f"{key}={value!r}") and words in message


def test_a_group_of_one_is_refused_for_the_centered_estimator_too():
  with pytest.raises(ValueError, match=r"sampling\.group_size=1 .*'centered'"):
    validate(config({"sampling.group_size": 1, "algorithm.preset": "dr_grpo"}))


@pytest.mark.parametrize("cells", [{"advantage": "batch_normalized"}, {"preset": "rejection"}, {"preset": "opo"},
                                   {"preset": "remax", "pair_loss": "sigmoid"}])
def test_a_group_of_one_is_refused_wherever_members_are_compared(cells):
  row = {f"algorithm.{name}": value for name, value in cells.items()}
  with pytest.raises(ValueError, match=r"sampling\.group_size=1 must be at least 2"):
    validate(config({"sampling.group_size": 1, **row}))


@pytest.mark.parametrize("preset", ["reinforce", "reinforce_pp", "remax", "ppo"])
def test_a_group_of_one_is_enough_where_none_are(preset):
  validate(config({"sampling.group_size": 1, "algorithm.preset": preset}))


def test_batches_must_split_over_devices():
  eight, three = make_mesh(8), make_mesh(3, devices=jax.devices()[:3])
  validate_devices(config({"train.prompts": 8, "evaluate.batch": 16}), eight)
  validate_devices(config({"train.prompts": 4, "evaluate.batch": 16}), eight)  # by members
  with pytest.raises(ValueError, match=r"train\.prompts=8 must be a multiple of the 3 devices.*group_size=8 of the 3"):
    validate_devices(config({"evaluate.batch": 3}), three)
  with pytest.raises(ValueError, match=r"train\.micro_prompts=4 must be a multiple of the 8 devices.*micro_members=4"):
    validate_devices(config({"train.micro_prompts": 4, "train.micro_members": 4}), eight)
  with pytest.raises(ValueError, match=r"evaluate\.batch=12 must be a multiple of the 8"):
    validate_devices(config({"evaluate.batch": 12}), eight)


@pytest.mark.parametrize("prompts, minibatch, epochs, updates", [(512, 128, 1, 4), (8, 0, 1, 1), (8, 4, 3, 6)])
def test_updates_per_rollout(prompts, minibatch, epochs, updates):
  changes = {"train.prompts": prompts, "train.minibatch_prompts": minibatch, "train.update_epochs": epochs}
  assert minibatches_of(config(changes)).updates == updates


def test_cells_of_a_config_replace_those_of_its_preset():
  spec = algorithm_spec(config({"algorithm.preset": "dr_grpo", "algorithm.kl": "k2", "algorithm.beta": 0.1}))
  assert (spec.advantage, spec.kl, spec.beta, spec.reduction) == ("centered", "k2", 0.1, "constant")


def test_the_constant_divisor_is_the_longest_completion_unless_given():
  assert algorithm_spec(config({"completion_buckets": (32, 96)})).reduction_divisor == 96.0
  assert algorithm_spec(config({"algorithm.reduction_divisor": 50.0})).reduction_divisor == 50.0


def test_optimizer_numbers_come_from_the_config():
  spec = optimizer_spec(config({"optimizer.learning_rate": 0.5, "optimizer.schedule": "cosine"}).optimizer, 77)
  assert (spec.learning_rate, spec.schedule, spec.total_steps) == (0.5, "cosine", 77)

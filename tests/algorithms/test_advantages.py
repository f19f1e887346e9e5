"""Group advantages against numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.algorithms.advantages import centered, group_normalized, shuffled_in_group
from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.table import Signals, advantages

HALF = np.array([[1, 0, 0, 1, 1, 0, 1, 0]], np.float32)  # four right of eight
ONE = np.array([[0, 0, 1, 0, 0, 0, 0, 0]], np.float32)  # one right of eight
EQUAL = {
  "zeros": np.zeros((1, 8)), "ones": np.ones((1, 8)), "tenths": np.full((1, 6), 0.1), "big": np.full((1, 6), 1e7 / 3),
}


def by_reward(rewards_BG, right, wrong):
  return np.where(rewards_BG == 1, right, wrong)


@pytest.mark.parametrize("ddof, value", [(1, 0.9354143), (0, 1.0)])
def test_group_normalized_four_of_eight(ddof, value):
  ours = group_normalized(HALF, ddof=ddof, epsilon=0)
  np.testing.assert_allclose(ours, by_reward(HALF, value, -value), atol=1e-6)


@pytest.mark.parametrize("ddof, right, wrong", [(1, 2.4748737, -0.3535534), (0, 2.6457513, -0.3779645)])
def test_difficulty_bias_of_the_deviation(ddof, right, wrong):
  np.testing.assert_allclose(group_normalized(ONE, ddof=ddof, epsilon=0), by_reward(ONE, right, wrong), atol=1e-6)


def test_sample_deviation_and_1e6_are_the_defaults():
  np.testing.assert_allclose(group_normalized(HALF), by_reward(HALF, 0.9354126, -0.9354126), atol=2e-7)


def test_centered_has_no_difficulty_bias():
  np.testing.assert_allclose(centered(HALF), by_reward(HALF, 0.5, -0.5), atol=1e-6)
  np.testing.assert_allclose(centered(ONE), by_reward(ONE, 0.875, -0.125), atol=1e-6)


def test_a_better_group_is_no_signal_and_a_worse_one_is():
  np.testing.assert_allclose(centered(jnp.array([[60.0, 20.0], [80.0, 80.0]])), [[20, -20], [0, 0]], atol=1e-6)


def test_signs_as_rewards_give_the_same_normalized_advantages():
  np.testing.assert_allclose(
    group_normalized(2 * HALF - 1, epsilon=0), group_normalized(HALF, epsilon=0), atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1e-30, 1e-6, 1e-4, 1.0])
@pytest.mark.parametrize("name", EQUAL)
def test_equal_rewards_are_exactly_zero(name, epsilon):
  rewards_BG = EQUAL[name].astype(np.float32)
  for ddof in (0, 1):
    assert not np.any(group_normalized(rewards_BG, ddof=ddof, epsilon=epsilon))
  assert not np.any(centered(rewards_BG))


def test_six_tenths_have_a_deviation_in_float32():
  assert jnp.std(EQUAL["tenths"].astype(np.float32)) > 0  # why zero spread is max == min, not a small deviation


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
@pytest.mark.parametrize("name", EQUAL)
def test_equal_rewards_give_exactly_no_gradient(name, epsilon):
  spec = make_spec("grpo", kl="off", advantage_epsilon=epsilon)
  advantages_BG = advantages(Signals(EQUAL[name].astype(np.float32)), spec, None)[..., 0]
  logps = jnp.full((*advantages_BG.shape, 3), -1.5)
  loss = lambda x: policy_loss(x, jnp.ones(x.shape, bool), advantages_BG, logps + 0.3, None, spec)[0][0]  # noqa: E731
  np.testing.assert_array_equal(jax.grad(loss)(logps), np.zeros(logps.shape))


def row(rewards_BG, spec, key=None):
  return advantages(Signals(rewards_BG), spec, key)[..., 0]


def test_groups_do_not_see_each_other():
  both = group_normalized(np.concatenate([HALF, 100 * ONE]))
  np.testing.assert_array_equal(both[0], group_normalized(HALF)[0])
  np.testing.assert_array_equal(both[1], group_normalized(100 * ONE)[0])


def test_half_precision_rewards_are_widened():
  assert group_normalized(jnp.asarray(HALF, jnp.bfloat16)).dtype == jnp.float32
  np.testing.assert_array_equal(group_normalized(jnp.asarray(HALF, jnp.bfloat16)), group_normalized(HALF))


def test_the_shuffled_control_keeps_each_groups_values_and_moves_them():
  values = np.arange(32, dtype=np.float32).reshape(4, 8)
  shuffled = np.asarray(shuffled_in_group(values, jax.random.key(0)))
  np.testing.assert_array_equal(np.sort(shuffled, 1), values)
  assert (shuffled != values).mean() > 0.5
  assert len({tuple(row - 8 * i) for i, row in enumerate(shuffled)}) > 1  # not one permutation for all groups


def test_the_spec_chooses_the_row():
  key = jax.random.key(0)
  np.testing.assert_array_equal(row(HALF, make_spec("dr_grpo")), centered(HALF))
  np.testing.assert_array_equal(row(HALF, make_spec("grpo", ddof=0)), group_normalized(HALF, ddof=0))
  control = make_spec("grpo", shuffle_advantages=True)
  np.testing.assert_array_equal(row(ONE, control, key), shuffled_in_group(group_normalized(ONE), key))

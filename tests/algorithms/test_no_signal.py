"""Rewards without signal give exactly no advantage, and masks with holes are bridged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.algorithms.advantages import flat_groups
from grpo_jax.algorithms.baselines import group_then_batch
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.table import ADVANTAGES, Signals, advantages, token_rewards
from grpo_jax.algorithms.token_advantages import at_last_token, gae

B, G, T = 3, 4, 5
MASK = np.arange(T) < np.random.default_rng(0).integers(1, T + 1, (B, G, 1))
COMPARING = sorted(set(ADVANTAGES) - {"none"})
SPREAD = 10.0 ** np.random.default_rng(1).uniform(-6, 6, 1000)
CONSTANTS = (SPREAD * np.random.default_rng(2).choice([-1, 1], 1000)).astype(np.float32)


def signals(rewards_BG):
  """Everything a row may ask for, with nothing in it but these rewards: a critic that knows nothing, no KL."""
  steps = jnp.broadcast_to(rewards_BG[..., None], MASK.shape)
  return Signals(rewards_BG, jnp.asarray(MASK), greedy_B=rewards_BG[:, 0], kl_BGT=jnp.zeros(MASK.shape),
                 step_rewards_BGT=steps, step_ends_BGT=jnp.asarray(MASK), values_BGT=jnp.zeros(MASK.shape))


def row(name):
  spec = make_spec("grpo", advantage=name, gamma=1.0, gae_lambda=1.0, advantage_epsilon=0.0, pass_k=3)
  return lambda rewards_BG: jnp.where(MASK, advantages(signals(rewards_BG), spec, None), 0)


@pytest.mark.parametrize("name", sorted(set(COMPARING) - {"kept"}))
def test_a_thousand_constants_give_exactly_no_advantage(name):
  """Also one unit in the last place apart, as 0.05 + 0.3 is from 0.35; jitted and not."""
  whole = jnp.asarray(np.broadcast_to(CONSTANTS[:, None, None], (1000, B, G)))
  ulp = np.array(whole)
  ulp[:, 0, 1] = np.nextafter(ulp[:, 0, 1], np.float32(np.inf))
  rewards = jnp.concatenate([whole, jnp.asarray(ulp)])
  assert not np.any(jax.vmap(row(name))(rewards))
  assert not np.any(jax.jit(jax.vmap(row(name)))(rewards))


@pytest.mark.parametrize("name", ["shrunken", "group_normalized", "group_then_batch", "batch_normalized", "pass_at_k"])
def test_groups_of_other_constants_are_no_signal_either(name):
  rewards = jnp.asarray(np.repeat(CONSTANTS[:300].reshape(100, B, 1), G, 2))
  assert not np.any(jax.jit(jax.vmap(row(name)))(rewards))


def test_shrunken_of_two_groups_without_spread():
  rewards = np.array([[0.1] * 4, [0.3] * 4], np.float32)
  np.testing.assert_array_equal(advantages(Signals(rewards), make_spec("grpo", advantage="shrunken"), None), 0)


def test_what_is_more_than_rounding_is_signal():
  above = np.nextafter(np.float32(0.35), np.float32(1))
  one_apart = np.array([[0.35, np.float32(0.05) + np.float32(0.3), 0.35, above]], np.float32)
  assert flat_groups(one_apart).all()
  assert not flat_groups(one_apart + np.array([[0, 0, 0, 1e-5]], np.float32)).any()
  assert not flat_groups(np.array([[0, 0, 1e-6, 0]], np.float32)).any()


def masked_whiten(x, mask):
  """What verl and OpenRLHF do to token advantages, with the population's variance."""
  mean = (x * mask).sum() / mask.sum()
  variance = (((x - mean) ** 2) * mask).sum() / mask.sum()
  return (x - mean) / np.sqrt(variance + 1e-8) * mask


def test_reinforce_pp_baseline_is_whitened_over_tokens(x64):
  rewards = np.random.default_rng(3).choice([0.0, 1.0], (B, G))
  rewards[1] = 1.0
  want = masked_whiten((rewards - rewards.mean(1, keepdims=True))[..., None] * MASK, MASK)
  got = advantages(Signals(jnp.asarray(rewards), jnp.asarray(MASK)), make_spec("reinforce_pp_baseline"), None)
  np.testing.assert_allclose(np.where(MASK, got, 0), want, atol=1e-12)
  assert group_then_batch(jnp.asarray(rewards), MASK.sum(-1)).shape == (B, G)


def test_reinforce_pp_is_whitened_with_epsilon_inside_the_root(x64):
  rewards = 0.3 + 1e-5 * np.random.default_rng(4).normal(size=(B, G))
  got = advantages(Signals(jnp.asarray(rewards), jnp.asarray(MASK)), make_spec("reinforce_pp"), None)
  np.testing.assert_allclose(got, masked_whiten(np.broadcast_to(rewards[..., None], MASK.shape), MASK), atol=1e-9)
  assert np.abs(got).max() < 0.5  # a spread far below 1e-4 does not become one of 1


HOLES = np.array([[[1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0] * 6]], bool)


def test_the_reward_is_paid_once_at_the_last_own_token():
  paid = at_last_token(np.array([[1.0, 2.0, 3.0, 4.0]], np.float32), HOLES)
  np.testing.assert_array_equal(paid[0], [[0, 0, 0, 0, 0, 1], [0, 0, 0, 2, 0, 0], [3, 0, 0, 0, 0, 0], [0] * 6])


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_gae_bridges_tokens_that_are_not_the_policys(lam):
  rng = np.random.default_rng(5)
  values, raw = (rng.normal(size=HOLES.shape).astype(np.float32) for _ in range(2))
  s = Signals(raw[..., 0], jnp.asarray(HOLES), kl_BGT=raw)
  got = gae(token_rewards(s), values, HOLES, gamma=0.9, lam=lam)
  for g, own in enumerate(HOLES[0]):
    n, alone = own.sum(), [a[:1, g : g + 1, own] for a in (np.asarray(token_rewards(s)), values)]
    want = gae(*alone, np.ones((1, 1, n), bool), gamma=0.9, lam=lam)[0, 0] if n else []
    np.testing.assert_allclose(np.asarray(got)[0, g, own], want, rtol=1e-5)
    assert not np.asarray(got)[0, g, ~own].any()

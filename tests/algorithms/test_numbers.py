"""Numbers of a row are arrays: another value compiles nothing, and a stack of rows is one vmapped program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.baselines import best_and_worst
from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.spec import PRESETS, make_spec
from grpo_jax.algorithms.table import ADVANTAGES, KL, Signals, advantages, estimated

B, G, T = 4, 4, 6
ROWS = {name: {} for name in PRESETS} | {
  f"grpo+{name}": {"advantage": name} for name in sorted(ADVANTAGES)} | {
  "grpo+capped": {"surrogate": "capped"}, "grpo+kl_cov": {"surrogate": "kl_cov"},
  "grpo+sampler": {"sampler_correction": "token_truncate"}, "grpo+abs": {"kl": "abs"}}


def batch():
  """Signals and log-probabilities of a rollout, ragged, with everything a row may ask for."""
  rng = np.random.default_rng(0)
  mask = np.arange(T) < rng.integers(1, T + 1, (B, G, 1))
  logps = rng.normal(-2, 1, (B, G, T)).astype(np.float32)
  old, ref, behavior, values, steps = (
    (logps + rng.normal(0, 0.3, logps.shape)).astype(np.float32) for _ in range(5))
  rewards = rng.integers(0, 2, (B, G)).astype(np.float32)
  last = np.arange(T) == mask.sum(-1, keepdims=True) - 1
  signals = Signals(rewards, mask, greedy_B=rewards[:, 0], step_rewards_BGT=steps, step_ends_BGT=last,
                    values_BGT=values)
  return signals, logps, old, ref, behavior, mask & (rng.random(mask.shape) < 0.3)


def outcome(spec, signals, logps, old, ref, behavior, picked):
  """The loss of a row from rewards on, and its gradient."""
  if spec.kl_place == "reward" and spec.kl != "off":
    signals = signals.replace(kl_BGT=spec.beta * KL[spec.kl](old, ref))
  made = advantages(signals, spec, jax.random.key(0))
  returns = estimated(signals, spec)  # PPO's other use of gamma and lambda

  def loss(logps):
    (numerator, denominator), _ = policy_loss(
      logps, signals.mask_BGT, made, old, ref, spec, behavior_logps_BGT=behavior, picked_BGT=picked,
      roles_BG=best_and_worst(signals.rewards_BG))
    return numerator / denominator

  return (*jax.value_and_grad(loss)(logps), returns)


def others(spec):
  """The row with every number changed, three times."""
  return [jax.tree.map(lambda x, k=k: np.float32(x * (1 + 0.1 * k) + 0.01 * k), spec) for k in range(3)]


@pytest.mark.parametrize("name", ROWS)
def test_a_stack_of_rows_equals_separate_ones_and_numbers_compile_nothing(name):
  row = ROWS[name]
  specs = others(make_spec(name.split("+")[0], **row))
  arrays = batch()
  one = jax.jit(lambda *args: outcome(*args))  # a cache of its own
  separate = [one(spec, *arrays) for spec in specs]
  assert one._cache_size() == 1
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *specs)
  together = jax.jit(jax.vmap(outcome, (0,) + (None,) * len(arrays)))(stacked, *arrays)
  for k, alone in enumerate(separate):
    loss, *arrays = (a[k] for a in together)
    assert abs(loss - alone[0]) <= 1e-6  # its terms are of order 1 and may cancel
    assert tiny.gap(arrays, list(alone[1:])) <= 1e-6

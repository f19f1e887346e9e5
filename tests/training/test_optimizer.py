"""AdamW against optax, schedules and clipping by hand, and the refusal of a gradient that is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from grpo_jax.training.optimizer import OptimizerSpec, apply_gradients, learning_rate
from grpo_jax.training.state import new_state

BASE = OptimizerSpec(learning_rate=0.1, clip_norm=1e9)


def state_of(params):
  return new_state(jax.tree.map(jnp.asarray, params), 0, reference=False)


def gradients(params, seed: int):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda p: rng.normal(0, 1, p.shape).astype(np.float32), params)


@pytest.mark.parametrize("schedule, changes, values", [
  ("constant", {}, {0: 1, 7: 1, 99: 1}),
  ("constant", {"warmup_steps": 4}, {0: 0.25, 1: 0.5, 3: 1, 50: 1}),
  ("linear", {"warmup_steps": 2, "total_steps": 10}, {0: 0.5, 1: 1, 2: 1, 6: 0.5, 10: 0, 20: 0}),
  ("linear", {"total_steps": 10, "final_fraction": 0.2}, {0: 1, 5: 0.6, 10: 0.2, 11: 0.2}),
  ("cosine", {"warmup_steps": 2, "total_steps": 10}, {0: 0.5, 2: 1, 4: 0.8535534, 6: 0.5, 10: 0}),
  ("cosine", {"total_steps": 8, "final_fraction": 0.1}, {0: 1, 4: 0.55, 8: 0.1}),
])
def test_schedules(schedule, changes, values):
  spec = OptimizerSpec(schedule=schedule, learning_rate=0.01, **changes)
  for step, fraction in values.items():
    np.testing.assert_allclose(learning_rate(spec, step), 0.01 * fraction, atol=1e-8)


def test_adamw_is_optax():
  """Five steps, decay of matrices only, float32."""
  params = tiny.params(tiny.config(num_layers=1, attention_bias=True))
  spec = BASE.replace(learning_rate=1e-2, weight_decay=0.1, b1=0.8, b2=0.95, epsilon=1e-6)
  decayed = jax.tree_util.tree_map_with_path(lambda path, _: not path[-1].key.endswith(("norm", "bias")), params)
  theirs = optax.adamw(1e-2, b1=0.8, b2=0.95, eps=1e-6, weight_decay=0.1, mask=decayed)
  state, want, opt_state = state_of(params), params, theirs.init(params)
  for i in range(5):
    state, _ = jax.jit(apply_gradients)(state, gradients(params, i), spec)
    updates, opt_state = theirs.update(gradients(params, i), opt_state, want)
    want = optax.apply_updates(want, updates)
  assert tiny.gap(state.params, want) <= 1e-6
  assert int(state.step) == 5 and int(state.skipped) == 0


def test_weight_decay_skips_norms_and_biases():
  params = tiny.params(tiny.config(num_layers=1, attention_bias=True))
  zero = jax.tree.map(np.zeros_like, params)
  state, _ = jax.jit(apply_gradients)(state_of(params), zero, BASE.replace(weight_decay=0.5))
  for path, before in jax.tree_util.tree_leaves_with_path(params):
    after = dict(jax.tree_util.tree_leaves_with_path(state.params))[path]
    factor = 1.0 if path[-1].key.endswith(("norm", "bias")) else 0.95
    np.testing.assert_allclose(after, factor * before, rtol=1e-6, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("clip_norm, kept", [(1.0, 0.2), (2.5, 0.5), (5.0, 1.0), (10.0, 1.0)])
def test_clipping_to_the_global_norm(clip_norm, kept):
  """b1 = 0 makes the first moment the gradient that was used. Its norm is 5 over both leaves."""
  params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
  used = {"a": np.array([3.0, 0.0], np.float32), "b": np.array([4.0], np.float32)}
  state, metrics = apply_gradients(state_of(params), used, BASE.replace(b1=0.0, clip_norm=clip_norm))
  assert tiny.gap(state.opt_state.mu, jax.tree.map(lambda g: kept * g, used)) <= 1e-6
  np.testing.assert_allclose(metrics["update/grad_norm"], (5, 1))  # before clipping


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_only_the_counters(bad):
  params = tiny.params(tiny.config(num_layers=1))
  update = jax.jit(apply_gradients)
  before, _ = update(state_of(params), gradients(params, 0), BASE)
  broken = gradients(params, 1)
  broken["layers"]["q"][0, 1, 2] = bad
  after, metrics = update(before, broken, BASE.replace(weight_decay=0.1))
  jax.tree.map(np.testing.assert_array_equal, (after.params, after.opt_state), (before.params, before.opt_state))
  assert (int(after.step), int(after.skipped)) == (2, 1)
  assert tuple(map(int, metrics["update/skipped"])) == (1, 1)
  healed, metrics = update(after, gradients(params, 1), BASE)
  assert (int(healed.step), int(healed.skipped), int(metrics["update/skipped"][0])) == (3, 1, 0)
  assert tiny.gap(healed.params, params) > 1e-3


def test_a_gradient_of_zero_is_not_skipped_and_moves_nothing():
  params = tiny.params(tiny.config(num_layers=1))
  state, metrics = apply_gradients(state_of(params), jax.tree.map(np.zeros_like, params), BASE)
  jax.tree.map(np.testing.assert_array_equal, state.params, params)
  assert int(metrics["update/skipped"][0]) == 0


def test_numbers_do_not_recompile():
  params = {"a": jnp.ones(3)}
  traced = []
  update = jax.jit(lambda state, grads, spec: (traced.append(1), apply_gradients(state, grads, spec))[1])
  for lr in (1e-3, 1e-2):
    update(state_of(params), params, BASE.replace(learning_rate=lr, weight_decay=lr, warmup_steps=10 * lr))
  assert len(traced) == 1

"""The end of an iteration: data position, and when the reference is renewed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grpo_jax.training.state import end_iteration, new_state


def state_at(iterations: int, refresh_every: int):
  """A state whose parameter is the number of the iteration it was moved in."""
  state, ending = new_state({"w": jnp.zeros(2)}, 3, reference=True), jax.jit(end_iteration)
  for i in range(1, iterations + 1):
    state = ending(state.replace(params={"w": jnp.full(2, float(i))}), {"position": jnp.int32(10 * i)}, refresh_every)
  return state


@pytest.mark.parametrize(
  "refresh_every, references", [(0, [0, 0, 0, 0, 0]), (1, [1, 2, 3, 4, 5]), (2, [0, 2, 2, 4, 4])])
def test_the_reference_is_renewed_every_k_iterations(refresh_every, references):
  assert [float(state_at(i, refresh_every).ref_params["w"][0]) for i in range(1, 6)] == references


def test_position_and_counters():
  state = state_at(3, 0)
  assert (int(state.iteration), int(state.data_state["position"]), int(state.step)) == (3, 30, 0)
  assert float(state.params["w"][0]) == 3 and int(state.seed) == 3


def test_a_state_without_a_reference_stays_without():
  state = end_iteration(new_state({"w": jnp.zeros(2)}, 0, reference=False), {"position": jnp.int32(5)}, 1)
  assert state.ref_params is None


def test_the_reference_starts_as_a_copy():
  state = new_state({"w": jnp.arange(3.0)}, 0, reference=True)
  np.testing.assert_array_equal(state.ref_params["w"], state.params["w"])
  assert state.ref_params["w"] is not state.params["w"]  # the policy's buffer is donated


def test_a_bfloat16_reference_is_rounded_at_the_start_and_at_each_renewal():
  state = new_state({"w": jnp.asarray([1.001, 2.0])}, 0, reference=True, reference_dtype="bfloat16")
  assert state.ref_params["w"].dtype == jnp.bfloat16 and state.params["w"].dtype == jnp.float32
  moved = jax.jit(end_iteration)(state.replace(params={"w": jnp.asarray([3.001, 4.0])}), {"position": jnp.int32(1)}, 1)
  assert moved.ref_params["w"].dtype == jnp.bfloat16
  np.testing.assert_array_equal(moved.ref_params["w"], jnp.asarray([3.001, 4.0], jnp.bfloat16))

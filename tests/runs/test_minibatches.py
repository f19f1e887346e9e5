"""Which prompts an optimizer update sees: each once a pass, in an order that is a function of seed and iteration."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from grpo_jax.runs.rl import RLRun
from grpo_jax.runs.rl_programs import take_rows
from grpo_jax.runs.validate import updates_per_iteration

B = 8


def orders(seed=0, iteration=1, minibatch=4, epochs=2):
  """The rows of each minibatch of an iteration, `[updates, minibatch]`; their number where there is no selection."""
  train = SimpleNamespace(prompts=B, minibatch_prompts=minibatch, update_epochs=epochs)
  config = SimpleNamespace(seed=seed, train=train)
  run = SimpleNamespace(config=config, updates=updates_per_iteration(config), programs=lambda key, batch, rows: rows)
  found = list(RLRun.minibatches(run, "experience", np.arange(B), (4, 6), iteration))
  assert all(rows is lengths or (rows == lengths).all() for rows, lengths in found if run.updates > 1)
  return [rows for rows, _ in found]


@pytest.mark.parametrize("minibatch, epochs, updates", [(4, 1, 2), (2, 3, 12), (0, 2, 2), (8, 2, 2)])
def test_every_pass_sees_every_prompt_once(minibatch, epochs, updates):
  rows = orders(minibatch=minibatch, epochs=epochs)
  assert len(rows) == updates
  for of_pass in np.concatenate(rows).reshape(epochs, B):
    np.testing.assert_array_equal(np.sort(of_pass), np.arange(B))


def test_the_order_is_a_function_of_seed_iteration_and_pass():
  flat = lambda **options: tuple(np.concatenate(orders(**options)))  # noqa: E731
  assert flat() == flat()
  assert len({flat(), flat(seed=1), flat(iteration=2)}) == 3
  assert flat()[:B] != flat()[B:]


@pytest.mark.parametrize("minibatch", [0, B])
def test_a_single_update_takes_the_experience_as_it_is(minibatch):
  assert orders(minibatch=minibatch, epochs=1) == ["experience"]


def test_rows_take_whole_groups(prompts):
  batch = tiny.experience(prompts)
  taken = take_rows(batch, np.array([2, 0]))
  np.testing.assert_array_equal(taken.prompts.uids_B, prompts.uids_B[[2, 0]])
  np.testing.assert_array_equal(taken.ref_logps_BGT, batch.ref_logps_BGT[[2, 0]])
  assert taken.advantages_BGT.shape == (2, 4, 1)

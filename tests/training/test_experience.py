"""Rollout and rewards to experience: truncated completions, penalties, KL in the reward, members left out."""

import pathlib

import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.table import Signals
from grpo_jax.training.experience import make_experience
from grpo_jax.types import Prompts, Rollout

GOLDENS = np.load(pathlib.Path(__file__).parents[1] / "algorithms" / "goldens" / "trl.npz")
B, G, T = 6, 4, 12


def rollout():
  """TRL's lengths and stops as a rollout."""
  mask = np.arange(T)[None] < GOLDENS["in/lens"][:, None]
  prompts = Prompts(np.ones((B, 2), np.int32), np.ones((B, 2), bool), np.arange(B, dtype=np.int32))
  truncated = ~GOLDENS["in/ends_with_eos"].reshape(B, G)
  shape = (B, G, T)
  return Rollout(prompts, np.ones(shape, np.int32), mask.reshape(shape), np.zeros(shape, np.float32), truncated)


def experience(spec, rewards_BG, ref=None, **signals):
  return make_experience(rollout(), Signals(rewards_BG, **signals), ref, None, None, {}, spec, 0, 0, T=T)


def test_masked_truncation_is_that_of_trl():
  rewards_BG = GOLDENS["in/rewards3"][:, 0].astype(np.float32).reshape(B, G)
  batch = experience(make_spec("grpo", kl="off", truncated="mask", advantage_epsilon=1e-4), rewards_BG)
  theirs = GOLDENS["mask_truncated/plain/completion_mask"].reshape(B, G, T) > 0
  np.testing.assert_array_equal(batch.mask_BGT, theirs)
  assert theirs.sum() == GOLDENS["mask_truncated/plain/num_items_in_batch"]
  assert tiny.gap(batch.advantages_BGT[..., 0], GOLDENS["mask_truncated/plain/advantages"].reshape(B, G)) <= 1e-5


def test_penalized_truncation_and_kept_masks():
  rewards_BG = np.ones((B, G), np.float32)
  batch = experience(make_spec("reinforce", truncated="penalize", truncation_penalty=0.5), rewards_BG)
  np.testing.assert_array_equal(batch.advantages_BGT[..., 0], np.where(rollout().truncated_BG, 0.5, 1.0))
  np.testing.assert_array_equal(batch.mask_BGT, rollout().mask_BGT)


@pytest.mark.parametrize("kl, value", [("k1", 0.5), ("k2", 0.125), ("k3", 0.1065307)])
def test_kl_in_the_reward_is_summed_over_the_completion(kl, value):
  ref = np.full((B, G, T), -0.5, np.float32)  # behaviour log-probabilities are 0
  batch = experience(make_spec("reinforce", kl=kl, kl_place="reward", beta=0.1), np.ones((B, G), np.float32), ref)
  want = 1 - 0.1 * value * GOLDENS["in/lens"].reshape(B, G)
  np.testing.assert_allclose(batch.advantages_BGT[..., 0], want, atol=1e-5)


def test_members_left_out_have_no_tokens():
  present = np.broadcast_to(np.arange(G)[None] < 2, (B, G))
  rewards_BG = np.tile(np.array([[0, 1, 50, 70]], np.float32), (B, 1))
  batch = experience(make_spec("dr_grpo"), rewards_BG, present_BG=present)
  assert not batch.mask_BGT[:, 2:].any() and batch.mask_BGT[:, :2].any(-1).all()
  np.testing.assert_array_equal(batch.advantages_BGT[:, :2, 0], np.tile([[-0.5, 0.5]], (B, 1)))

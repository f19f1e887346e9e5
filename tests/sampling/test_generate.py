"""The sampler against the scorer and against a full forward pass; what a sample may and may not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from families import FAMILIES

from grpo_jax.models.rows import tree_logps
from grpo_jax.models.whole_vocabulary import full_logits
from grpo_jax.sampling.generate import generate
from grpo_jax.types import Prompts, SampleRequest

STOPS = (2, 5, 9, 11, 20)
REQUEST = SampleRequest(group_size=4, max_new_tokens=8, stop_ids=STOPS)
sampler = jax.jit(generate, static_argnums=1)


@pytest.fixture(scope="module")
def rollout(cfg, params, prompts):
  """Sixteen completions of at most 8 tokens: some stop, some are cut."""
  return jax.device_get(sampler(params, cfg, prompts, 0, REQUEST))


def rows(prompts: Prompts, order) -> Prompts:
  return Prompts(*(np.asarray(a)[order] for a in (prompts.tokens_BP, prompts.mask_BP, prompts.uids_B)))


def test_the_fixture_is_ragged(rollout):
  lengths = rollout.mask_BGT.sum(-1)
  assert len(np.unique(lengths)) >= 4 and 0 < rollout.truncated_BG.sum() < rollout.truncated_BG.size
  assert len({int(t) for t in rollout.tokens_BGT[rollout.mask_BGT]} & set(STOPS)) >= 2


def test_the_first_stop_token_counts_and_nothing_after_it(rollout):
  lengths = rollout.mask_BGT.sum(-1)
  for tokens, mask, truncated, n in zip(
    *(a.reshape(-1, *a.shape[2:]) for a in (rollout.tokens_BGT, rollout.mask_BGT, rollout.truncated_BG, lengths)),
    strict=True
  ):
    assert mask[:n].all() and not mask[n:].any()
    assert not np.isin(tokens[: n - 1], STOPS).any()
    assert truncated == (not np.isin(tokens[n - 1], STOPS))
    assert n == 8 or not truncated


def test_padding_after_the_stop_is_zero(rollout):
  assert not rollout.tokens_BGT[~rollout.mask_BGT].any() and not rollout.behavior_logps_BGT[~rollout.mask_BGT].any()


@pytest.mark.parametrize("family, scan_layers, temperature", [
  ("llama", False, 1.0), ("llama3", False, 1.3), ("qwen2", False, 1.3), ("qwen2_window", True, 0.7),
  ("qwen3", True, 0.7), ("gemma2", True, 0.7), ("gemma3", False, 0.7), ("gemma3", True, 1.0),
])
def test_sampler_scorer_and_full_forward_agree(prompts, family, scan_layers, temperature):
  """Prefill and decode, the tree, and one causal pass over each whole sequence give the same log-probabilities."""
  cfg = tiny.config(scan_layers=scan_layers, **FAMILIES[family])
  params = tiny.params(cfg)
  rollout = jax.device_get(sampler(params, cfg, prompts, 0, REQUEST.replace(temperature=temperature)))
  tokens, mask = rollout.tokens_BGT, rollout.mask_BGT
  assert len(np.unique(np.sum(mask, -1))) >= 2 and mask.sum(-1).max() >= 5  # ragged, and longer than the windows
  logps, _ = jax.jit(tree_logps, static_argnums=1)(params, cfg, prompts, tokens, mask, temperature)
  assert np.max(np.abs(logps - rollout.behavior_logps_BGT)) <= 1e-5

  rows = np.zeros((*tokens.shape[:2], prompts.tokens_BP.shape[1] + tokens.shape[2]), np.int32)
  lengths = prompts.mask_BP.sum(1)
  for b, n in enumerate(lengths):
    rows[b, :, :n], rows[b, :, n : n + tokens.shape[2]] = prompts.tokens_BP[b, -n:], tokens[b]
  logits = jax.jit(full_logits, static_argnums=1)(params, cfg, rows.reshape(-1, rows.shape[-1])) / temperature
  whole = np.asarray(jax.nn.log_softmax(logits)).reshape(*rows.shape, -1)
  at = lengths[:, None, None] - 1 + np.arange(tokens.shape[2])[None, None]
  predicting = np.take_along_axis(whole, np.broadcast_to(at, tokens.shape)[..., None], 2)
  full = np.take_along_axis(predicting, tokens[..., None], -1)[..., 0]
  assert np.max(np.abs(np.where(mask, full, 0) - rollout.behavior_logps_BGT)) <= 1e-5


def test_greedy_decoding_is_the_argmax_of_full_forward_passes(cfg, params, prompts):
  greedy = sampler(params, cfg, prompts, 0, SampleRequest(group_size=1, max_new_tokens=6, greedy_members=1))
  logits_of = jax.jit(full_logits, static_argnums=1)
  for b, (tokens, mask) in enumerate(zip(prompts.tokens_BP, prompts.mask_BP, strict=True)):
    sequence = np.zeros(16, np.int32)  # causal: what stands to the right is not seen
    sequence[: mask.sum()] = tokens[mask]
    for at in range(mask.sum(), mask.sum() + 6):
      sequence[at] = np.argmax(logits_of(params, cfg, sequence[None])[0, at - 1])
    np.testing.assert_array_equal(greedy.tokens_BGT[b, 0], sequence[mask.sum() : mask.sum() + 6])


@pytest.mark.parametrize("order", [[3, 1, 0, 2], [2]])
def test_a_sample_does_not_depend_on_its_place_or_its_neighbours(cfg, params, prompts, rollout, order):
  again = sampler(params, cfg, rows(prompts, order), 0, REQUEST)
  np.testing.assert_array_equal(again.tokens_BGT, rollout.tokens_BGT[order])
  np.testing.assert_array_equal(again.mask_BGT, rollout.mask_BGT[order])


def test_a_sample_does_not_depend_on_padding(cfg, params, prompts, rollout):
  wide = Prompts(*(np.pad(a, ((0, 0), (3, 0))) for a in (prompts.tokens_BP, prompts.mask_BP)), prompts.uids_B)
  np.testing.assert_array_equal(sampler(params, cfg, wide, 0, REQUEST).tokens_BGT, rollout.tokens_BGT)


def test_a_sample_does_not_depend_on_the_size_of_its_group_or_the_longest_completion(cfg, params, prompts, rollout):
  more = sampler(params, cfg, prompts, 0, REQUEST.replace(group_size=8, max_new_tokens=10))
  np.testing.assert_array_equal(more.tokens_BGT[:, :4, :8], rollout.tokens_BGT)
  assert len({tuple(row) for row in np.asarray(more.tokens_BGT[0])}) > 4


def test_other_uids_seeds_and_streams_give_other_samples(cfg, params, prompts, rollout):
  evaluation = sampler(params, cfg, prompts, 0, REQUEST.replace(stream=1))
  reseeded = sampler(params, cfg, prompts, 1, REQUEST)
  renamed = sampler(params, cfg, prompts.replace(uids_B=prompts.uids_B + 1), 0, REQUEST)
  for other in (evaluation, reseeded, renamed):
    assert (other.tokens_BGT != rollout.tokens_BGT).any(-1).mean() > 0.5


def test_greedy_members_come_first_and_leave_the_others_alone(cfg, params, prompts, rollout):
  mixed = sampler(params, cfg, prompts, 0, REQUEST.replace(greedy_members=1))
  greedy = sampler(params, cfg, prompts, 5, REQUEST.replace(greedy_members=4))
  np.testing.assert_array_equal(mixed.tokens_BGT[:, 1:], rollout.tokens_BGT[:, 1:])
  np.testing.assert_array_equal(mixed.tokens_BGT[:, 0], greedy.tokens_BGT[:, 0])
  np.testing.assert_array_equal(greedy.tokens_BGT, np.repeat(greedy.tokens_BGT[:, :1], 4, 1))


def test_top_1_sampling_is_greedy(cfg, params, prompts):
  top = sampler(params, cfg, prompts, 0, REQUEST.replace(top_k=1))
  greedy = sampler(params, cfg, prompts, 0, REQUEST.replace(greedy_members=4))
  np.testing.assert_array_equal(top.tokens_BGT, greedy.tokens_BGT)
  assert np.max(np.abs(top.behavior_logps_BGT)) <= 1e-6  # one token is left: probability 1


def test_temperature_is_a_number(cfg, params, prompts, rollout):
  params = jax.tree.map(jnp.asarray, params)
  traced = []
  compiled = jax.jit(lambda request: (traced.append(1), generate(params, cfg, prompts, 0, request))[1])
  cold, same = (compiled(REQUEST.replace(temperature=t)).tokens_BGT for t in (0.1, 1.0))
  assert len(traced) == 1
  np.testing.assert_array_equal(same, rollout.tokens_BGT)
  assert np.any(cold != rollout.tokens_BGT)

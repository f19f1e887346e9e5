"""The decoding loop against a plain sampler: chunks of the cache, dropped rows, meshes; what it computes per token."""

import jax
import numpy as np
import pytest
import tiny
from families import FAMILIES
from plain_sampler import plain_rollout

from grpo_jax.distributed.mesh import make_mesh, put, state_shardings, without_fsdp
from grpo_jax.models import cache
from grpo_jax.sampling import seats
from grpo_jax.sampling.generate import counted
from grpo_jax.types import Prompts, SampleRequest

LENGTHS = (3, 5, 1, 4, 2, 5, 3, 4)
MORE = (2, 5, 9, 11, 20)
REQUEST = SampleRequest(group_size=4, max_new_tokens=22, stop_ids=(2, 5), greedy_members=1)


def slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def short(monkeypatch):
  """Chunks of six columns, and finished rows dropped of completions as short as these."""
  monkeypatch.setattr(cache, "LEAST", 6)
  monkeypatch.setattr(seats, "SHORTEST", 8)


def sampled(params, cfg, prompts, request):
  return jax.device_get(jax.jit(lambda p, q: counted(p, cfg, q, 0, request))(params, prompts))


def first(prompts: Prompts, B: int) -> Prompts:
  return Prompts(*(a[:B] for a in (prompts.tokens_BP, prompts.mask_BP, prompts.uids_B)))


def check(rollout, want):
  for name in ("tokens_BGT", "mask_BGT", "truncated_BG"):
    np.testing.assert_array_equal(getattr(rollout, name), getattr(want, name), name)
  assert np.max(np.abs(rollout.behavior_logps_BGT - want.behavior_logps_BGT)) <= 1e-5


@pytest.mark.parametrize("family, scan_layers, B, request_", [
  ("llama", False, 8, REQUEST), ("qwen2_window", True, 4, REQUEST),
  slow("gemma3", False, 4, REQUEST.replace(temperature=8.0, stop_ids=MORE)),
  slow("gemma2", True, 4, REQUEST.replace(temperature=2.0, stop_ids=MORE)),
  slow("qwen3", False, 3, REQUEST.replace(group_size=3)), slow("llama", False, 2, REQUEST.replace(stop_ids=())),
])
def test_tokens_masks_and_truncation_are_those_of_a_plain_sampler(family, scan_layers, B, request_):
  cfg = tiny.config(scan_layers=scan_layers, **FAMILIES[family])
  params, prompts = tiny.params(cfg), first(tiny.prompts(LENGTHS), B)
  want = plain_rollout(params, cfg, prompts, 0, request_)
  lengths = want.mask_BGT.sum(-1)
  assert lengths.max() > 16 and (len(np.unique(lengths)) >= 4 or not request_.stop_ids)
  rollout, row_steps = sampled(params, cfg, prompts, request_)
  check(rollout, want)
  assert lengths.sum() <= row_steps
  assert row_steps < B * request_.group_size * 22 or not request_.stop_ids


def test_at_geometric_lengths_a_token_costs_at_most_two_row_steps(cfg, params):
  """Every token equally likely and one of 24 a stop: lengths of mean T / 4."""
  uniform = params | {"lm_head": np.zeros_like(params["lm_head"])}
  request = SampleRequest(group_size=8, max_new_tokens=96, stop_ids=(3,))
  rollout, row_steps = sampled(uniform, cfg, tiny.prompts(LENGTHS), request)
  tokens = rollout.mask_BGT.sum()
  assert 0.2 < tokens / rollout.mask_BGT.size < 0.3 and rollout.mask_BGT.sum(-1).max() > 60
  assert 1 <= row_steps / tokens <= 2.0


@pytest.mark.parametrize("B, slots", [(8, 16), slow(8, 8), (4, 2)])
def test_slots_change_no_sample(cfg, params, B, slots):
  """Members wait for a seat; with fewer slots than prompts, prompts for a place."""
  prompts, request = first(tiny.prompts(LENGTHS), B), REQUEST.replace(max_new_tokens=12)
  want, all_at_once = sampled(params, cfg, prompts, request)
  rollout, row_steps = sampled(params, cfg, prompts, request.replace(slots=slots))
  check(rollout, want)
  assert rollout.mask_BGT.sum() <= row_steps < 1.5 * all_at_once


@pytest.mark.parametrize("sizes, whole, B, slots", [
  slow((8, 1, 1), False, 8, 0), ((8, 1, 1), False, 8, 16), slow((2, 4, 1), True, 2, 0), ((4, 2, 1), False, 4, 8),
  slow((2, 2, 2), False, 8, 16)])
def test_a_mesh_changes_no_sample(cfg, params, sizes, whole, B, slots):
  """Replicas by themselves, members split, replicas in step; all rows at once, and two or one to a device."""
  request = REQUEST.replace(max_new_tokens=12, whole=whole, slots=slots)
  prompts, mesh = first(tiny.prompts(LENGTHS), B), make_mesh(*sizes)
  want, _ = sampled(params, cfg, prompts, request.replace(slots=0))
  placed = jax.tree.map(jax.device_put, params, state_shardings(mesh, params))
  placed = jax.tree.map(jax.device_put, placed, without_fsdp(placed)) if whole else placed
  with jax.set_mesh(mesh):
    rollout, row_steps = sampled(placed, cfg, put(mesh, prompts), request)
  check(rollout, want)
  assert rollout.mask_BGT.sum() <= row_steps <= B * 4 * 12

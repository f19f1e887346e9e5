"""A live run on a mesh against one device: the same samples, until a rounding falls on the edge between two tokens."""

import functools
import pathlib
import runpy

import jax
import numpy as np
import pytest

from grpo_jax.distributed.mesh import make_mesh
from grpo_jax.models.whole_vocabulary import full_logits
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs import setup as setups
from grpo_jax.runs.ops import OnDemand
from grpo_jax.runs.parts import RLParts
from grpo_jax.runs.rl import iterate
from grpo_jax.runs.signals import Judge
from grpo_jax.sampling.draw import token_uniforms

TINY = runpy.run_path(str(pathlib.Path(__file__).with_name("tiny_run.py")))["get_config"]
ITERATIONS = 8
MESHES = {"data": (8, 1, 1, 1), "fsdp": (1, 8, 1, 1), "all": (2, 2, 2, 1), "tensor": (1, 2, 4, 1),
          "sequence": (2, 2, 1, 2)}


def lived(sizes):
  """Of each iteration on a mesh: (parameters that sampled, prompts, tokens, mask); and the configuration."""
  config = TINY()
  config.task, config.prompt_buckets, config.completion_buckets = "rl", (6,), (8,)
  config.tokenizer.alphabet += "*/"  # 20 tokens with the special ones: they too are split over `tensor`
  config.model.num_kv_heads = 4
  config.train.minibatch_prompts, config.train.update_epochs = 0, 2
  config.train.token_budgets = (0.7,)
  variety = {"rule": "repetition", "weight": 1.0, "options": {"ngram": 1, "unit": "character"}}
  config.rewards.components = {**config.rewards.components.to_dict(), "variety": variety}  # untrained groups have it
  config.optimizer.epsilon = 1e-5  # Adam makes full steps of what is only rounding; not of what is below this
  config.update_from_flattened_dict(dict(zip(("mesh.data", "mesh.fsdp", "mesh.tensor", "mesh.sequence"), sizes,
                                             strict=True)))
  with pytest.MonkeyPatch.context() as patch:
    if np.prod(sizes) == 1:
      patch.setattr(setups, "make_mesh", functools.partial(make_mesh, devices=jax.devices()[:1]))
    setup, seen = setups.make_setup(config), []
  with Rewards(config.rewards.components.to_dict(), workers=1, deadline_seconds=9.0, max_error_rate=0.0) as rewards:
    parts, ops = RLParts.of(setup), OnDemand(setup.mesh)
    judge, state = Judge(rewards, setup.tokenizer, parts.choices.asks, ""), parts.fresh_state()
    for i in range(1, ITERATIONS + 1):
      before = jax.device_get(state.params)
      state, _, made = iterate(ops, parts, judge, state, i)
      arrays = (made.rollout.prompts, made.experience.tokens_BGT, made.experience.mask_BGT)
      seen.append((before, *jax.device_get(arrays)))
  return seen, setup.cfg, config.seed


@pytest.fixture(scope="module")
def alone():
  return lived((1, 1, 1, 1))


def distance_to_the_edge(cfg, seed, params, prompts, tokens, mask, at) -> float:
  """How far the uniform of the token at (b, g, t) is from an end of the interval of some token, in float64."""
  b, g, t = at
  sequence = np.concatenate([prompts.tokens_BP[b][prompts.mask_BP[b]], tokens[b, g, :t]])[None]
  logits = np.asarray(full_logits(params, cfg, sequence)[0, -1], np.float64)
  edges = np.cumsum(np.exp(logits - logits.max()))
  uniform = np.asarray(token_uniforms(seed, 0, prompts.uids_B, *tokens.shape[1:]))[at]
  return float(np.abs(edges / edges[-1] - uniform).min())


def first_mismatch(ours, theirs):
  """(iteration, place) of the first token that differs in any row, None where none does."""
  for i, ((_, _, a, _), (_, _, b, _)) in enumerate(zip(ours, theirs, strict=True)):
    if (a != b).any():
      t = int(np.argmax((a != b).any((0, 1))))
      row = np.argwhere(a[..., t] != b[..., t])[0]
      return i, (*map(int, row), t)
  return None


def check(alone, other):
  (ours, cfg, seed), (theirs, *_) = alone, other
  found = first_mismatch(ours, theirs)
  if found is None:
    return
  iteration, place = found
  assert iteration > 0, "the first iteration's samples differ"
  assert distance_to_the_edge(cfg, seed, *ours[iteration], place) <= 1e-4


@pytest.mark.parametrize("sizes", [
  pytest.param(sizes, id=name, marks=() if name == "all" else pytest.mark.slow) for name, sizes in MESHES.items()])
def test_a_mesh_samples_what_one_device_samples(alone, sizes):
  check(alone, lived(sizes))


def test_a_mismatch_that_is_no_tie_is_noticed(alone):
  """The same check, with one token of the last iteration changed."""
  seen, *rest = alone
  params, prompts, tokens, mask = seen[-1]
  changed, b = tokens.copy(), int(np.argmax(mask[:, 0].sum(-1)))
  edge = distance_to_the_edge(*rest, params, prompts, tokens, mask, (b, 0, 0))
  changed[b, 0, 0] += 1
  assert edge > 1e-4
  with pytest.raises(AssertionError):
    check(alone, ([*seen[:-1], (params, prompts, changed, mask)], *rest))

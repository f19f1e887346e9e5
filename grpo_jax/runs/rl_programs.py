"""The programs of an RL stage and their compilation: sampler, scorer, experience, update, for each bucket."""

from functools import partial

import jax
import numpy as np

from grpo_jax.algorithms.policy_loss import advantages
from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.models.logps import tree_logps
from grpo_jax.runs.programs import Programs, like, shaped
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.validate import updates_per_iteration
from grpo_jax.sampling.generate import generate
from grpo_jax.training.accumulate import Cut
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import end_iteration
from grpo_jax.types import Experience, Prompts, Rollout, SampleRequest


def cut_to(rollout: Rollout, T: int) -> Rollout:
  """The first T tokens of a rollout none of whose completions is longer."""
  arrays = (rollout.tokens_BGT, rollout.mask_BGT, rollout.behavior_logps_BGT)
  return Rollout(rollout.prompts, *(a[..., :T] for a in arrays), rollout.truncated_BG)


def score(params, rollout: Rollout, temperature, *, cfg, T: int, chunk: int):
  """Log-probabilities `[B, G, T]` of a rollout under some parameters (reference or old policy)."""
  rollout = cut_to(rollout, T)
  return tree_logps(params, cfg, rollout.prompts, rollout.tokens_BGT, rollout.mask_BGT, temperature, chunk)[0]


def make_experience(rollout, rewards_BG, ref_logps, old_logps, spec: AlgorithmSpec, seed, iteration, *, T: int):
  """Rollout and rewards to what policy steps learn from; group statistics are taken here, on the whole `[B, G]`."""
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0x5AFF), iteration)
  cut = cut_to(rollout, T)
  return Experience(cut.prompts, cut.tokens_BGT, cut.mask_BGT, cut.behavior_logps_BGT,
                    advantages(rewards_BG, spec, key), old_logps, ref_logps)


def take_rows(batch: Experience, rows) -> Experience:
  """Some prompts of an experience, with all members of their groups."""
  return jax.tree.map(lambda a: a[rows], batch)


def requests(config, stop_ids) -> dict[str, SampleRequest]:
  """The two kinds of sampling of a run; a held-out group is one greedy completion and the samples."""
  s, e = config.sampling, config.evaluate
  base = {"max_new_tokens": max(config.completion_buckets), "stop_ids": stop_ids}
  return {
    "train": SampleRequest(temperature=np.float32(s.temperature), group_size=s.group_size, **base),
    "heldout": SampleRequest(temperature=np.float32(e.temperature), group_size=1 + e.samples, greedy_members=1,
                             stream=1, top_k=e.top_k, top_p=e.top_p, min_p=e.min_p, **base),
  }


def compile_rl(setup: Setup, state, spec: AlgorithmSpec, optimizer) -> Programs:
  """Compiles everything the stage will ever call, evaluation included, for every bucket."""
  config, mesh, cfg = setup.config, setup.mesh, setup.cfg
  programs, kinds, state = Programs(mesh), requests(config, setup.tokenizer.stop_ids), like(state)
  seed, temperature, updates = np.uint32(0), np.float32(1), updates_per_iteration(config)
  chunk, B, G = config.train.logit_chunk, config.train.prompts, config.sampling.group_size
  cut = Cut(config.train.micro_prompts, config.train.micro_members, chunk)
  step = partial(policy_step, cfg=cfg, cut=cut)

  def sampler(kind, rows, P):
    fields = (((rows, P), np.int32), ((rows, P), bool), ((rows,), np.int32))
    shapes = Prompts(*(jax.ShapeDtypeStruct(*field) for field in fields))

    def sample(params, prompts, seed, temperature):
      return generate(params, cfg, prompts, seed, kinds[kind].replace(temperature=temperature))

    return programs.add((kind, P), sample, state.params, shaped(mesh, shapes), seed, temperature)

  sampler("heldout", config.evaluate.batch, max(config.prompt_buckets))
  for P in config.prompt_buckets:
    rollout = sampler("train", B, P)
    for T in config.completion_buckets:
      scorer = partial(score, cfg=cfg, T=T, chunk=chunk)
      logps = programs.add(("score", P, T), scorer, state.params, rollout, temperature)
      rewards = shaped(mesh, jax.ShapeDtypeStruct((B, G), np.float32))
      parts = (rewards, logps if spec.kl != "off" else None, logps if updates > 1 else None, spec, seed, np.int32(0))
      batch = programs.add(("experience", P, T), partial(make_experience, T=T), rollout, *parts)
      if updates > 1:
        rows = np.zeros(config.train.minibatch_prompts or B, np.int32)
        batch = programs.add(("minibatch", P, T), take_rows, batch, rows)
      programs.add(("update", P, T), step, state, batch, spec, optimizer, temperature, donate=(0,), keep_state=True)
  programs.add("end", end_iteration, state, np.int32(0), np.int32(0), donate=(0,), keep_state=True)
  return programs

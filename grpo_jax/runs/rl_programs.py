"""The programs of an RL stage and their compilation: sampler, scorer, experience, update, for each bucket."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from grpo_jax.algorithms.baselines import best_and_worst
from grpo_jax.algorithms.filters import penalized
from grpo_jax.algorithms.spec import AlgorithmSpec, with_state
from grpo_jax.algorithms.table import KL, Signals, advantages, estimated
from grpo_jax.distributed.mesh import without_fsdp
from grpo_jax.models.decoder import branches
from grpo_jax.models.logps import tree_logps
from grpo_jax.models.value_head import tree_values
from grpo_jax.runs.group_size import group_buckets
from grpo_jax.runs.programs import Programs, like, shaped
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.validate import updates_per_iteration
from grpo_jax.sampling.generate import generate
from grpo_jax.training.accumulate import Cut, map_microbatches
from grpo_jax.training.look import look
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import end_iteration
from grpo_jax.training.value_step import value_step
from grpo_jax.types import Experience, Prompts, Rollout, SampleRequest


def cut_to(rollout: Rollout, T: int) -> Rollout:
  """The first T tokens of a rollout none of whose completions is longer."""
  arrays = (rollout.tokens_BGT, rollout.mask_BGT, rollout.behavior_logps_BGT)
  return Rollout(rollout.prompts, *(a[..., :T] for a in arrays), rollout.truncated_BG)


def over_rollout(fn, rollout: Rollout, cut: Cut):
  """`fn(rollout)`, an array `[B, G, T, …]`, cut as the updates are, so that scoring needs no more memory than they."""
  return map_microbatches(fn, rollout, cut) if cut.prompts or cut.members else fn(rollout)


def score(params, rollout: Rollout, temperature, *, cfg, T: int, cut: Cut):
  """Log-probabilities `[B, G, T]` of a rollout under some parameters (reference or old policy)."""

  def logps(part: Rollout):
    arrays = (part.prompts, part.tokens_BGT, part.mask_BGT)
    return tree_logps(params, cfg, *arrays, temperature, cut.logit_chunk)[0]

  return over_rollout(logps, cut_to(rollout, T), cut)


def make_experience(rollout, signals: Signals, reference, old_logps, values, algorithm_state, spec: AlgorithmSpec,
                    seed, iteration, *, T: int):
  """Rollout and rewards to what policy steps learn from; group statistics are taken here, on the whole `[B, G]`.

  `reference` is log-probabilities, hidden states when the KL is exact, None without a KL; `values` are the critic's.
  """
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0x5AFF), iteration)
  cut, spec, kl = cut_to(rollout, T), with_state(spec, algorithm_state), None
  mask, longest = cut.mask_BGT, rollout.mask_BGT.shape[-1]
  if spec.kl_place == "reward" and spec.kl != "off":
    old = cut.behavior_logps_BGT if old_logps is None else old_logps
    impossible = jnp.isinf(old) | jnp.isinf(reference)  # the loss leaves such tokens out, by name
    kl = jnp.where(impossible, 0, spec.beta * KL[spec.kl](old, reference))
  rewards_BG = penalized(signals.rewards_BG, jnp.sum(mask, -1), cut.truncated_BG, longest, spec)
  signals = signals.replace(rewards_BG=rewards_BG, mask_BGT=mask, kl_BGT=kl, values_BGT=values)
  if signals.step_ends_BGT is not None:
    steps = (signals.step_rewards_BGT[..., :T], signals.step_ends_BGT[..., :T])
    signals = signals.replace(step_rewards_BGT=steps[0], step_ends_BGT=steps[1])
  advantages_BGT = advantages(signals, spec, key)
  if signals.present_BG is not None:
    mask = mask & signals.present_BG[..., None]
  if spec.truncated == "mask":
    mask = mask & ~cut.truncated_BG[..., None]
  exact = spec.kl == "exact"
  returns = None if values is None else estimated(signals, spec) + values
  return Experience(
    cut.prompts, cut.tokens_BGT, mask, cut.behavior_logps_BGT, advantages_BGT, old_logps,
    ref_logps_BGT=None if exact else reference, ref_hidden_BGTD=reference if exact else None,
    roles_BG=best_and_worst(rewards_BG) if spec.pair_loss != "off" else None,
    present_BG=signals.present_BG, values_BGT=values, returns_BGT=returns)


def reference_of(params, rollout: Rollout, temperature, *, cfg, T: int, cut: Cut, kl: str):
  """What the KL needs of the reference: log-probabilities of the taken tokens, or hidden states for the exact KL."""
  if kl != "exact":
    return score(params, rollout, temperature, cfg=cfg, T=T, cut=cut)
  hidden = lambda part: branches(params, cfg, part.prompts, part.tokens_BGT, part.mask_BGT)  # noqa: E731
  return over_rollout(hidden, cut_to(rollout, T), cut)


def critic_values(params, rollout: Rollout, *, cfg, T: int, cut: Cut):
  """The critic's values `[B, G, T]` of a rollout."""
  values = lambda part: tree_values(params, cfg, part.prompts, part.tokens_BGT, part.mask_BGT)  # noqa: E731
  return over_rollout(values, cut_to(rollout, T), cut)


def without_greedy(rollout: Rollout) -> Rollout:
  """The samples of a rollout whose first member is a greedy completion."""
  arrays = (rollout.tokens_BGT, rollout.mask_BGT, rollout.behavior_logps_BGT, rollout.truncated_BG)
  return Rollout(rollout.prompts, *(a[:, 1:] for a in arrays))


def empty_signals(B: int, G: int, T: int, asks) -> Signals:
  """The fields that the host fills for a row that asks for them, as zeros."""
  steps = [np.zeros((B, G, T), dtype) if "steps" in asks else None for dtype in (np.float32, bool)]
  greedy_B = np.zeros(B, np.float32) if "greedy" in asks else None
  present = np.zeros((B, G), bool) if "present" in asks else None
  return Signals(np.zeros((B, G), np.float32), present_BG=present, greedy_B=greedy_B,
                 step_rewards_BGT=steps[0], step_ends_BGT=steps[1])


def take_rows(batch: Experience, rows) -> Experience:
  """Some prompts of an experience, with all members of their groups."""
  return jax.tree.map(lambda a: a[rows], batch)


def request(config, stop_ids, kind: str, members: int, greedy: int) -> SampleRequest:
  """What is sampled for training or for evaluation, where `greedy` members stand before the others."""
  e = config.evaluate
  base = {"max_new_tokens": max(config.completion_buckets), "stop_ids": stop_ids}
  base |= {"group_size": members + greedy, "greedy_members": greedy, "slots": config.sampling.slots}
  base |= {"whole": config.mesh.sampler == "gathered"}
  if kind == "train":
    return SampleRequest(**base)
  return SampleRequest(stream=1, top_k=e.top_k, top_p=e.top_p, min_p=e.min_p, **base)


def sample(params, prompts: Prompts, seed, temperature, *, cfg, asked: SampleRequest) -> Rollout:
  """What is asked for, at a temperature that is a number."""
  return generate(params, cfg, prompts, seed, asked.replace(temperature=temperature))


def add_sampler(programs: Programs, setup: Setup, config, params, kind: str, rows: int, P: int, members: int,
                greedy: int):
  """Compiles the sampler for `rows` prompts of P tokens under the key (kind, P, members + greedy)."""
  asked = request(config, setup.tokenizer.stop_ids, kind, members, greedy)
  fields = (((rows, P), np.int32), ((rows, P), bool), ((rows,), np.int32))
  prompts = shaped(setup.mesh, Prompts(*(jax.ShapeDtypeStruct(*field) for field in fields)))
  draw = partial(sample, cfg=setup.cfg, asked=asked)
  return programs.add((kind, P, members + greedy), draw, params, prompts, np.uint32(0), np.float32(1))


def add_gather(programs: Programs, setup: Setup, policy):
  """Compiles the move of the policy to the sampler's layout, where it has one of its own; the policy as it will be.

  Whole along `fsdp`, so that no decoding step gathers weights, and already in the type it is computed in.
  """
  if setup.config.mesh.sampler == "same":
    return policy
  cast = partial(jax.tree.map, lambda a: a.astype(setup.cfg.compute_dtype))
  return programs.add("gather", cast, policy, shardings=without_fsdp(policy))


def sampler_policy(run, state):
  """The policy as the sampler takes it."""
  return run.programs("gather", state.policy) if run.config.mesh.sampler == "gathered" else state.policy


def add_heldout_sampler(programs: Programs, setup: Setup, config, params):
  """Compiles the sampler of held-out evaluation: one greedy completion and `evaluate.samples` others."""
  e = config.evaluate
  add_sampler(programs, setup, config, params, "heldout", e.batch, max(config.prompt_buckets), e.samples, 1)


def compile_rl(setup: Setup, state, spec: AlgorithmSpec, optimizers, asks: set[str], programs=None) -> Programs:
  """Compiles everything the stage will ever call, evaluation included; `optimizers`: the policy's and the critic's."""
  config, mesh, cfg = setup.config, setup.mesh, setup.cfg
  programs, state = programs or Programs(mesh), like(state)
  greedy = int("greedy" in asks)
  seed, temperature, updates = np.uint32(0), np.float32(1), updates_per_iteration(config)
  B, cut = config.train.prompts, Cut(*(config.train[f] for f in ("micro_prompts", "micro_members", "logit_chunk")))
  step = partial(policy_step, cfg=cfg, cut=cut)

  policy = add_gather(programs, setup, state.policy)
  add_heldout_sampler(programs, setup, config, policy)
  for P, G in itertools.product(config.prompt_buckets, group_buckets(config)):
    rollout = add_sampler(programs, setup, config, policy, "train", B, P, G, greedy)
    if greedy:
      rollout = programs.add(("samples", P, G + 1), without_greedy, rollout)
    for T in config.completion_buckets:
      scorer, ref, old = partial(score, cfg=cfg, T=T, cut=cut), None, None
      if "reference" in asks:
        measure = partial(reference_of, cfg=cfg, T=T, cut=cut, kl=spec.kl)
        ref = programs.add(("reference", P, T, G), measure, state.reference, rollout, temperature)
      if updates > 1:
        old = programs.add(("score", P, T, G), scorer, state.policy, rollout, temperature)
      values = None
      if state.critic is not None:
        measure = partial(critic_values, cfg=cfg, T=T, cut=cut)
        values = programs.add(("values", P, T, G), measure, state.critic.params, rollout)
      signals = shaped(mesh, empty_signals(B, G, max(config.completion_buckets), asks))
      parts = (signals, ref, old, values, state.algorithm_state, spec, seed, np.int32(0))
      batch = programs.add(("experience", P, T, G), partial(make_experience, T=T), rollout, *parts)
      if config.log.rollouts:
        programs.add(("look", P, T, G), partial(look, cfg=cfg, cut=cut), state.policy, batch, spec, temperature)
      if updates > 1:
        rows = np.zeros(config.train.minibatch_prompts or B, np.int32)
        batch = programs.add(("minibatch", P, T, G), take_rows, batch, rows)
      learned = (spec, optimizers[0], temperature)
      programs.add(("update", P, T, G), step, state, batch, *learned, donate=(0,), keep_state=True)
      if state.critic is not None:
        improve, numbers = partial(value_step, cfg=cfg, cut=cut), (optimizers[1], np.float32(0))
        programs.add(("critic", P, T, G), improve, state.critic, batch, *numbers, donate=(0,), keep_state=True)
  numbers = (np.int32(0), np.float32(0))
  programs.add("end", end_iteration, state, state.data_state, *numbers, donate=(0,), keep_state=True)
  return programs

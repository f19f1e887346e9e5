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
from grpo_jax.models.rows import branches, tree_logps
from grpo_jax.models.value_head import tree_values
from grpo_jax.runs.group_size import group_buckets
from grpo_jax.runs.programs import Programs, like, shaped
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.token_budgets import cut_of, packed_key, shares, with_row
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
  return map_microbatches(fn, rollout, cut) if cut.prompts or cut.members or cut.row else fn(rollout)


def score(params, rollout: Rollout, temperature, *, cfg, T: int, cut: Cut):
  """Log-probabilities `[B, G, T]` of a rollout under some parameters (reference or old policy)."""

  def logps(part: Rollout):
    arrays = (part.prompts, part.tokens_BGT, part.mask_BGT)
    return tree_logps(params, cfg, *arrays, temperature, cut.logit_chunk, cut.row)[0]

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

  def hidden(part: Rollout):
    hidden_R1ND, packing = branches(params, cfg, part.prompts, part.tokens_BGT, part.mask_BGT, cut.row)
    return packing.back(hidden_R1ND[:, 0])

  return over_rollout(hidden, cut_to(rollout, T), cut)


def critic_values(params, rollout: Rollout, *, cfg, T: int, cut: Cut):
  """The critic's values `[B, G, T]` of a rollout."""
  values = lambda part: tree_values(params, cfg, part.prompts, part.tokens_BGT, part.mask_BGT, cut.row)  # noqa: E731
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
  base |= {"group_size": members + greedy, "greedy_members": greedy}
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
  config, mesh = setup.config, setup.mesh
  programs, state = programs or Programs(mesh), like(state)
  greedy, B, updates = int("greedy" in asks), config.train.prompts, updates_per_iteration(config)
  policy = add_gather(programs, setup, state.policy)
  add_heldout_sampler(programs, setup, config, policy)
  for P, G in itertools.product(config.prompt_buckets, group_buckets(config)):
    rollout = add_sampler(programs, setup, config, policy, "train", B, P, G, greedy)
    if greedy:
      rollout = programs.add(("samples", P, G + 1), without_greedy, rollout)
    for T in config.completion_buckets:
      key, rows = (P, T, G), np.zeros(config.train.minibatch_prompts or B, np.int32)
      for share in shares(config):
        scores = _add_scorers(programs, setup, state, rollout, spec, asks, key, share)
      signals = shaped(mesh, empty_signals(B, G, max(config.completion_buckets), asks))
      parts = (signals, *scores, state.algorithm_state, spec, np.uint32(0), np.int32(0))
      whole = programs.add(("experience", *key), partial(make_experience, T=T), rollout, *parts)
      batch = programs.add(("minibatch", *key), take_rows, whole, rows) if updates > 1 else whole
      for share in shares(config):
        _add_updates(programs, setup, state, (whole, batch), spec, optimizers, key, share)
  numbers = (np.int32(0), np.float32(0))
  programs.add("end", end_iteration, state, state.data_state, *numbers, donate=(0,), keep_state=True)
  return programs


def _add_scorers(programs: Programs, setup: Setup, state, rollout, spec: AlgorithmSpec, asks, key, share: float):
  """Compiles what scores a rollout under the key (P, T, G): what the KL needs, old log-probabilities, values."""
  B, temperature, (_, T, G), key = setup.config.train.prompts, np.float32(1), key, packed_key(key, share)
  fixed = {"cfg": setup.cfg, "T": T, "cut": with_row(cut_of(setup.config), share, B, G, T, setup.mesh)}
  ref, old, values = None, None, None
  if "reference" in asks:
    measure = partial(reference_of, kl=spec.kl, **fixed)
    ref = programs.add(("reference", *key), measure, state.reference, rollout, temperature)
  if updates_per_iteration(setup.config) > 1:
    old = programs.add(("score", *key), partial(score, **fixed), state.policy, rollout, temperature)
  if state.critic is not None:
    values = programs.add(("values", *key), partial(critic_values, **fixed), state.critic.params, rollout)
  return ref, old, values


def _add_updates(programs: Programs, setup: Setup, state, batches, spec: AlgorithmSpec, optimizers, key, share: float):
  """Compiles the updates under the key (P, T, G); `batches`: a whole experience and a minibatch of it."""
  config, temperature, (_, T, G), key = setup.config, np.float32(1), key, packed_key(key, share)
  whole, one = ({"cfg": setup.cfg, "cut": with_row(cut_of(config), share, len(batch.mask_BGT), G, T, setup.mesh)}
                for batch in batches)
  if config.log.rollouts:
    programs.add(("look", *key), partial(look, **whole), state.policy, batches[0], spec, temperature)
  learned = (state, batches[1], spec, optimizers[0], temperature)
  programs.add(("update", *key), partial(policy_step, **one), *learned, donate=(0,), keep_state=True)
  if state.critic is not None:
    learned = (state.critic, batches[1], optimizers[1], np.float32(0))
    programs.add(("critic", *key), partial(value_step, **one), *learned, donate=(0,), keep_state=True)

"""Stages that learn from given completions (SFT, DPO, reward model), on RL's setup, optimizer and checkpoints."""

import time
from functools import partial

import jax
import numpy as np

from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.pass_at_k import wilson
from grpo_jax.metrics import means
from grpo_jax.runs.batches import pairs, pairs_of, solutions
from grpo_jax.runs.programs import Programs, like, shaped
from grpo_jax.runs.setup import Setup, fresh_state
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.token_budgets import packed_key, share_of, shares, with_row
from grpo_jax.runs.validate import optimizer_spec, preference_spec
from grpo_jax.training.accumulate import Cut
from grpo_jax.training.preference_step import dpo_step, preferred, reward_model_step
from grpo_jax.training.sft_step import sft_step
from grpo_jax.training.state import end_iteration


def run_sft(setup: Setup, workdir) -> dict:
  """Imitates worked solutions to `config.sft.steps` from wherever the workdir is; returns the final parameters."""
  config = setup.config
  step, cut = partial(sft_step, cfg=setup.cfg), Cut(config.sft.micro_batch, 0, config.train.logit_chunk)
  numbers = jax.tree.map(np.float32, (optimizer_spec(config.sft_optimizer, config.sft.steps),))
  state = fresh_state(setup, reference=False)
  return _run(setup, workdir, "sft", config.sft.steps, state, solutions, step, cut, numbers, "loss/sft")


def run_preference(setup: Setup, workdir, kind: str, params=None) -> dict:
  """Learns from pairs to `config.preference.steps`; `kind` is "dpo" or "reward_model". Returns the parameters.

  Held-out pairs are judged before the first step and after the last.
  """
  config, scored = setup.config, kind == "reward_model"
  p = config.preference
  step, cut = partial(reward_model_step if scored else dpo_step, cfg=setup.cfg), Cut(
    p.micro_batch, 0, config.train.logit_chunk, named=True)
  numbers = jax.tree.map(np.float32, (preference_spec(config), optimizer_spec(config.optimizer, p.steps)))
  state = fresh_state(setup, reference=not scored, params=params, value_head=scored)
  judge = partial(preferred, cfg=setup.cfg, scored=scored)
  return _run(setup, workdir, kind, p.steps, state, pairs, step, cut, numbers, "loss/pairs", judge)


def _run(setup: Setup, workdir, name: str, steps: int, state, batches, step, cut: Cut, numbers, shown: str,
         judge=None) -> dict:
  config, programs = setup.config, Programs(setup.mesh)
  more = int(name == "reward_model")  # a score is read one token behind the last
  stage = Stage(workdir, config, total=steps, name=name)
  example, _ = batches(setup, 0)
  stage.warm_up(state)
  if not stage.done:
    B, G, T = example.mask_BGT.shape
    for share in shares(config):
      packed = partial(step, cut=with_row(cut, share, B, G, T + more, setup.mesh))
      args = (like(state), shaped(setup.mesh, example), *numbers)
      programs.add(packed_key(("step",), share), packed, *args, donate=(0,), keep_state=True)
    data = like(state.data_state)
    programs.add("end", end_iteration, like(state), data, np.int32(0), donate=(0,), keep_state=True)
    if judge:
      first = pairs_of(setup, setup.heldout.batch(0, config.evaluate.batch), _examples(setup, 0))
      programs.add("judge", judge, like(state.policy), shaped(setup.mesh, first))
  state = stage.resume(state)
  if judge and stage.start == 0:
    _log_pairs(setup, stage, programs, 0, state)
  for i in range(stage.start, steps):
    started = time.perf_counter()
    batch, position = batches(setup, int(state.data_state["position"]))
    lengths_BG = batch.mask_BGT.sum(-1) + more
    share = share_of(lengths_BG, batch.mask_BGT.shape[-1] + more, config, setup.mesh, cut)
    state, metrics = programs(packed_key(("step",), share), state, put(setup.mesh, batch), *numbers)
    state = programs("end", state, {"position": np.int32(position)}, np.int32(0))
    values = means(jax.device_get(metrics))
    values["time/update"] = time.perf_counter() - started
    stage.log(i + 1, "train", values, f"loss {values[shown]:.3f}")
    last = _log_pairs(setup, stage, programs, steps, state) if judge and i + 1 == steps else None
    stage.maybe_save(i + 1, state, last)
  stage.finish(setup.notes | {"compile_seconds": programs.compile_seconds})
  return state.params


def _examples(setup: Setup, start: int):
  """`evaluate.batch` held-out examples from `start` on; past the end the last one again."""
  examples = setup.heldout.examples
  return [examples[min(i, len(examples) - 1)] for i in range(start, start + setup.config.evaluate.batch)]


def _log_pairs(setup: Setup, stage: Stage, programs: Programs, step: int, state) -> float:
  """Logs the share of held-out pairs that come out right, with its interval, and returns it."""
  n, size, right = len(setup.heldout.examples), setup.config.evaluate.batch, []
  for start in range(0, n, size):
    batch = pairs_of(setup, setup.heldout.batch(start, size), _examples(setup, start))
    right += np.asarray(programs("judge", state.policy, put(setup.mesh, batch))).tolist()
  share = float(np.mean(right[:n]))
  low, high = wilson(sum(right[:n]), n)
  metrics = {"problems": n, "pair_accuracy": share, "pair_accuracy_low": low, "pair_accuracy_high": high}
  stage.log(step, "eval", metrics, f"held-out pairs right {share:.3f} [{low:.3f}, {high:.3f}]")
  return share

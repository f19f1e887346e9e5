"""Supervised fine-tuning on worked solutions: the warm start, on the same setup, optimizer and checkpoints as RL."""

import time
from functools import partial

import jax
import numpy as np

from grpo_jax.data.batches import pad_completions
from grpo_jax.distributed.mesh import put
from grpo_jax.metrics import means
from grpo_jax.runs.programs import Programs, like, shaped
from grpo_jax.runs.prompts import draw
from grpo_jax.runs.setup import Setup, fresh_state
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.validate import optimizer_spec
from grpo_jax.training.accumulate import Cut
from grpo_jax.training.sft_step import sft_step
from grpo_jax.training.state import end_iteration
from grpo_jax.types import Experience


def solutions(setup: Setup, position: int):
  """The next batch of worked solutions as groups of one, and the position after it."""
  config, size, T = setup.config, setup.config.sft.batch, max(setup.config.completion_buckets)
  drawn = draw(setup.train, setup.tokenizer, position, size, (max(config.prompt_buckets),))
  tokens = [setup.tokenizer.encode_completion(e.solution) for e in drawn.examples]
  for example, ids in zip(drawn.examples, tokens, strict=True):
    if len(ids) > T or not example.solution:
      raise ValueError(
        f"completion_buckets={tuple(config.completion_buckets)}: the worked solution {example.solution[:60]!r} has "
        f"{len(ids)} tokens, which is empty or longer; raise the largest bucket or give solutions."
      )
  padded, mask = pad_completions(tokens, T, setup.tokenizer.pad_id)
  zeros = np.zeros((size, 1, T), np.float32)
  batch = Experience(drawn.prompts, padded[:, None], mask[:, None], zeros, np.zeros((size, 1, 1), np.float32))
  return batch, drawn.position


def run_sft(setup: Setup, workdir) -> dict:
  """Trains to `config.sft.steps` from wherever the workdir is; returns the final parameters."""
  config = setup.config
  stage = Stage(workdir, config, total=config.sft.steps, name="sft")
  state = fresh_state(setup, reference=False)
  programs = Programs(setup.mesh)
  optimizer = jax.tree.map(np.float32, optimizer_spec(config.sft_optimizer, config.sft.steps))
  example, _ = solutions(setup, 0)
  step = partial(sft_step, cfg=setup.cfg, cut=Cut(config.sft.micro_batch, 0, config.train.logit_chunk))
  stage.warm_up(state)
  if not stage.done:
    programs.add("step", step, like(state), shaped(setup.mesh, example), optimizer, donate=(0,), keep_state=True)
    programs.add("end", end_iteration, like(state), np.int32(0), np.int32(0), donate=(0,), keep_state=True)
  state = stage.resume(state)
  for i in range(stage.start, config.sft.steps):
    started = time.perf_counter()
    batch, position = solutions(setup, int(state.data_state["position"]))
    state, metrics = programs("step", state, put(setup.mesh, batch), optimizer)
    state = programs("end", state, np.int32(position), np.int32(0))
    numbers = means(jax.device_get(metrics))
    numbers["time/update"] = time.perf_counter() - started
    stage.log(i + 1, "train", numbers, f"loss {numbers['loss/sft']:.3f}")
    stage.maybe_save(i + 1, state)
  stage.finish({"compile_seconds": programs.compile_seconds})
  return state.params

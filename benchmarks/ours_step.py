"""Times full GRPO iterations of grpo_jax with the clock, sizes and report of the peers (benchmarks/peers/setting.py).

  python benchmarks/ours_step.py --size small --steps 5 --warmup 1 --threads 2

The programs are those of a run (`runs/rl.py`): sampler, reference scoring, experience, update, compiled at warm-up.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "peers"))

import setting

MICRO_PROMPTS = {"tiny": 0, "small": 2, "mid": 2, "fewshot": 2}  # prompts per microbatch; 0 is all eight


def run(size: setting.Size, arguments, clock: setting.StepClock):
  """Runs warm-up and counted steps; each samples 64 completions and takes one AdamW step on all of them."""
  from functools import partial

  import jax
  import numpy as np

  import grpo_jax
  from grpo_jax.algorithms.spec import make_spec
  from grpo_jax.algorithms.table import Signals
  from grpo_jax.models.config import ModelConfig
  from grpo_jax.models.init import init_params
  from grpo_jax.sampling.generate import generate
  from grpo_jax.training.dealing import Cut
  from grpo_jax.training.experience import make_experience, score
  from grpo_jax.training.optimizer import OptimizerSpec
  from grpo_jax.training.policy_step import policy_step
  from grpo_jax.training.state import new_state
  from grpo_jax.types import Prompts, SampleRequest

  B, G, T = setting.PROMPTS, setting.COMPLETIONS, size.completion
  cfg = ModelConfig(
    vocab_size=size.vocab, num_layers=size.layers, width=size.width, ffn_width=size.ffn, num_heads=size.heads,
    num_kv_heads=size.kv_heads, head_width=size.width // size.heads, attention_bias=True, scan_layers=False,
    rope_theta=setting.ROPE_THETA, norm_epsilon=setting.NORM_EPSILON,
  )
  micro = MICRO_PROMPTS[arguments.size] if arguments.micro is None else arguments.micro
  numbers = partial(jax.tree.map, np.float32)
  spec = numbers(make_spec("grpo", beta=setting.BETA, epsilon_low=setting.EPSILON, epsilon_high=setting.EPSILON))
  optimizer = numbers(OptimizerSpec(learning_rate=setting.LEARNING_RATE, clip_norm=setting.CLIP_NORM))
  request = SampleRequest(group_size=G, max_new_tokens=T)
  temperature = np.float32(setting.TEMPERATURE)
  sample = jax.jit(lambda params, prompts, seed: generate(params, cfg, prompts, seed, request))
  reference = jax.jit(partial(score, cfg=cfg, T=T, cut=Cut()))
  experience = jax.jit(partial(make_experience, T=T))
  update = jax.jit(partial(policy_step, cfg=cfg, cut=Cut(micro)), donate_argnums=0)
  state = jax.jit(lambda seed: new_state(init_params(cfg, seed), seed, reference=True))(0)
  rng = np.random.default_rng(0)

  timed_sample = clock.timed("sampling", sample, jax.block_until_ready)
  timed_reference = clock.timed("reference", reference, jax.block_until_ready)

  def rollout_and_score(step):
    tokens = rng.integers(0, size.vocab, (B, size.prompt)).astype(np.int32)
    prompts = Prompts(tokens, np.ones(tokens.shape, bool), np.arange(B, dtype=np.int32) + step * B)
    rollout = timed_sample(state.params, prompts, np.uint32(0))
    setting.require(bool(np.asarray(rollout.mask_BGT).all()), "all 64 completions have full length")
    return rollout, timed_reference(state.ref_params, rollout, temperature)

  rollout_and_score = clock.timed("rollout", rollout_and_score)
  clock.begin()
  for step in range(arguments.warmup + arguments.steps):
    rollout, ref = rollout_and_score(step)
    rewards = (np.asarray(rollout.tokens_BGT) % 2).mean(-1, dtype=np.float32)
    batch = experience(rollout, Signals(rewards), ref, None, None, {}, spec, np.uint32(0), np.int32(step))
    state, _ = jax.block_until_ready(update(state, batch, spec, optimizer, temperature))
    clock.end_step()
  setting.require(int(state.step) == arguments.warmup + arguments.steps, "one optimizer update per step")
  return "grpo_jax", grpo_jax.__version__


if __name__ == "__main__":
  setting.run_peer(__doc__, "prompts per microbatch, 0 for all", run)

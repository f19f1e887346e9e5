"""The supervised step: its loss against NumPy, its gradient against cuts."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from grpo_jax.models.whole_vocabulary import full_logits
from grpo_jax.training.accumulate import Cut
from grpo_jax.training.optimizer import OptimizerSpec
from grpo_jax.training.sft_step import sft_step
from grpo_jax.training.state import new_state

OPTIMIZER = OptimizerSpec(learning_rate=1e-3, b1=0.0, clip_norm=1e9)
CFG = tiny.config(num_layers=1)
PARAMS = tiny.params(CFG)
step = jax.jit(sft_step, static_argnames=("cfg", "cut"))


def stepped(prompts, cut):
  batch = tiny.experience(prompts, G=1)
  state = new_state(jax.tree.map(jnp.asarray, PARAMS), 0, reference=False)
  state, metrics = jax.device_get(step(state, batch, OPTIMIZER, cfg=CFG, cut=cut))
  return batch, state, {name: total / count for name, (total, count) in metrics.items()}


def test_loss_is_the_mean_over_solution_tokens(prompts):
  batch, state, metrics = stepped(prompts, Cut())
  losses = []
  for b in range(4):
    prompt = prompts.tokens_BP[b][prompts.mask_BP[b]]
    solution = batch.tokens_BGT[b, 0][batch.mask_BGT[b, 0]]
    sequence = np.zeros(11, np.int32)
    sequence[: len(prompt) + len(solution)] = [*prompt, *solution]
    logits = np.float64(jax.jit(full_logits, static_argnums=1)(PARAMS, CFG, sequence[None])[0])
    for at, token in enumerate(solution, len(prompt) - 1):
      losses.append(np.log(np.exp(logits[at]).sum()) - logits[at, token])
  np.testing.assert_allclose(metrics["loss/sft"], np.mean(losses), rtol=1e-5)
  assert int(state.step) == 1


def test_cuts_change_nothing(prompts):
  _, whole, metrics = stepped(prompts, Cut())
  _, cut, cut_metrics = stepped(prompts, Cut(prompts=1))
  assert tiny.gap((cut.opt_state.mu, cut_metrics), (whole.opt_state.mu, metrics)) <= 1e-5


def test_steps_lower_the_loss(prompts):
  batch, state = tiny.experience(prompts, G=1), new_state(jax.tree.map(jnp.asarray, PARAMS), 0, reference=False)
  losses = []
  for _ in range(20):
    state, metrics = step(state, batch, OptimizerSpec(learning_rate=1e-2), cfg=CFG, cut=Cut())
    losses.append(float(metrics["loss/sft"][0] / metrics["loss/sft"][1]))
  assert losses[-1] < 0.5 * losses[0]

"""The gradient-truth lab: what every row of the table does in expectation, by enumeration, on a policy small enough.

  python -m grpo_jax.tools.truth --out docs/truth.md

A tabular policy over two tokens and a stop, at most two tokens long, has seven completions. Every batch of B · G of
them is enumerated with its probability, the row's loss is differentiated on each, and the expectation and variance of
that gradient are compared with the exact gradient of the objective. Float64; seconds.
"""

import argparse
import dataclasses
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from grpo_jax.algorithms.baselines import best_and_worst
from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.selection import pick
from grpo_jax.algorithms.spec import PRESETS, AlgorithmSpec, make_spec, needs
from grpo_jax.algorithms.table import KL, NEEDS_STEPS, Signals, advantages
from grpo_jax.quiet import quiet

STOP, T = 2, 2
COMPLETIONS = ((STOP,), *((a, b) for a in (0, 1) for b in (0, 1, STOP)))  # seven
TOKENS = np.array([(*c, 0)[:T] for c in COMPLETIONS])
MASK = np.array([[t < len(c) for t in range(T)] for c in COMPLETIONS])
STATES = np.array([[0, 1 + c[0] if c[0] != STOP else 0] for c in COMPLETIONS])  # start, after 0, after 1
CHUNK = 4096  # batches differentiated at a time


@dataclasses.dataclass(frozen=True)
class World:
  """B prompts: logits of policy and reference `[B, 3 states, 3 tokens]`, rewards `[B, 7]`, step rewards `[B, 7, T]`."""

  logits: np.ndarray
  reference: np.ndarray
  rewards: np.ndarray
  steps: np.ndarray


def make_world(B: int, seed: int = 0) -> World:
  """A world whose rewards are 0, 1 and halves, whose policy is far from uniform and from the reference."""
  rng = np.random.default_rng(seed)
  rewards = rng.choice([0.0, 0.0, 0.5, 1.0], (B, len(COMPLETIONS)))
  rewards[:, 1], rewards[:, 4] = 1.0, 0.0
  return World(rng.normal(0, 1, (B, 3, 3)), rng.normal(0, 1, (B, 3, 3)), rewards,
               rng.choice([0.0, 1.0], (B, len(COMPLETIONS), T)))


def completion_logps(logits_BSV):
  """Log-probability of each token of each completion, `[B, 7, T]`."""
  table = jax.nn.log_softmax(logits_BSV)
  return jnp.where(MASK[None], table[:, STATES, TOKENS], 0)


def expected(logits, values_BC):
  """Mean over prompts of E[values]."""
  return jnp.mean(jnp.sum(jnp.exp(jnp.sum(completion_logps(logits), -1)) * values_BC, -1))


def exact_values(world: World):
  """V of the state before each token of each completion: what a perfect critic says, `[B, 7, T]`."""
  p = np.exp(np.asarray(completion_logps(world.logits))).prod(-1)
  values = np.zeros((*world.rewards.shape, T))
  for c, tokens in enumerate(COMPLETIONS):
    for t in range(len(tokens)):
      same = [d for d, other in enumerate(COMPLETIONS) if other[:t] == tokens[:t]]
      values[:, c, t] = (p[:, same] * world.rewards[:, same]).sum(-1) / p[:, same].sum(-1)
  return values


def batch_loss(logits, picks_BG, world: World, values, spec: AlgorithmSpec):
  """The row's loss on one batch of completions, named by their number."""
  rows = jnp.arange(picks_BG.shape[0])[:, None]
  take = lambda a: jnp.asarray(a)[rows, picks_BG]  # noqa: E731
  mask = jnp.asarray(MASK)[picks_BG]
  logps, ref = take(completion_logps(logits)), take(completion_logps(world.reference))
  asks, old = needs(spec), jax.lax.stop_gradient(logps)
  greedy = jnp.argmax(jnp.sum(completion_logps(jax.lax.stop_gradient(logits)), -1), 1)
  kl = spec.beta * KL[spec.kl](old, ref) if spec.kl_place == "reward" and spec.kl != "off" else None
  signals = Signals(
    take(world.rewards), mask, greedy_B=jnp.asarray(world.rewards)[rows[:, 0], greedy], kl_BGT=kl,
    step_rewards_BGT=take(world.steps), step_ends_BGT=mask, values_BGT=take(values))
  advantage = advantages(signals, spec, None)
  picked = None
  if "picked" in asks:
    picked = pick(spec.surrogate, old, advantage, mask, spec, jax.random.key(0))
  (numerator, denominator), _ = policy_loss(
    logps, mask, advantage, None, ref, spec, picked_BGT=picked, behavior_logps_BGT=old,
    roles_BG=best_and_worst(signals.rewards_BG) if spec.pair_loss != "off" else None)
  return numerator / denominator


def gradient_moments(spec: AlgorithmSpec, world: World, G: int):
  """E[-∇ loss] and E|∇ loss - E|² over every batch of B · G completions."""
  B, values = len(world.rewards), exact_values(world)
  p = np.exp(np.asarray(completion_logps(world.logits))).prod(-1)
  one = jax.grad(batch_loss)
  many = jax.jit(jax.vmap(lambda picks: -one(jnp.asarray(world.logits), picks, world, values, spec).reshape(-1)))
  first, second = np.zeros(world.logits.size), 0.0
  batches = np.array(list(itertools.product(range(len(COMPLETIONS)), repeat=B * G))).reshape(-1, B, G)
  for start in range(0, len(batches), CHUNK):
    part = batches[start : start + CHUNK]
    weight = np.prod(p[np.arange(B)[None, :, None], part], (1, 2))
    padded = np.concatenate([part, np.zeros((min(CHUNK, len(batches)) - len(part), B, G), part.dtype)])
    gradients = np.asarray(many(padded))[: len(part)]
    first, second = first + weight @ gradients, second + weight @ (gradients**2).sum(1)
  return first, second - (first**2).sum()


def objectives(world: World, G: int, k: int) -> dict:
  """Exact gradients that a row may be unbiased for."""
  logits = jnp.asarray(world.logits)
  ref = completion_logps(world.reference)

  def with_kl(logits, beta):
    logps = completion_logps(logits)
    kl = jnp.sum(logps - ref, -1)
    return expected(logits, world.rewards) - beta * expected(logits, kl)

  def best_of_k(logits):
    p = jnp.exp(jnp.sum(completion_logps(logits), -1))
    total = 0.0
    for picks in itertools.product(range(len(COMPLETIONS)), repeat=k):
      total += jnp.mean(jnp.prod(p[:, picks], -1) * np.max(world.rewards[:, picks], -1))
    return total

  return {
    "E[r]": jax.grad(lambda x: expected(x, world.rewards))(logits).reshape(-1),
    "E[r] - beta KL": jax.grad(with_kl)(logits, 0.04).reshape(-1),
    f"E[max of {k}]": jax.grad(best_of_k)(logits).reshape(-1),
    "E[sum of step rewards]": jax.grad(lambda x: expected(x, (world.steps * MASK[None]).sum(-1)))(logits).reshape(-1),
  }


# Rows besides the presets: single cells on REINFORCE's terms (ratio none, plain, whole-completion sums, no KL).
CELL_ROWS = {
  f"advantage={name}": {"advantage": name}
  for name in ("group_normalized", "group_floored", "centered", "leave_one_out", "length_weighted", "shrunken",
               "batch_normalized", "group_then_batch", "with_signal_scaled", "pass_at_k")
}
BATCH_ROWS = {"advantage=shrunken": (3, 2), "advantage=batch_normalized": (2, 2), "advantage=group_then_batch": (2, 2),
              "advantage=with_signal_scaled": (2, 2), "reinforce_pp": (2, 2), "reinforce_pp_baseline": (2, 2),
              "ppo": (2, 2)}
# What each unbiased row is unbiased for, and by what factor; every other row is biased. Tested.
UNBIASED = {
  "reinforce": ("E[r]", 1.0), "rloo": ("E[r] - beta KL", 1.0), "remax": ("E[r] - beta KL", 1.0),
  "advantage=leave_one_out": ("E[r]", 1.0), "advantage=centered": ("E[r]", 0.75), "dr_grpo": ("E[r]", 0.75),
  "advantage=shrunken": ("E[r]", 1.0), "advantage=pass_at_k": ("E[max of 2]", 1.0),
}


def spec_of(row: str) -> AlgorithmSpec:
  """The spec of a row of the lab; presets whose subject is not the KL run with beta 0, so that one thing is seen."""
  if row in CELL_ROWS:
    return make_spec("reinforce", pass_k=2, **CELL_ROWS[row])
  spec = make_spec(row, **({"reduction_divisor": 1.0} if row == "dr_grpo" else {}))
  return spec if spec.kl_place == "reward" else spec.replace(beta=0.0)


def measure(row: str) -> dict:
  """One row of the report: its best objective, cosine, scale, bias and relative variance."""
  B, G = BATCH_ROWS.get(row, (1, 4))
  spec, world = spec_of(row), make_world(B)
  if spec.kl_place == "reward":
    spec = spec.replace(beta=0.04)
  mean, variance = gradient_moments(spec, world, G)
  targets = objectives(world, G, 2)
  penalized = spec.kl_place == "reward" and spec.kl != "off"
  name = UNBIASED[row][0] if row in UNBIASED else "E[r] - beta KL" if penalized else "E[r]"
  name = "E[sum of step rewards]" if spec.advantage in NEEDS_STEPS else name
  truth = np.asarray(targets[name])
  scale = float(mean @ truth / (truth @ truth))
  return {
    "row": row, "B": B, "G": G, "objective": name, "scale": scale,
    "cosine": float(mean @ truth / np.linalg.norm(truth) / max(np.linalg.norm(mean), 1e-300)),
    "bias": float(np.linalg.norm(mean - scale * truth) / max(np.linalg.norm(mean), 1e-300)),
    "noise": float(variance / max(mean @ mean, 1e-300)),
  }


TO_GO = "k1 summed over this and later tokens, in the reward"
P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])


def kl_gradients() -> dict:
  """Expected on-policy gradients, with respect to the logits, of KL terms for P = (.5, .3, .2), Q = (.4, .4, .2)."""
  logits, ref = jnp.log(P), jnp.log(Q)

  def in_loss(name):
    def sampled(x, token):
      logps = jax.nn.log_softmax(x)[token]
      return KL[name](logps, ref[token], jnp.exp(logps - jax.lax.stop_gradient(logps)))

    return sum(P[v] * jax.grad(sampled)(logits, v) for v in range(3))

  def exact(x):
    return jnp.sum(jax.nn.softmax(x) * (jax.nn.log_softmax(x) - ref))

  score = jax.jacobian(jax.nn.log_softmax)(logits)  # d log p_v / d logits
  in_reward = sum(P[v] * (logits - ref)[v] * score[v] for v in range(3))
  rows = {"exact KL(P ‖ Q)": jax.grad(exact)(logits)}
  rows |= {name: in_loss(name) for name in ("k1", "k2", "k3", "ratio_k3", "abs")}
  return {name: np.asarray(g) for name, g in (rows | {"k1 in the reward": in_reward}).items()}


def kl_values() -> dict:
  """E[estimator] under P."""
  logps, ref = np.log(P), np.log(Q)
  return {name: float(P @ np.asarray(KL[name](logps, ref, np.ones(3)))) for name in KL}


def whole_kl_biases() -> dict:
  """Distance of each KL term's expected gradient from that of KL(policy || reference) of completions, over its norm."""
  world = make_world(1)
  logits, ref = jnp.asarray(world.logits), completion_logps(world.reference)[0]
  now = completion_logps(logits)[0]
  to_go = jnp.flip(jnp.cumsum(jnp.flip(now - ref, -1), -1), -1)

  def mean(terms):
    return jnp.sum(jnp.exp(jnp.sum(now, -1, keepdims=True)) * jnp.where(MASK, terms, 0))

  def in_loss(name, logps):
    return mean(KL[name](logps, ref, jnp.exp(logps - now)))

  def exact(x):
    log_p, log_q = (jax.nn.log_softmax(jnp.asarray(a))[0] for a in (x, world.reference))
    return mean(jnp.sum(jnp.exp(log_p) * (log_p - log_q), -1)[jnp.asarray(STATES)])

  truth = jax.grad(lambda x: expected(x, jnp.sum(completion_logps(x) - ref[None], -1)))(logits)
  terms = {name: jax.grad(lambda x, name=name: in_loss(name, completion_logps(x)[0]))(logits)
           for name in ("k1", "k2", "k3", "ratio_k3")}
  terms["exact at each visited state"] = jax.grad(exact)(logits)
  terms[TO_GO] = jax.grad(lambda x: mean(completion_logps(x)[0] * to_go))(logits)
  return {name: float(jnp.linalg.norm(g - truth) / jnp.linalg.norm(truth)) for name, g in terms.items()}


HEAD = """# What every row does in expectation

Written by `python -m grpo_jax.tools.truth --out docs/truth.md`; computed by enumeration in float64, no sampling. A
tabular policy (two tokens and a stop, at most two long: seven completions per prompt), on-policy, fixed rewards in
{0, 1/2, 1}. *scale*: the multiple of the exact gradient in the expected one. *bias*: the norm of what is left, over
the norm of the expected gradient; 0 is unbiased up to that scale. *noise*: variance of one batch's gradient over its
squared mean. KL terms in the loss are off here (beta 0): they have their own table.

| row | B, G | compared with the gradient of | scale | cosine | bias | noise |
|---|---|---|---|---|---|---|"""
KL_HEAD = """
Rows with bias 0 are unbiased up to their scale; a test fails when one of them ceases to be.

## KL terms

P = (.5, .3, .2), Q = (.4, .4, .2). Expected gradient with respect to the logits, on-policy, at one state.

| term | expected gradient |
|---|---|"""

WHOLE_HEAD = """
Over whole completions (those of the first table), the distance of a term's expected gradient from the gradient of
KL(policy ‖ reference), as a share of the latter's norm. What is exact at the visited states is not exact here.

| term | distance |
|---|---|"""


def report() -> str:
  """docs/truth.md."""
  lines = [HEAD]
  for row in (*PRESETS, *CELL_ROWS):
    m = measure(row)
    bias = "0" if m["bias"] < 1e-9 else f"{m['bias']:.4f}"
    lines.append(f"| {row} | {m['B']}, {m['G']} | {m['objective']} | {m['scale']:.4f} | {m['cosine']:.6f} | {bias} "
                 f"| {m['noise']:.2f} |")
  lines.append(KL_HEAD)
  lines += [f"| {name} | ({', '.join(f'{v:.7f}' for v in g + 0.0)}) |" for name, g in kl_gradients().items()]
  lines += ["", "| estimator | expected value |", "|---|---|"]
  lines += [f"| {name} | {value:.7f} |" for name, value in kl_values().items()]
  lines.append(WHOLE_HEAD)
  lines += [f"| {name} | {'0' if bias < 1e-9 else f'{bias:.4f}'} |" for name, bias in whole_kl_biases().items()]
  return "\n".join(lines) + "\n"


def main():
  """Reads the flags and runs."""
  quiet()
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--out", type=pathlib.Path, help="file to write; default prints")
  args = parser.parse_args()
  with jax.enable_x64(True):
    text = report()
  if args.out:
    args.out.write_text(text)
  else:
    print(text)


if __name__ == "__main__":
  main()

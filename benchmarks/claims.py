"""What is said of GRPO against PPO, each claim beside what was measured, whichever way it falls.

  python benchmarks/claims.py runs/ppo_vs_grpo [--prompts 256] [--rounds 12] [--out docs/results/claims.md]

Reads a finished sweep configs/sweeps/ppo_vs_grpo.py:TUNED and measures:

  accuracy           held-out, at the end: differences paired by seed
  steps to a target  iterations until the held-out pass rate is what all runs reach at some time
  memory             peak of one compiled iteration (XLA's memory_analysis)
  compute            FLOPs of matrix products of one iteration, each loop times its turns
  time               seconds of one iteration, the two programs in turn
  variance           of the gradient across prompts, as the noise scale tr Var(g_b) / (B |g|²) (McCandlish et al. 2018,
                     arXiv 1812.06162): of both rows, on the same samples of the policy and the critic that PPO ended
                     with

Costs are those of one pass over each rollout for both, and of the settings that tuning chose.
"""

import argparse
import dataclasses
import pathlib
import sys
import time
from functools import partial

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from grpo_jax.algorithms.spec import make_spec, needs
from grpo_jax.reports.records import Collection, collect
from grpo_jax.reports.statistics import Mean, paired, t_interval
from grpo_jax.reports.tables import measures
from grpo_jax.runs.fused import TokenJudge, feed, iteration, token_rewards
from grpo_jax.runs.iteration import compared, sampled, scored, updated
from grpo_jax.runs.model import run_config
from grpo_jax.runs.ops import Trace
from grpo_jax.runs.parts import Judgement, RLParts
from grpo_jax.runs.saved import read_step
from grpo_jax.runs.setup import make_setup
from grpo_jax.tools.flops import matmul_flops
from grpo_jax.tools.variants import prompt_norms, spread

CLAIMS = {  # what is said, in the unit of the measure
  "memory": "25 % less", "compute": "40 % less", "variance": "40 % less", "time": "30 % faster",
  "accuracy": "15 to 20 % better"}


def verdict(found: Mean, claimed: float) -> str:
  """What an interval says of a claimed gain, in percent; a mean without an interval is taken as exact."""
  low, high = (found.mean, found.mean) if found.low is None else (found.low, found.high)
  if low <= 0 <= high:
    return "no difference shown" if high < claimed else "neither shown nor excluded"
  if high < 0:
    return "the opposite"
  return "more than that" if low > claimed else "as claimed" if high >= claimed else "less than that"


def accuracy(collection: Collection) -> dict[str, Mean]:
  """GRPO's gain over PPO in percent of PPO's mean: {measure: paired}."""
  found = {}
  for name, measure in measures(collection).items():
    if name in ("greedy", "pass_rate"):
      grpo, ppo = ({r.seed: measure(r) for r in collection.of(arm)} for arm in ("grpo", "ppo"))
      unit = 100 / np.mean(list(ppo.values()))
      less = paired(grpo, ppo)
      found[name] = Mean(less.mean * unit, less.low * unit, less.high * unit, less.n)
  return found


def steps_to_target(collection: Collection) -> tuple[float, dict[str, dict[int, int]]]:
  """The pass rate that every run reaches at some time, and when each does: {arm: {seed: iteration}}."""
  curves = {arm: {r.seed: [(row["step"], row["pass_rate"]) for row in r.of_kind("eval")] for r in collection.of(arm)}
            for arm in ("grpo", "ppo")}
  target = min(max(rate for _, rate in curve) for of in curves.values() for curve in of.values())
  first = {arm: {seed: next(step for step, rate in curve if rate >= target) for seed, curve in of.items()}
           for arm, of in curves.items()}
  return target, first


@dataclasses.dataclass
class Iteration:
  """One iteration of a run as a compiled program, with what it is called with."""

  peak_bytes: int
  flops: int
  compiled: object
  args: tuple

  def seconds(self) -> float:
    """Of one call."""
    started = time.perf_counter()
    jax.block_until_ready(self.compiled(*self.args))
    return time.perf_counter() - started


def opened(folder: pathlib.Path, **changes):
  """A run's setup with some keys changed, its rewards, and the RL stage."""
  config = run_config(folder)
  config.update_from_flattened_dict(changes)
  setup = make_setup(config, devices=jax.devices()[:1])
  return setup, token_rewards(setup), RLParts.of(setup)


def one_iteration(folder: pathlib.Path, **changes) -> Iteration:
  """The iteration of a run, compiled."""
  setup, rewards, parts = opened(folder, **changes)
  fed = feed(parts, rewards, 1, 0, 0, 1)
  args = (parts.fresh_state(), jax.tree.map(lambda a: a[0], fed.feeds), parts.numbers)
  function = partial(iteration, choices=parts.choices, judge=TokenJudge(rewards, "greedy" in parts.choices.asks))
  compiled = jax.jit(function).lower(*args).compile()
  memory = compiled.memory_analysis()
  peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
  flops = matmul_flops(function, *args, while_trips=max(setup.config.completion_buckets))
  return Iteration(peak, flops, compiled, args)


def noise_scales(folder: pathlib.Path, prompts: int) -> dict[str, dict[str, float]]:
  """{row: {"prompt variance", "noise scale"}} of GRPO and PPO, on samples of the policy that a PPO run ended with."""
  setup, rewards, parts = opened(folder, **{"train.prompts": prompts, "train.update_epochs": 1})
  config = setup.config
  state = read_step(folder / "rl" / "checkpoints", config.train.iterations, parts.fresh_state())
  position = int(np.asarray(state.data_state["position"]))
  fed = feed(parts, rewards, 1, position, config.train.iterations, 1)
  fed, numbers, choices = jax.tree.map(lambda a: a[0], fed.feeds), parts.numbers, parts.choices
  G, T = config.sampling.group_size, max(config.completion_buckets)
  rollout = jax.jit(lambda s, p: sampled(Trace(), choices, s, p, numbers, G))(state, fed.prompts)
  signals, _ = jax.jit(TokenJudge(rewards, greedy=False))(rollout, fed.targets)
  judgement = Judgement(signals, None, fed.iteration, state.data_state)
  bare = parts.numbers.optimizers[0].replace(b1=np.float32(0), clip_norm=np.float32(np.inf))
  found = {}  # `bare`: Adam's first moment is the gradient
  for row in ("grpo", "ppo"):
    numbers = parts.numbers.replace(spec=jax.tree.map(np.float32, make_spec(row)), optimizers=[bare])
    own = dataclasses.replace(choices, asks=frozenset(needs(numbers.spec)))

    def learn(state, rollout, numbers, own=own):
      return compared(Trace(), own, state, scored(Trace(), own, state, rollout, numbers, T), judgement, numbers)

    batch, own = jax.jit(learn)(state, rollout, numbers), dataclasses.replace(own, asks=frozenset())
    gradient = jax.jit(partial(updated, Trace(), own))(state, batch, numbers)[0].opt_state.mu
    norms = jax.jit(partial(prompt_norms, choices=own))(state, batch, numbers)
    found[row] = spread(gradient, np.asarray(norms))
  return found


def shown(found: Mean, unit: str = " %") -> str:
  """`12.3 % [10.1, 14.5]`."""
  interval = "" if found.low is None else f" [{found.low:+.1f}, {found.high:+.1f}]"
  return f"{found.mean:+.1f}{unit}{interval}"


def less_than(grpo, ppo) -> Mean:
  """By how many percent GRPO's is below PPO's: of two numbers, or paired lists of them."""
  return t_interval([100 * (1 - a / b) for a, b in zip(np.atleast_1d(grpo), np.atleast_1d(ppo), strict=True)])


def costs(of: dict, changes: dict, rounds: int) -> tuple[dict[str, Mean], dict]:
  """Memory, compute and time of one iteration of each side."""
  sides = {arm: one_iteration(folder, **changes) for arm, folder in of.items()}
  times = {arm: [] for arm in sides}
  for _ in range(rounds + 2):  # two to warm up
    for arm, program in sides.items():
      times[arm].append(program.seconds())
  grpo, ppo = sides["grpo"], sides["ppo"]
  facts = {arm: f"{p.peak_bytes / 2**20:.1f} MiB, {p.flops / 1e9:.2f} GFLOP, {np.median(times[arm][2:]) * 1e3:.0f} ms"
           for arm, p in sides.items()}
  return {"memory": less_than(grpo.peak_bytes, ppo.peak_bytes), "compute": less_than(grpo.flops, ppo.flops),
          "time": less_than(times["grpo"][2:], times["ppo"][2:])}, facts


def main() -> None:
  """Measures and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--prompts", type=int, default=256, help="of the rollout whose gradients are compared")
  parser.add_argument("--rounds", type=int, default=12, help="of timing")
  parser.add_argument("--out", type=pathlib.Path, help="file for the table; it is printed too")
  args = parser.parse_args()
  try:
    collection = collect([args.folder])
  except ValueError as error:
    sys.exit(f"error: {error}")
  folders = {arm: {r.seed: r.folder for r in collection.of(arm)} for arm in ("grpo", "ppo")}
  if not all(folders.values()):
    sys.exit(f"error: {args.folder} has no finished runs of grpo and ppo; run configs/sweeps/ppo_vs_grpo.py first")
  first = {arm: next(iter(of.values())) for arm, of in folders.items()}
  rows = []

  def add(claim: str, what: str, found: Mean, claimed: float, more: str = ""):
    rows.append(f"| {CLAIMS[claim]} | {what} | {shown(found)} | {verdict(found, claimed)} | {more} |")

  for label, changes in (("one pass each", {"train.update_epochs": 1}), ("as tuned", {})):
    found, facts = costs(first, changes, args.rounds)
    for name, claimed in (("memory", 25.0), ("compute", 40.0), ("time", 30.0)):
      add(name, f"{name} of an iteration, {label}", found[name], claimed, f"GRPO {facts['grpo']}; PPO {facts['ppo']}")
  scales = [noise_scales(folder, args.prompts) for folder in folders["ppo"].values()]
  for name in ("noise scale", "prompt variance"):
    grpo, ppo = ([scale[row][name] for scale in scales] for row in ("grpo", "ppo"))
    what = f"gradient's {name}" + (", unnormalized" if name == "prompt variance" else "")
    add("variance", what, less_than(grpo, ppo), 40.0, f"GRPO {np.mean(grpo):.3g}; PPO {np.mean(ppo):.3g}")
  target, steps = steps_to_target(collection)
  seeds = sorted(steps["ppo"])
  add("time", f"iterations to a pass rate of {target:.3f}",
      less_than(*([steps[arm][seed] for seed in seeds] for arm in ("grpo", "ppo"))), 30.0,
      f"GRPO {np.mean(list(steps['grpo'].values())):.1f}; PPO {np.mean(list(steps['ppo'].values())):.1f}")
  for name, found in accuracy(collection).items():
    means = {arm: np.mean([measures(collection)[name](r) for r in collection.of(arm)]) for arm in folders}
    add("accuracy", f"held-out {name}, in % of PPO's", found, 15.0, f"GRPO {means['grpo']:.3f}; PPO {means['ppo']:.3f}")
  text = "\n".join(["| claim | measure | gain of GRPO | verdict | |", "|---|---|---|---|---|", *rows])
  print(text)
  if args.out:
    args.out.write_text(text + "\n")


if __name__ == "__main__":
  main()

"""Arms of a sweep as one vmapped program against runs one by one, and fused iterations against the loop of the host.

  python benchmarks/arms.py [--arms 32] [--parameters 5000 20000 45000] [--tables same warm fused startup]

Every figure is a ratio measured in one process or in turn; times vary with the machine, ratios less. Four tables:

  same      each arm of one program against its solo run, metric by metric, over `--iterations` iterations on the
            samples that the solo run drew
  warm      seconds of all arms, one program against solo programs one after the other, nothing compiled, 8 prompts a
            rollout; the arms on one host device, and split over one for each core; by the clock and in seconds of
            all cores, which other work on the machine changes less
  fused     iterations per second of the loop of the host, and with 1 and K iterations a dispatch; are the runs equal?
  start-up  whole commands with a warm compile cache: one process for all arms against a process for each (timed for
            `--solo` of them, since each takes about as long)
"""

import argparse
import contextlib
import io
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
WIDTHS = {5000: 16, 20000: 32, 45000: 48, 170000: 96}  # of the model with about so many parameters


def tiny(**changes):
  """configs/arithmetic.py:tiny with changed keys, and its RL stage alone, from scratch."""
  config = runpy.run_path(str(ROOT / "configs" / "arithmetic.py"))["get_config"]("tiny")
  config.task = "rl"
  config.update_from_flattened_dict(changes)
  return config


def arms_of(count: int, **changes) -> list:
  """Configs that differ in seed, learning rate and beta."""
  numbers = [{"seed": a, "optimizer.learning_rate": 10 ** (-3.5 + a % 4 / 4), "algorithm.beta": 0.04 * (a % 3)}
             for a in range(count)]
  return [tiny(name=f"arm{a}", **changes, **n) for a, n in enumerate(numbers)]


def timed(function) -> np.ndarray:
  """Seconds of the clock and of all cores that a call takes, after one that is not counted."""
  jax.block_until_ready(function())
  before = time.perf_counter(), time.process_time()
  jax.block_until_ready(function())
  return np.subtract((time.perf_counter(), time.process_time()), before)


def warm(count: int, K: int, parameters: int, rounds: int) -> dict:
  """Seconds of K iterations of all arms: one vmapped program, and a solo program arm after arm, in turn."""
  from grpo_jax.distributed.mesh import sweep_mesh
  from grpo_jax.runs.fused import TokenJudge, many
  from grpo_jax.runs.setup import make_setup
  from grpo_jax.sweeps.arms import many_over_arms
  from grpo_jax.sweeps.vmapped import Arms

  width = WIDTHS[parameters]
  sizes = {"model.width": width, "model.ffn_width": 2 * width, "model.head_width": width // 4, "train.prompts": 8}
  configs = arms_of(count, **sizes, **{"train.fused_iterations": K, "contamination": "off", "rewards.self_test": 0})
  arms = Arms(configs, [], make_setup(configs[0], devices=jax.devices()[:1]))
  states, feds = jax.device_get(arms.fresh_state(None)), arms.feeds([0] * count, 0, K)
  feeds, take = arms.stacked(feds), lambda tree, a: jax.tree.map(lambda x: x[a], tree)
  choices, judge = arms.parts[0].choices, TokenJudge(arms.rewards, greedy=False)

  def compiled(devices):
    function = jax.jit(many_over_arms(sweep_mesh(count, devices), choices, judge, feeds, arms.one_stream))
    return function.lower(states, feeds, np.int32(K), arms.numbers).compile()

  together = {"vmapped": compiled(jax.devices()[:1]), "split": compiled(jax.devices())}
  alone = jax.jit(lambda s, f, c, n: many(s, f, c, n, choices=choices, judge=judge))
  alone = alone.lower(take(states, 0), feds[0].feeds, np.int32(K), take(arms.numbers, 0)).compile()
  solo_args = [(take(states, a), feds[a].feeds, np.int32(K), take(arms.numbers, a)) for a in range(count)]
  best = {"vmapped": [], "split": [], "solo": []}
  for _ in range(rounds):  # in turn: what else runs on the machine meets all
    for name, function in together.items():
      best[name].append(timed(lambda f=function: f(states, feeds, np.int32(K), arms.numbers)))
    best["solo"].append(timed(lambda: [alone(*args) for args in solo_args]))
  least = {name: np.min(times, 0) for name, times in best.items()}
  return {"parameters": sum(a.size for a in jax.tree.leaves(states.params)) // count, **least}


def same(count: int, K: int, epsilon: float) -> dict:
  """The largest differences between arms and their solo runs on the solo runs' samples, over all metrics and steps."""
  from grpo_jax.distributed.mesh import sweep_mesh
  from grpo_jax.runs.fused import TokenJudge, many, metrics_of
  from grpo_jax.runs.setup import make_setup
  from grpo_jax.sweeps.arms import many_over_arms
  from grpo_jax.sweeps.vmapped import Arms

  configs = arms_of(count, **{"train.prompts": 8, "train.fused_iterations": K, "train.iterations": K,
                              "contamination": "off", "rewards.self_test": 0, "optimizer.epsilon": epsilon})
  arms = Arms(configs, [], make_setup(configs[0], devices=jax.devices()[:1]))
  take = lambda tree, a: jax.tree.map(lambda x: x[a], tree)  # noqa: E731
  states, feds = jax.device_get(arms.fresh_state(None)), arms.feeds([0] * count, 0, K)
  choices, judge = arms.parts[0].choices, TokenJudge(arms.rewards, greedy=False)
  solo = jax.jit(lambda s, f, n: many(s, f, K, n, choices=choices, judge=judge, keep_rollout=True))
  alone = [jax.device_get(solo(take(states, a), feds[a].feeds, take(arms.numbers, a))[1]) for a in range(count)]
  feeds = arms.stacked(feds).replace(rollout=jax.tree.map(lambda *a: np.stack(a), *[told.rollout for told in alone]))
  mesh = sweep_mesh(count, jax.devices()[:1])
  together = jax.jit(many_over_arms(mesh, choices, judge, feeds, arms.one_stream))
  _, told = jax.device_get(together(states, feeds, np.int32(K), arms.numbers))
  worst, where, entropies = 0.0, "", []
  for a, fed in enumerate(feds):
    for k in range(K):
      mine, theirs = metrics_of(take(told, a), k, fed, 1.0), metrics_of(alone[a], k, fed, 1.0)
      for name, value in theirs.items():
        gap = abs(mine[name] - value) / max(1.0, abs(value))
        if gap > worst:
          worst, where = gap, f"{name} of arm {a}, iteration {k + 1}"
    entropies.append(theirs["policy/entropy"])
  return {"worst": worst, "where": where, "spread": float(np.ptp(entropies))}


def fused(K: int, iterations: int) -> dict:
  """Iterations per second from the log of whole runs, the first stretch left out; and whether their metrics agree."""
  from grpo_jax import main
  from grpo_jax.metrics import read_rows

  rates, kept = {}, {}
  for k in (0, 1, K):
    config = tiny(**{"train.fused_iterations": k, "train.iterations": iterations, "evaluate.every": 0,
                     "checkpoint.every": 0, "evaluate.problems": 32, "evaluate.batch": 32})
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
      main.run(config, pathlib.Path(folder))
      rows = [row for row in read_rows(pathlib.Path(folder) / "rl/metrics.jsonl") if row["kind"] == "train"]
    seconds = sorted(row["time/iteration"] for row in rows[K:])
    rates[k] = 1 / seconds[len(seconds) // 2]
    kept[k] = [{name: v for name, v in row.items() if not name.startswith("time/")} for row in rows]
  return {"rates": rates, "equal": kept[0] == kept[1] == kept[K]}


ONE = """
import sys, pathlib; sys.path[:0] = [{root!r}, {here!r}]
import arms
from grpo_jax import main
from grpo_jax.sweeps.vmapped import run_vmapped
configs = arms.arms_of({count}, **{changes!r})
folder = pathlib.Path({folder!r})
if {solo!r} is None:
  run_vmapped(configs, [folder / c.name for c in configs])
else:
  main.run(configs[{solo!r}], folder / configs[{solo!r}].name)
"""


def startup(count: int, iterations: int, solo: int) -> dict:
  """Seconds of whole processes, each tried once before so that every program is in the compile cache."""
  changes = {"train.iterations": iterations, "evaluate.every": iterations, "checkpoint.every": 0}
  times = {}
  with tempfile.TemporaryDirectory() as cache:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", cache),
                   "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def timed(which) -> float:
      with tempfile.TemporaryDirectory() as folder:
        program = ONE.format(root=str(ROOT), here=str(ROOT / "benchmarks"), count=count, changes=changes,
                             folder=folder, solo=which)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True)
        return time.perf_counter() - started

    timed(None), timed(0)  # fills the cache
    times["solo"] = [timed(arm) for arm in range(1, 1 + solo)]
    times["vmapped"] = timed(None)
  each = sum(times["solo"]) / solo
  return {"solo, each": each, "vmapped, all": times["vmapped"], "ratio": count * each / times["vmapped"]}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--arms", type=int, default=32)
  parser.add_argument("--iterations", type=int, default=20, help="of whole runs; also K of the fused ones")
  parser.add_argument("--parameters", type=int, nargs="*", default=[5000, 20000, 45000], choices=list(WIDTHS))
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--solo", type=int, default=2, help="whole solo runs that are timed")
  parser.add_argument("--tables", nargs="*", default=["same", "warm", "fused", "startup"])
  args = parser.parse_args()
  if len(args.tables) > 1:  # each in a process of its own: they want other devices
    print(f"{args.arms} arms on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} (an idle machine has about 0)")
    for table in args.tables:
      environment = {**os.environ, "PYTHONPATH": str(ROOT)}
      if table == "warm":
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={os.cpu_count()}"
      command = [sys.executable, __file__, *sys.argv[1:], "--tables", table]
      subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    return
  TABLES[args.tables[0]](args)


def print_same(args):
  for epsilon in (1e-8, 1e-3):
    row = same(args.arms, args.iterations, epsilon)
    print(f"same      {args.arms} arms, {args.iterations} iterations, Adam's epsilon {epsilon:.0e}: largest difference "
          f"{row['worst']:.1e} ({row['where']}); their entropies end {row['spread']:.3f} apart", flush=True)


def print_warm(args):
  for parameters in args.parameters:
    row = warm(args.arms, 2, parameters, args.rounds)
    ways = [f"{name} {row[name][0]:.2f} s ({row[name][1]:.2f} of cores)" for name in ("solo", "vmapped", "split")]
    ratios = [f"{name} {row['solo'][0] / row[name][0]:.2f} ({row['solo'][1] / row[name][1]:.2f})"
              for name in ("vmapped", "split")]
    print(f"warm      {row['parameters']:>7} parameters: {', '.join(ways)}; times as fast: {', '.join(ratios)}",
          flush=True)


def print_fused(args):
  row = fused(args.iterations, 3 * args.iterations)
  rates = ", ".join(f"{'host loop' if k == 0 else f'K={k}'} {rate:.1f}" for k, rate in row["rates"].items())
  print(f"fused     iterations per second: {rates}; ratio {row['rates'][args.iterations] / row['rates'][0]:.2f}; "
        f"same metrics, bit for bit: {row['equal']}", flush=True)


def print_startup(args):
  row = startup(args.arms, args.iterations, args.solo)
  print(f"start-up  a solo run {row['solo, each']:.1f} s (mean of {args.solo}), {args.arms} arms vmapped "
        f"{row['vmapped, all']:.1f} s, ratio {row['ratio']:.1f}", flush=True)


TABLES = {"same": print_same, "warm": print_warm, "fused": print_fused, "startup": print_startup}

if __name__ == "__main__":
  main()

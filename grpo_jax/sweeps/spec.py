"""A sweep as data: arms × seeds over a base config, and the runs that it stands for.

  Sweep("group_size", base="configs/arithmetic.py:tiny", arms=grid(**{"sampling.group_size": (2, 4, 8, 16)}), seeds=5)

An arm is a name and flat overrides of the base, {"algorithm.beta": 0.04, …}. Every arm is run with every seed, and a
seed is `seed` and `data_seed` both: run s of one arm and run s of another see the same prompts in the same order and
draw with the same keys, so that their difference is paired.
"""

import dataclasses
import importlib.util
import inspect
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict

from grpo_jax.config.identity import identity
from grpo_jax.config.mistakes import told
from grpo_jax.reading import cause_of
from grpo_jax.sweeps.budget import KINDS, iterations_within
from grpo_jax.sweeps.overrides import changed, check_run

DECIDED_BY_STAGE = ("model", "tokenizer", "lora", "sft", "sft_optimizer")  # what shared SFT weights fix for all arms
KEPT_BY_ARMS = ("model.compute_dtype", "model.remat", "model.scan_layers")
STAGE = "sft"

Arms = dict[str, dict]


@dataclass(frozen=True)
class Sweep:
  """What is compared.

  Args:
    name: names the default workdir, runs/NAME.
    base: a config file, `FILE.py` or `FILE.py:ARG`, as of --config.
    arms: {name: flat overrides}; `grid`, `zipped`, `listed` and `crossed` make them.
    seeds: how many (0, 1, …) or which.
    common: flat overrides of every run.
    sft: None, or flat overrides of one supervised stage that is run first and whose weights every arm starts from.
    budget: {} for the base's `train.iterations`, or one of {"steps": n}, {"tokens": n}, {"flops": n}; see budget.py.
    baseline: the arm that others are compared with, seed by seed; the first where none is named.
    measures: metrics compared at the end beside accuracy and reward, by their names in metrics.jsonl: those of an
      evaluation where they stand last, those of training as means over the last tenth of the iterations.
  """

  name: str
  base: str
  arms: Mapping[str, Mapping]
  seeds: int | tuple[int, ...] = 5
  common: Mapping = dataclasses.field(default_factory=dict)
  sft: Mapping | None = None
  budget: Mapping = dataclasses.field(default_factory=dict)
  baseline: str = ""
  measures: tuple[str, ...] = ()

  @property
  def seed_list(self) -> tuple[int, ...]:
    """The seeds, one by one."""
    return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)


@dataclass(frozen=True)
class Run:
  """One run. `hash` says what it computes and does not depend on where; `workdir` ends in it."""

  name: str
  arm: str
  seed: int
  hash: str
  workdir: pathlib.Path
  config: ConfigDict


@dataclass(frozen=True)
class Plan:
  """A sweep in a folder: its runs, seed by seed so that what is there first is paired, and the stage before them."""

  sweep: Sweep
  workdir: pathlib.Path
  runs: tuple[Run, ...]
  stage: Run | None

  def shard(self, index: int, count: int) -> tuple[Run, ...]:
    """The runs of shard `index` (1 … count): every one is in exactly one, and each has of every arm and seed."""
    arms = list(self.sweep.arms)
    return tuple(r for i, r in enumerate(self.runs) if (arms.index(r.arm) + i // len(arms)) % count == index - 1)


def _label(overrides: Mapping) -> str:
  """Last parts of the keys, or all of a key whose last part is another's too, with their values."""
  leaves = [key.rsplit(".", 1)[-1] for key in overrides]
  names = [leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(overrides, leaves, strict=True)]
  return ",".join(f"{name}={value}" for name, value in zip(names, overrides.values(), strict=True))


def listed(*overrides: Mapping) -> Arms:
  """Arms given one by one: `listed({"algorithm.preset": "grpo"}, {"algorithm.preset": "rloo"})`."""
  return {_label(o): dict(o) for o in overrides}


def _columns(function: str, keys: Mapping) -> dict[str, Sequence]:
  for key, values in keys.items():
    if isinstance(values, str) or not isinstance(values, Sequence):
      raise ValueError(f"{function}: {key}={values!r} must be a tuple of values; write ({values!r},).")
  return {key.replace("__", "."): values for key, values in keys.items()}


def grid(**keys) -> Arms:
  """Every combination: `grid(**{"algorithm.beta": (0, 0.04), "algorithm.kl": ("k2", "k3")})` is four arms.

  A dot may be written as two underscores: `grid(algorithm__beta=(0, 0.04))`.
  """
  columns = _columns("grid", keys)
  return listed(*(dict(zip(columns, values, strict=True)) for values in itertools.product(*columns.values())))


def zipped(**keys) -> Arms:
  """The first value of each key, then the second of each; ValueError where their numbers differ. Keys as in `grid`."""
  columns = _columns("zipped", keys)
  sizes = {key: len(values) for key, values in columns.items()}
  if len(set(sizes.values())) > 1:
    raise ValueError(f"zipped: the keys have {sizes} values; give each as many, or use grid for all combinations.")
  return listed(*(dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)))


def crossed(*arms: Arms) -> Arms:
  """Every arm of one set with every arm of the next: names are joined by commas, later overrides win."""
  result: Arms = {"": {}}
  for further in arms:
    result = {
      ",".join(filter(None, (a, b))): {**one, **two} for a, one in result.items() for b, two in further.items()}
  return result


def load(named: str, function: str):
  """Calls `function` of `FILE.py` or, with what follows the colon, `FILE.py:ARG`.

  Raises:
    ValueError: there is no such file, no such function in it, it takes no argument, or the file's own code fails: then
      the message has the traceback of that code below its first line.
  """
  path, _, arg = str(named).partition(":")
  if not pathlib.Path(path).is_file():
    raise ValueError(f"{named!r} names no file; give FILE.py or FILE.py:ARG, from the folder you are in.")
  try:
    return _called(named, path, arg, function)
  except ValueError:
    raise
  except Exception as error:  # whatever the file's code can do
    otherwise = f"{path}: {function}() cannot be called ({cause_of(error)})."
    raise ValueError(told(error, path, function) or otherwise) from error


def _called(named: str, path: str, arg: str, function: str):
  spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
  if spec is None:
    raise ValueError(f"{named!r} is no Python file; give FILE.py or FILE.py:ARG.")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, function):
    raise ValueError(f"{path} has no {function}(); define it.")
  made = getattr(module, function)
  if arg and not inspect.signature(made).parameters:
    raise ValueError(f"{named!r}: {function}() of {path} takes no argument; leave out {':' + arg!r}.")
  return made(arg) if arg else made()


def _check_shape(sweep: Sweep) -> None:
  def need(ok, key, value, rule):
    if not ok:
      raise ValueError(f"sweep {sweep.name}: {key}={value!r} {rule}.")

  need(re.fullmatch(r"[\w.-]+", sweep.name), "name", sweep.name, "must be letters, digits and any of . _ -; rename it")
  need(sweep.arms, "arms", {}, "is empty; give at least one, e.g. grid(**{'algorithm.beta': (0.0, 0.04)})")
  seeds = sweep.seed_list
  need(seeds and len(set(seeds)) == len(seeds) and min(seeds) >= 0, "seeds", sweep.seeds,
       "must be a number from 1 on, or distinct seeds from 0 on")
  budget = dict(sweep.budget)
  need(len(budget) <= 1 and set(budget) <= set(KINDS) and all(n > 0 for n in budget.values()), "budget", budget,
       f"must be empty or a positive number of one of {KINDS}; give e.g. {{'steps': 60}}")
  need(not sweep.baseline or sweep.baseline in sweep.arms, "baseline", sweep.baseline,
       f"is no arm; choose one of {list(sweep.arms)}")
  need(not isinstance(sweep.measures, str), "measures", sweep.measures, "must be a tuple; write ('length/mean',)")
  for arm, overrides in sweep.arms.items():
    need(not budget or "train.iterations" not in {**sweep.common, **overrides}, f"arm {arm}: budget", budget,
         "and train.iterations both say how long a run is; leave one out")
    for key in ("seed", "data_seed", "name"):
      need(key not in overrides and key not in sweep.common, f"arm {arm}: {key}", overrides.get(key),
           "is set by the sweep; use `seeds`, and the arm's name")
    if sweep.sft is not None:
      for key in overrides:
        need(key.split(".")[0] not in DECIDED_BY_STAGE or key in KEPT_BY_ARMS, f"arm {arm}: {key}", overrides[key],
             "cannot differ between arms that start from the same SFT weights; put it into `common` or drop `sft`")


def expand(sweep: Sweep, workdir) -> Plan:
  """The runs of a sweep in a folder, each checked as the trainer would before it starts.

  Raises:
    ValueError: one line for each arm that cannot run, naming the run, the key, the value, the rule and the fix.
  """
  _check_shape(sweep)
  workdir = pathlib.Path(workdir).expanduser().resolve()  # a part of the identity of runs that start from the stage
  make, stage, runs, errors = _Maker(sweep, workdir, set()), None, [], {}
  if sweep.sft is not None:
    stage = make(f"{sweep.name}-{STAGE}", STAGE, 0, {**sweep.common, "task": "sft", **sweep.sft})
  for seed, (arm, overrides) in itertools.product(sweep.seed_list, sweep.arms.items()):
    if arm in errors:
      continue
    own = {"task": "rl"} if stage else {}
    try:
      paired = {"seed": seed, "data_seed": seed}
      runs.append(make(f"{arm}-s{seed}", arm, seed, {**own, **sweep.common, **overrides, **paired}, stage))
    except ValueError as error:
      errors[arm] = f"run {arm}-s{seed}: {error}"
  hashes: dict[str, Run] = {}
  for run in runs:
    if (other := hashes.setdefault(run.hash, run)) is not run:
      errors.setdefault(run.arm, f"run {run.name} is the run {other.name} again: all keys are the same; remove an arm.")
  if errors:
    raise ValueError(f"sweep {sweep.name}: " + "\n       ".join(errors.values()))
  return Plan(sweep, workdir, tuple(runs), stage)


@dataclass(frozen=True)
class _Maker:
  """Makes runs of a sweep, their configs checked."""

  sweep: Sweep
  workdir: pathlib.Path
  seen: set[str]

  def __call__(self, name: str, arm: str, seed: int, overrides: Mapping, stage: Run | None = None) -> Run:
    """The hash of a run knows the stage by the stage's hash, wherever that lies."""
    config = changed(load(self.sweep.base, "get_config"), overrides)
    check_run(config, self.seen)
    if self.sweep.budget and arm != STAGE:
      config = changed(config, {"train.iterations": iterations_within(dict(self.sweep.budget), config)})
    if stage:
      config = changed(config, {"model.path": f"{STAGE}-{stage.hash}"})
    hashed = identity(config)
    config = changed(config, {"name": name} | ({"model.path": str(stage.workdir)} if stage else {}))
    folder = STAGE if arm == STAGE else re.sub(r"[^\w.=+-]+", "-", name).strip("-")[:80]
    return Run(name, arm, seed, hashed, self.workdir / f"{folder}-{hashed}", config)

"""Runs that differ only in numbers, trained as one program: `vmap` over arms, arms split over devices.

Each arm has the files of a run of its own (config.json, rl/metrics.jsonl, last checkpoint, summary.json), so that what
reads runs need not know how they were trained. The arms' states are saved together, in WORKDIR of the first arm /
vmapped-HASH: a killed or preempted batch goes on from the newest of those, with the same arms.
"""

import dataclasses
import hashlib
import pathlib
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from grpo_jax.algorithms.spec import initial_state
from grpo_jax.checkpoint import Checkpoints
from grpo_jax.config.identity import flat, identity
from grpo_jax.config.stages import stages_of
from grpo_jax.data.order import Stream
from grpo_jax.distributed.owner import check_owned, released
from grpo_jax.evaluation.heldout import Answers
from grpo_jax.metrics import MetricsLog
from grpo_jax.runs.claim import claim
from grpo_jax.runs.fused import Fed, dispatches, feed, metrics_of, order, stretch, token_rewards
from grpo_jax.runs.heldout import heldout_metrics
from grpo_jax.runs.loop import loop
from grpo_jax.runs.parts import RLParts
from grpo_jax.runs.report import write_summary
from grpo_jax.runs.setup import Setup, make_setup, maker, pretrained
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.supervised import run_sft
from grpo_jax.runs.validate import algorithm_spec, check_on_device, validate
from grpo_jax.sweeps.arms import ArmPrograms, compile_arms
from grpo_jax.training.fingerprint import leaf_fingerprints

# What arms may differ in, besides the numbers of the algorithm's row.
NUMBERS = ("name", "seed", "data_seed", "sampling.temperature", "evaluate.temperature", "train.value_clip",
           "train.refresh_reference_every", "algorithm.", "optimizer.", "critic_optimizer.")


def check_arms(configs: list[ConfigDict]) -> None:
  """Raises ValueError, naming a key, where these configs are not arms of one program."""
  first, otherwise = configs[0], "run the arms one by one"
  check_on_device(first, otherwise)
  fixed = {"lora.rank": 0, "mesh.fsdp": 1, "mesh.tensor": 1, "mesh.sequence": 1, "train.fused_iterations": None}
  for key, value in fixed.items():
    mine = flat(first.to_dict())[key]
    if mine != value and not (value is None and mine):
      rule = "at least 1" if value is None else repr(value)
      raise ValueError(f"{key}={mine!r} must be {rule} for arms of one program; set it so or {otherwise}.")
  if first.model.attention not in ("auto", "xla"):
    raise ValueError(f"model.attention={first.model.attention!r} is a kernel, which must not be vmapped over arms; set "
                     f"it to 'xla' or {otherwise}.")
  if "rl" not in stages_of(first.task) or jax.process_count() > 1:
    raise ValueError(f"task={first.task!r} of {jax.process_count()} processes must be RL in a single one for arms of "
                     f"one program; {otherwise}.")
  mine = program_of(first)
  for arm, config in enumerate(configs):
    validate(config)
    theirs = program_of(config)
    for key in sorted(mine.keys() | theirs.keys()):
      if mine.get(key) != theirs.get(key):
        raise ValueError(f"{key}={theirs.get(key)!r} in arm {arm} is {mine.get(key)!r} in arm 0, which is another "
                         f"program: arms differ in numbers only; give them one value or {otherwise}.")


def program_of(config: ConfigDict) -> dict:
  """What arms of one program must share: {key: value} of all but the numbers."""
  choices = _choices(config)
  return {k: v for k, v in flat(config.to_dict()).items() if k in choices or not k.startswith(NUMBERS)} | choices


def _choices(config) -> dict:
  """The choices of the algorithm's row and of the optimizers, by key."""
  spec = algorithm_spec(config)
  static = [f.name for f in dataclasses.fields(spec) if not f.metadata.get("pytree_node", True)]
  schedules = {f"{name}.schedule": config[name].schedule for name in ("optimizer", "critic_optimizer")}
  return {f"algorithm.{name}": getattr(spec, name) for name in static} | schedules


class Arms:
  """The arms of a batch: a run each, with its log; all share the first one's choices, data and held-out problems."""

  def __init__(self, configs: list[ConfigDict], workdirs: list[pathlib.Path], setup: Setup):
    self.setup, self.config, self.configs, self.workdirs = setup, setup.config, configs, workdirs
    setups = [
      dataclasses.replace(setup, config=c, train=Stream(setup.train.source, c.data_seed)) for c in configs]
    self.parts = [RLParts.of(s) for s in setups]
    self.one_stream = len({c.data_seed for c in configs}) == 1
    self.numbers = _stacked([parts.numbers for parts in self.parts])
    self.rewards = token_rewards(setup)
    self.logs: list[MetricsLog] = []

  def start_logs(self, step: int) -> None:
    """Opens the logs for appending after `step`, -1 to start anew."""
    for config, workdir in zip(self.configs, self.workdirs, strict=True):
      check_owned(workdir)
      (workdir / "rl").mkdir(exist_ok=True)
      log = config.log
      self.logs.append(MetricsLog(workdir / "rl", tensorboard=log.tensorboard, wandb_project=log.wandb_project,
                                  config=config.to_dict()))
      self.logs[-1].resume(step)

  def written(self, stage: Stage, step: int, kind: str, metrics: list[dict], shown: str) -> tuple[dict, str]:
    """A line in each arm's log; the batch's is their mean, with their extremes for the terminal."""
    if not self.logs:
      self.start_logs(stage.start if stage.start else -1)
    if kind == "eval" or step % self.config.log.every == 0 or step == self.config.train.iterations:
      for log, values in zip(self.logs, metrics, strict=True):
        log.write(step, kind, values)
    mean = {name: float(np.mean([m[name] for m in metrics])) for name in metrics[0]}
    values = [m[shown] for m in metrics]
    refused = [arm for arm, m in enumerate(metrics) if m.get("update/applied", 1) == 0]
    warn = f"  WARNING arms {refused} refused their update: not finite" if refused else ""
    return mean, f"{len(metrics)} arms  {shown} {min(values):.3f} … {max(values):.3f}{warn}"

  def sync(self) -> None:
    """All logs on disk."""
    for log in self.logs:
      log.sync()

  def fresh_state(self, params):
    """The states of all arms, stacked; `params`: one tree for all, a list of one for each, or None."""
    asks = self.parts[0].choices.asks
    make = maker(self.setup, reference="reference" in asks, critic="values" in asks)
    if params is None and self.setup.weights is not None:
      params = pretrained(self.setup)
    each = isinstance(params, list)
    params = jax.device_get(_stacked(params) if each else params)
    algorithm = _stacked([initial_state(parts.numbers.spec, asks) for parts in self.parts])
    seeds = np.asarray([c.seed for c in self.configs], np.uint32)
    return jax.jit(jax.vmap(make, in_axes=(0 if each else None, 0, 0)))(params, seeds, algorithm)

  def feeds(self, positions: list[int], start: int, count: int) -> list[Fed]:
    """Every arm's feeds; arms of one data seed share the draws."""
    drawn: dict[int, Fed] = {}
    result = []
    K = self.config.train.fused_iterations
    for parts, config, position in zip(self.parts, self.configs, positions, strict=True):
      seed = config.data_seed
      if seed not in drawn:
        drawn[seed] = feed(parts, self.rewards, K, position, start, count)
      rows = order(parts.minibatches, K, start, count)
      result.append(dataclasses.replace(drawn[seed], feeds=drawn[seed].feeds.replace(rows_UM=rows)))
    return result

  def stacked(self, feds: list[Fed]):
    """The feeds as the program takes them: what all arms share stands once."""
    first = feds[0].feeds
    if self.one_stream:
      return first.replace(rows_UM=_stacked([fed.feeds.rows_UM for fed in feds]))
    return _stacked([fed.feeds for fed in feds]).replace(iteration=first.iteration)

  def heldout(self, programs: ArmPrograms, state) -> list[dict]:
    """What each arm's policy says to the held-out problems, summarized like a run's own evaluation."""
    started, e, problems = time.perf_counter(), self.config.evaluate, self.setup.heldout
    temperatures, parts = np.asarray([c.evaluate.temperature for c in self.configs], np.float32), []
    for start in range(0, len(problems.examples), e.batch):
      examples = [problems.examples[min(i, len(problems.examples) - 1)] for i in range(start, start + e.batch)]
      targets = self.rewards.targets(examples)
      told = programs.heldout(state.policy, problems.batch(start, e.batch), targets, self.numbers.seed, temperatures)
      parts.append(jax.device_get(told))
    told = jax.tree.map(lambda *a: np.concatenate(a, 1)[:, : len(problems.examples)], *parts)
    metrics = []
    for arm, config in enumerate(self.configs):
      answers = Answers(problems.examples, [], *jax.tree.map(lambda a: a[arm], told))  # noqa: B023
      metrics.append(heldout_metrics(answers, config.evaluate) | self.setup.notes)
    seconds = (time.perf_counter() - started) / len(self.parts)
    return [m | {"time/evaluate": seconds} for m in metrics]


def _stacked(trees: list):
  return jax.tree.map(lambda *a: np.stack([np.asarray(x) for x in a]), *trees)


def run_vmapped(configs: list[ConfigDict], workdirs: list, sft_params=None, devices=None) -> list[dict]:
  """Trains all arms to the end from wherever they are; returns their summaries.

  An arm samples and learns what its run alone would, but for the last bits. `train.fused_iterations` iterations of all
  arms are one dispatch. All devices are used that divide the number of arms.

  Args:
    sft_params: a tree that all arms begin from, or a list of one for each; None begins like the configs' task alone:
      with an SFT stage for each seed, with pretrained weights, or from scratch.
    devices: default all of this process.

  Raises:
    ValueError: the configs differ in more than numbers, or an iteration of theirs needs the host.
  """
  check_arms(configs)
  devices, workdirs = devices or jax.devices(), [pathlib.Path(w) for w in workdirs]
  setup = make_setup(configs[0], devices=devices[:1])
  setup = dataclasses.replace(setup, cfg=dataclasses.replace(setup.cfg, attention="xla"))
  arms = Arms(configs, workdirs, setup)
  with released(*workdirs):
    return _train(arms, workdirs, configs, sft_params, devices)


def _train(arms: Arms, workdirs, configs: list[ConfigDict], sft_params, devices) -> list[dict]:
  """What `run_vmapped` does once all workdirs are checked: they are this process's until the end."""
  for workdir, config in zip(workdirs, configs, strict=True):
    claim(workdir, config, extend=False)
  name = hashlib.sha256("".join(map(identity, configs)).encode()).hexdigest()[:8]
  stage = Stage(workdirs[0], arms.config, total=arms.config.train.iterations, name=f"vmapped-{name}", logs=False)
  if not stage.done:
    train_arms(arms, stage, arms.fresh_state(_initial(arms, sft_params)), devices)
  stage.finish(arms.setup.notes)
  return [write_summary(workdir, config) for workdir, config in zip(workdirs, configs, strict=True)]


def _initial(arms: Arms, sft_params):
  """The parameters that arms begin with: those given, else the end of an SFT stage for each pair of seeds."""
  if sft_params is not None or "sft" not in stages_of(arms.config.task):
    return sft_params
  trained = {}
  for parts, config, workdir in zip(arms.parts, arms.configs, arms.workdirs, strict=True):
    seeds = (config.seed, config.data_seed)
    if seeds not in trained:
      trained[seeds] = run_sft(parts.setup, workdir)
  return [trained[config.seed, config.data_seed] for config in arms.configs]


def train_arms(arms: Arms, stage: Stage, state, devices) -> None:
  """Dispatches as of runs/fused.py, over all arms at once."""
  config, total = arms.config, arms.config.train.iterations
  programs = compile_arms(arms, state, arms.stacked(arms.feeds([0] * len(arms.parts), 0, 1)), devices)

  def feed(positions, i: int):
    feds = arms.feeds(positions, i, stretch(config, i))
    return feds, feds[0].count, [fed.position for fed in feds]

  def call(state, feds: list[Fed], count):
    return programs.many(state, arms.stacked(feds), count, arms.numbers)

  def lines(told, feds: list[Fed], count: int, i: int, seconds: float):
    found = []
    for k in range(count):
      metrics = [metrics_of(jax.tree.map(lambda a: a[arm], told), k, fed, seconds / len(feds))  # noqa: B023
                 for arm, fed in enumerate(feds)]  # an arm's share of the seconds
      found.append(arms.written(stage, i + k + 1, "train", metrics, "reward/total"))
    arms.sync()
    return found

  def evaluate(i: int, state) -> float:
    metrics = arms.heldout(programs, state)
    stage.log(i, "eval", *arms.written(stage, i, "eval", metrics, "greedy"))
    if i == total:
      save_each(arms, state, [m["greedy"] for m in metrics])
    arms.sync()
    return float(np.mean([m["greedy"] for m in metrics]))

  step = dispatches(feed, call, lines, total)
  loop(stage, programs.placed(state), lambda state: None, step, evaluate, config.evaluate.every)
  for log in arms.logs:
    log.close()


def save_each(arms: Arms, state, greedy: list[float]) -> None:
  """The last checkpoint of each arm, as of a run of its own."""
  hashes = np.asarray(jax.jit(jax.vmap(leaf_fingerprints))(state))
  host = jax.device_get(state)
  for arm, (config, workdir) in enumerate(zip(arms.configs, arms.workdirs, strict=True)):
    check_owned(workdir)
    checkpoints = Checkpoints(workdir / "rl" / "checkpoints", keep=config.checkpoint.keep)
    one = jax.tree.map(lambda a: np.asarray(a[arm]), host)  # noqa: B023
    checkpoints.save(config.train.iterations, one.replace(hashes=hashes[arm]), greedy[arm])
    checkpoints.close()

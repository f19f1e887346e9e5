"""What runs left on disk, as records: the one place that knows the files of a run's folder."""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from grpo_jax.config.identity import flat
from grpo_jax.config.stages import stages_of
from grpo_jax.metrics import read_rows
from grpo_jax.reading import read_json

SEEDS = ("seed", "data_seed")  # runs that differ in these alone are one arm
LABELS = ("name", *SEEDS)


@dataclass(frozen=True)
class Record:
  """One run as its folder shows it, or a declared one that has no folder yet."""

  name: str
  arm: str
  seed: int
  hash: str
  folder: pathlib.Path
  state: str  # done | failed | unfinished | missing
  error: str  # why it failed
  config: dict  # flat
  rows: list[dict]  # metrics.jsonl of the last stage
  restarts: tuple[str, ...]  # "rl at 40": where it was continued after it had been stopped
  notes: dict  # of the last stage
  findings: tuple[dict, ...]  # of the doctor: name, step, evidence, advice

  def of_kind(self, kind: str) -> list[dict]:
    """The rows of training or of evaluation."""
    return [row for row in self.rows if row["kind"] == kind]

  def last(self, name: str) -> float | None:
    """A metric where it was last evaluated."""
    values = [row[name] for row in self.of_kind("eval") if row.get(name) is not None]
    return values[-1] if values else None

  def column(self, name: str) -> list[float]:
    """A metric in all rows of training that have it."""
    return [row[name] for row in self.of_kind("train") if row.get(name) is not None]

  @cached_property
  def tokens(self) -> list[tuple[int, float]]:
    """(step, tokens sampled up to it): mean length × members × prompts × rollouts; lines not logged as the next one."""
    total, before, points = 0.0, 0, [(0, 0.0)]
    for row in self.of_kind("train"):
      if "length/mean" in row:
        each = row["length/mean"] * row["groups/size"] * self.config["train.prompts"] * row.get("data/rollouts", 1)
        total, before = total + each * (row["step"] - before), row["step"]
        points.append((before, total))
    return points

  @property
  def seconds(self) -> float:
    """Seconds in iterations and evaluations, as logged; a step that was done again after a kill counts once."""
    names = ("time/iteration", "time/evaluate")
    times = [row.get(n) or 0.0 for row in self.rows for n in names]
    return sum(times) or sum(row.get("time/update") or 0.0 for row in self.rows)


def _json(path: pathlib.Path) -> dict:
  """What a side file says; nothing where it is missing or, with a warning, torn: runs write these anew."""
  try:
    return read_json(path, "it is taken as missing") if path.exists() else {}
  except ValueError as error:
    print(f"warning: {error}", file=sys.stderr, flush=True)
    return {}


def read_status(folder: pathlib.Path) -> dict:
  """{"state": "missing"} or what status.json says; see sweeps/status.py."""
  return {"state": "missing"} | _json(folder / "status.json")


def read_run(folder: pathlib.Path, *, name="", arm="", seed=None, hashed="") -> Record:
  """The record of a folder; what is not given is taken from its config."""
  folder = pathlib.Path(folder)
  file = folder / "config.json"
  config = flat(read_json(file, "restore it from a copy").get("config", {}) if file.exists() else {})
  stages = stages_of(str(config.get("task", ""))) or ("",)
  status, seed = read_status(folder), config.get("seed", 0) if seed is None else seed
  if status["state"] == "missing" and config:  # a run outside of a sweep
    status = {"state": "done" if (folder / "summary.json").exists() else "running"}
  starts = {stage: read_rows(folder / stage / "starts.jsonl", kinds=False) for stage in stages}
  restarts = tuple(f"{stage} at {row['step']}" for stage, rows in starts.items() for row in rows[1:])
  return Record(
    name or config.get("name", folder.name), arm, seed, hashed or folder.name.rsplit("-", 1)[-1], folder,
    {"running": "unfinished"}.get(status["state"], status["state"]), status.get("error", ""), config,
    read_rows(folder / stages[-1] / "metrics.jsonl"), restarts, _json(folder / stages[-1] / "notes.json"),
    tuple(_json(folder / "summary.json").get("findings", ())))


@dataclass(frozen=True)
class Collection:
  """The runs of one page; `arms` in their order, the first of them the one that others are compared with.

  `stages` are what runs started from, done once; `measures` are metrics that the sweeps want compared.
  """

  name: str
  records: list[Record]
  arms: list[str]
  budget: dict
  stages: list[Record]
  measures: list[str]

  def of(self, arm: str) -> list[Record]:
    """An arm's runs that are done, by seed."""
    return sorted((r for r in self.records if r.arm == arm and r.state == "done"), key=lambda r: r.seed)

  def shown(self, arm: str) -> list[Record]:
    """Those, or all that have begun where none is done."""
    return self.of(arm) or [r for r in self.records if r.arm == arm and r.rows]


def differing(records: Iterable[Record]) -> list[str]:
  """The keys in which configs differ, seeds, names and what only watches aside."""
  configs = [r.config for r in records if r.config]
  keys = dict.fromkeys(k for config in configs for k in config)
  skip = (*LABELS, "model.path") if len({c.get("model.path", "").rsplit("/", 1)[-1] for c in configs}) == 1 else LABELS
  return [k for k in keys if k not in skip and not k.startswith(("log.", "checkpoint."))
          and len({json.dumps(c.get(k)) for c in configs}) > 1]


def collect(folders: Iterable[pathlib.Path]) -> Collection:
  """The runs of sweeps' folders, of runs' folders, or of both; shards of one sweep in several folders are joined.

  Raises:
    ValueError: a folder is neither.
  """
  folders = list(map(pathlib.Path, folders))
  fix = "run the sweep's command again, which writes it"
  sweeps = [(f, read_json(f / "sweep.json", fix)) for f in folders if (f / "sweep.json").exists()]
  plain = [f for f in folders if not (f / "sweep.json").exists()]
  for folder in plain:
    if not (folder / "config.json").exists():
      raise ValueError(f"{folder} holds neither sweep.json nor config.json; give the folder of a sweep or of a run.")
  several = len({sweep["name"] for _, sweep in sweeps}) > 1
  found: dict[tuple, Record] = {}
  for folder, sweep in sweeps:
    for run in sweep["runs"]:
      arm = f"{sweep['name']}: {run['arm']}" if several else run["arm"]
      record = read_run(folder / run["folder"], name=run["name"], arm=arm, seed=run["seed"], hashed=run["hash"])
      if (key := (sweep["name"], run["hash"])) not in found or found[key].state != "done":
        found[key] = record
  records = [*found.values(), *_arms_of([read_run(folder) for folder in plain])]
  first = [f"{s['name']}: {s['baseline']}" if several else s["baseline"] for _, s in sweeps[:1]]
  name = ", ".join(dict.fromkeys(sweep["name"] for _, sweep in sweeps)) or records[0].name
  stages = [read_run(folder / s["stage"], name="sft", arm="sft") for folder, s in sweeps if s["stage"]]
  return Collection(name, records, list(dict.fromkeys([*first, *(r.arm for r in records)])),
                    sweeps[0][1]["budget"] if sweeps else {}, stages,
                    list(dict.fromkeys(m for _, sweep in sweeps for m in sweep.get("measures", ()))))


def _arms_of(records: list[Record]) -> list[Record]:
  """Runs that no sweep declared, in arms named by the keys in which they differ."""
  keys = differing(records)
  values = [",".join(f"{key.rsplit('.', 1)[-1]}={r.config.get(key)}" for key in keys) for r in records]
  return [dataclasses.replace(r, arm=value or r.name.removesuffix(f"-s{r.seed}"))
          for r, value in zip(records, values, strict=True)]

"""The tables of a page: rows as dicts of numbers, which the CSV files hold and the page formats."""

import csv
import io
import math
from collections.abc import Callable
from functools import partial

from grpo_jax.reports.records import Collection, Record, differing
from grpo_jax.reports.statistics import paired, t_interval

LAST = 0.1  # share of the iterations whose rewards are the reward at the end


def _mean(values) -> float | None:
  values = [v for v in values if v is not None]
  return math.fsum(values) / len(values) if values else None


def _at_end(record: Record, name: str) -> float | None:
  """A metric of an evaluation where it stands last, of training over the last iterations."""
  column = record.column(name)
  return record.last(name) if record.last(name) is not None else _mean(column[-max(1, round(len(column) * LAST)):])


def measures(collection: Collection) -> dict[str, Callable[[Record], float | None]]:
  """What is compared at the end of runs: {name: record -> value}, those that some run has."""
  names = dict.fromkeys(
    k for r in collection.records for row in r.of_kind("eval")[-1:] for k in row
    if k in ("greedy", "pass_rate", "pair_accuracy") or (k.startswith("pass@") and k[5:].isdigit()))
  named = {name: name for name in (*names, *collection.measures)}
  if any(r.column("reward/total") for r in collection.records):
    named["training reward"] = "reward/total"
  return {shown: partial(_at_end, name=name) for shown, name in named.items()}


def results(collection: Collection) -> list[dict]:
  """For each arm and measure the mean at the end, and its paired difference to the first arm, with intervals."""
  rows = []
  for arm in collection.arms:
    records = collection.of(arm)
    row = {"arm": arm, "runs": len(records)}
    for name, measure in measures(collection).items():
      values, base = ({r.seed: v for r in some if (v := measure(r)) is not None}
                      for some in (records, collection.of(collection.arms[0])))
      own = t_interval(list(values.values())) if values else None
      row |= {name: own and own.mean, f"{name} low": own and own.low, f"{name} high": own and own.high}
      less = paired(values, base) if arm != collection.arms[0] else None
      row |= {f"{name} difference": less and less.mean, f"{name} difference low": less and less.low,
              f"{name} difference high": less and less.high, f"{name} pairs": less.n if less else None}
    rows.append(row)
  return rows


def health(collection: Collection) -> list[dict]:
  """What shows that an arm's numbers can be trusted: means over its runs."""
  def over(records, name, how):
    return _mean([how(column) for r in records if (column := r.column(name))])

  rows = []
  for arm in collection.arms:
    some = collection.shown(arm)
    rows.append({
      "arm": arm,
      "KL, end": over(some, "policy/kl", lambda c: c[-1]), "KL, most": over(some, "policy/kl", max),
      "entropy, start": over(some, "policy/entropy", lambda c: c[0]),
      "entropy, end": over(some, "policy/entropy", lambda c: c[-1]),
      "truncated, most": over(some, "length/truncated", max),
      "groups without signal, mean": over(some, "groups/no_signal", _mean),
      "groups without signal, end": over(some, "groups/no_signal", lambda c: c[-1]),
      "largest gap of sampler and trainer": over(some, "policy/sampler_gap_max", max),
      "updates skipped": over(some, "update/skipped", sum), "reward errors": over(some, "reward/errors", max)})
  return rows


def costs(collection: Collection) -> list[dict]:
  """Tokens, seconds and memory of an arm: means over its runs, memory the most."""
  rows = []
  for arm in collection.arms:
    some = collection.shown(arm)
    peaks = [r.notes["memory/peak_bytes"] / 2**20 for r in some if "memory/peak_bytes" in r.notes]
    steps = _mean([r.rows[-1]["step"] for r in some])
    seconds = _mean([r.seconds for r in some])
    rows.append({
      "arm": arm, "iterations": steps, "tokens sampled": _mean([r.tokens[-1][1] for r in some]), "seconds": seconds,
      "seconds per iteration": _mean([v for r in some if (v := _mean(r.column("time/iteration"))) is not None]),
      "seconds compiling": _mean([r.notes.get("compile_seconds") for r in some]),
      "peak MiB": max(peaks, default=None),
      "of": ", ".join(sorted({r.notes["memory/of"] for r in some if "memory/of" in r.notes}))})
  return rows


def differences(collection: Collection) -> list[dict]:
  """What differs between arms, from the configs that the runs recorded."""
  first = {arm: next((r for r in collection.records if r.arm == arm and r.config), None) for arm in collection.arms}
  keys = differing([r for r in first.values() if r])
  return [{"arm": arm, **{k: record.config.get(k) for k in keys}} for arm, record in first.items() if record]


def troubles(collection: Collection) -> list[dict]:
  """Runs that failed, are unfinished or missing, or were stopped and continued."""
  return [{"run": r.name, "state": r.state, "restarts": len(r.restarts), "continued": ", ".join(r.restarts),
           "error": r.error} for r in (*collection.stages, *collection.records) if r.state != "done" or r.restarts]


def findings(collection: Collection) -> list[dict]:
  """What the doctor found, each kind once for an arm: in how many of its runs, where first, with that evidence."""
  rows = []
  for arm in collection.arms:
    found: dict[str, list[tuple[Record, dict]]] = {}
    for record in collection.records:
      for one in record.findings if record.arm == arm else ():
        found.setdefault(one["name"], []).append((record, one))
    for name, made in found.items():
      record, one = min(made, key=lambda pair: pair[1]["step"])
      rows.append({"arm": arm, "finding": name, "runs": len({r.name for r, _ in made}), "first": one["step"],
                   "in": record.name, "evidence": one["evidence"], "advice": one["advice"]})
  return rows


def runs(collection: Collection) -> list[dict]:
  """Every run with its measures and costs, the shared stage first."""
  return [{
    "run": r.name, "arm": r.arm, "seed": r.seed, "hash": r.hash, "state": r.state, "restarts": len(r.restarts),
    **{name: measure(r) for name, measure in measures(collection).items()},
    "tokens sampled": r.tokens[-1][1], "seconds": r.seconds, "folder": r.folder.name}
    for r in (*collection.stages, *collection.records)]


def as_csv(rows: list[dict]) -> str:
  """Rows as CSV; numbers with all their digits, None as nothing."""
  out = io.StringIO()
  writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return out.getvalue()

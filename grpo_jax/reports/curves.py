"""Metrics over a run as lines: per arm the mean over seeds at each step, with its interval."""

import math
from typing import NamedTuple

from grpo_jax.reports.records import Collection, Record
from grpo_jax.reports.statistics import t_interval

COLOURS = ("#3579d0", "#d2601a", "#1f9a63", "#b24fc4", "#b98a0e", "#d63f68", "#1698ab", "#7b818a")  # on white and black
BINS = 120  # most points of a line; of more steps, neighbours are averaged within each run first


class Point(NamedTuple):
  """One point of a line; the interval may be missing."""

  x: float
  y: float
  low: float | None
  high: float | None


class Line(NamedTuple):
  """An arm's curve."""

  arm: str
  points: list[Point]


class Chart(NamedTuple):
  """Lines of one metric."""

  title: str
  metric: str
  x_label: str
  lines: list[Line]


CHARTS = (  # kind of row, metric, title
  ("eval", "greedy", "Held-out greedy accuracy"),
  ("eval", "pass_rate", "Held-out pass rate"),
  ("eval", "pair_accuracy", "Held-out pairs right"),
  ("train", "reward/total", "Training reward"),
  ("train", "loss/pairs", "Loss of pairs"),
  ("train", "loss/sft", "Loss"),
  ("train", "policy/kl", "KL to the reference, nats per token"),
  ("train", "policy/entropy", "Entropy, nats per token"),
  ("train", "length/mean", "Completion length, tokens"),
  ("train", "length/above", "Length of completions above their group's mean reward, tokens"),
  ("train", "length/below", "Length of completions below their group's mean reward, tokens"),
  ("train", "length/truncated", "Truncated completions, share"),
  ("train", "groups/no_signal", "Groups without signal, share"),
)


def binned(steps: list[int], values: list[float], width: int) -> dict[int, float]:
  """{last step of each bin of `width` steps: mean of the values in it}."""
  bins: dict[int, list[float]] = {}
  for step, value in zip(steps, values, strict=True):
    bins.setdefault(math.ceil(step / width) * width, []).append(value)
  return {min(end, steps[-1]): math.fsum(v) / len(v) for end, v in bins.items()}


def _series(record: Record, kind: str, metric: str) -> dict[int, float]:
  rows = [row for row in record.of_kind(kind) if row.get(metric) is not None]
  if not rows:
    return {}
  steps, values = [row["step"] for row in rows], [row[metric] for row in rows]
  return binned(steps, values, max(1, math.ceil(steps[-1] / BINS))) if kind == "train" else dict(
    zip(steps, values, strict=True))


def line(records: list[Record], arm: str, kind: str, metric: str, by_tokens: bool) -> Line:
  """An arm's curve; of a single run, with the interval over problems that its evaluation logged."""
  series = {r.name: s for r in records if (s := _series(r, kind, metric))}
  tokens = [dict(r.tokens) for r in records]
  points = []
  for step in sorted(set().union(*series.values())) if series else ():
    mean = t_interval([s[step] for s in series.values() if step in s])
    low, high = mean.low, mean.high
    if len(records) == 1:
      row = next((r for r in records[0].of_kind(kind) if r["step"] == step), {})
      low, high = row.get(f"{metric}_low"), row.get(f"{metric}_high")
    at = [t[step] for t in tokens if step in t]
    points.append(Point(sum(at) / len(at) if by_tokens and at else step, mean.mean, low, high))
  return Line(arm, points)


def charts(collection: Collection) -> list[Chart]:
  """Every metric that some run has; over tokens where the budget is of tokens or operations, else over iterations."""
  by_tokens = bool({"tokens", "flops"} & set(collection.budget))
  found = []
  for kind, metric, title in CHARTS:
    lines = [line(collection.shown(arm), arm, kind, metric, by_tokens) for arm in collection.arms]
    if any(one.points for one in lines):
      found.append(Chart(title, metric, "sampled tokens" if by_tokens else "iteration", lines))
  return found

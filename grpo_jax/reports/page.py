"""The page of a run or of many: one HTML file that needs no network, and the same as CSV and PNG."""

import pathlib
import time
from collections.abc import Iterable

import jinja2

from grpo_jax.reports import tables
from grpo_jax.reports.curves import COLOURS, charts
from grpo_jax.reports.png import write_png
from grpo_jax.reports.records import collect
from grpo_jax.reports.statistics import METHOD
from grpo_jax.reports.svg import DASHES, svg

FILES = {"results": "table.csv", "runs": "runs.csv", "health": "health.csv", "costs": "costs.csv"}
FIRST = 4  # curves in the picture of one run


def number(value) -> str:
  """A cell: four significant digits, thousands apart, a dash for nothing."""
  if value is None or value == "":
    return "–"
  if isinstance(value, bool) or not isinstance(value, int | float):
    return str(value)
  if isinstance(value, int) or abs(value) >= 10000:
    return f"{value:,.0f}"
  return f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 100 else f"{value:.3f}"


def apart(row: dict, name: str) -> bool:
  """Whether an interval leaves out zero."""
  low, high = row.get(f"{name} low"), row.get(f"{name} high")
  return low is not None and (low > 0 or high < 0)


def interval(row: dict, name: str, sign: str = "") -> str:
  """`0.612 [0.580, 0.644]`; a difference with its sign."""
  mean, low, high = row.get(name), row.get(f"{name} low"), row.get(f"{name} high")
  if mean is None:
    return "–"
  return f"{mean:{sign}.3f}" + (f" [{low:{sign}.3f}, {high:{sign}.3f}]" if low is not None else "")


def counts(collection) -> str:
  """`12 runs: 11 done, 1 failed`."""
  states = [r.state for r in collection.records]
  found = [f"{states.count(s)} {s}" for s in ("done", "failed", "unfinished", "missing") if s in states]
  return f"{len(states)} run{'s' * (len(states) != 1)}: {', '.join(found)}"


def write_page(folders: Iterable[pathlib.Path], out: pathlib.Path, *, brief: bool = False) -> pathlib.Path:
  """Writes report.html, curves.png, table.csv, runs.csv, health.csv and costs.csv to `out`; returns the page's path.

  Args:
    folders: of sweeps and runs; see records.collect.
    brief: the page alone, with its first curves as learning_curve.png, as at the end of a run.

  What is in table.csv depends on what was computed alone; times are in costs.csv and runs.csv.
  """
  collection, out = collect(folders), pathlib.Path(out)
  drawn, several = charts(collection), len(collection.arms) > 1
  parts = {name: getattr(tables, name)(collection)
           for name in ("results", "health", "costs", "differences", "findings", "troubles", "runs")}
  out.mkdir(parents=True, exist_ok=True)
  for name, file in () if brief else FILES.items():
    (out / file).write_text(tables.as_csv(parts[name]))
  if drawn:
    picture, shown = ("learning_curve.png", drawn[:FIRST]) if brief else ("curves.png", drawn)
    write_png(out / picture, shown, collection.name)
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("grpo_jax.reports", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True,
    undefined=jinja2.StrictUndefined)
  environment.filters["number"] = number
  page = environment.get_template("page.html").render(
    parts, collection=collection, counts=counts(collection), charts=[(c, svg(c)) for c in drawn], several=several,
    measures=list(tables.measures(collection)), interval=interval, apart=apart, method=METHOD, colours=COLOURS,
    dashes=DASHES, written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))
  path = out / "report.html"
  path.write_text(page)
  return path

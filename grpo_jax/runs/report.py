"""The end of a run: a summary table on the terminal and in summary.json, and the run's page with its curves."""

import dataclasses
import json
import pathlib

from grpo_jax.metrics import read_rows
from grpo_jax.reports.page import write_page
from grpo_jax.runs.doctor import diagnose


def _interval(row: dict, name: str) -> str:
  if row.get(name) is None:
    return "–"
  low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
  return f"{row[name]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")


def write_report(workdir: pathlib.Path, config) -> dict:
  """Writes summary.json, report.html and learning_curve.png; prints and returns the summary."""
  from rich.console import Console
  from rich.table import Table

  sft, rl = (read_rows(workdir / stage / "metrics.jsonl") for stage in ("sft", "rl"))
  evals = [row for row in rl if row["kind"] == "eval"]
  summary = {"name": config.name, "task": config.task, "sft_steps": config.sft.steps if sft else 0}
  if sft:
    summary["sft_loss"] = [row for row in sft if row["kind"] == "train"][-1]["loss/sft"]
  findings = diagnose(rl, config.doctor, config.evaluate.component)
  summary["findings"] = [dataclasses.asdict(finding) for finding in findings]
  console = Console(width=120)
  if evals:
    start, end = evals[0], evals[-1]
    summary |= {"start": start, "end": end, "greedy_gain": end["greedy"] - start["greedy"]}
    names = [n for n in start if n == "greedy" or n == "pass_rate" or (n.startswith("pass@") and n[-1].isdigit())]
    table = Table("policy", *names, "length", title=f"{config.name}: {start['problems']} held-out problems, 95 %")
    first = "after SFT" if config.task == "sft_then_rl" else "start"
    for label, row in ((first, start), (f"after {end['step']} iterations of {config.algorithm.preset}", end)):
      table.add_row(label, *(_interval(row, n) for n in names), f"{row['length']:.1f}")
    console.print(table)
  elif config.task.endswith(("dpo", "reward_model")):
    pairs = read_rows(workdir / config.task.removeprefix("sft_then_") / "metrics.jsonl")
    start, end = (row for row in pairs if row["kind"] == "eval")
    summary |= {"start": start, "end": end, "pair_accuracy_gain": end["pair_accuracy"] - start["pair_accuracy"]}
    table = Table("", "held-out pairs right", title=f"{config.name}: {start['problems']} pairs, 95 %")
    for label, row in (("start", start), (f"after {end['step']} steps", end)):
      table.add_row(label, _interval(row, "pair_accuracy"))
    console.print(table)
  elif sft:
    console.print(f"{config.name}: SFT done, {config.sft.steps} steps, loss {summary['sft_loss']:.4f}")
  (workdir / "summary.json").write_text(json.dumps(summary, indent=1))
  write_page([workdir], workdir, brief=True)
  console.print(f"run is done: {workdir}")
  return summary

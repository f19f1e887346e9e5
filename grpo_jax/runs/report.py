"""The end of a run: a summary table on the terminal and in summary.json, and the learning curve as a PNG."""

import dataclasses
import json
import pathlib

from grpo_jax.metrics import read_rows
from grpo_jax.runs.doctor import diagnose


def _interval(row: dict, name: str) -> str:
  if row.get(name) is None:
    return "–"
  low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
  return f"{row[name]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")


def write_summary(workdir: pathlib.Path, config) -> dict:
  """Writes and returns summary.json: the first and the last evaluation, and what came between."""
  sft, last = (read_rows(workdir / stage / "metrics.jsonl") for stage in ("sft", config.task.removeprefix("sft_then_")))
  evals = [row for row in last if row["kind"] == "eval"]
  summary = {"name": config.name, "task": config.task, "sft_steps": config.sft.steps if sft else 0}
  if sft:
    summary["sft_loss"] = [row for row in sft if row["kind"] == "train"][-1]["loss/sft"]
  if evals:
    start, end = evals[0], evals[-1]
    gained = "greedy" if "greedy" in start else "pair_accuracy"
    summary |= {"start": start, "end": end, f"{gained}_gain": end[gained] - start[gained]}
  findings = diagnose(last if config.task.endswith("rl") else [], config.doctor, config.evaluate.component)
  summary["findings"] = [dataclasses.asdict(finding) for finding in findings]
  (workdir / "summary.json").write_text(json.dumps(summary, indent=1))
  return summary


def write_report(workdir: pathlib.Path, config) -> dict:
  """Writes summary.json and learning_curve.png, prints the table, returns the summary."""
  from rich.console import Console
  from rich.table import Table

  summary = write_summary(workdir, config)
  start, end = (summary.get(name, {}) for name in ("start", "end"))
  console = Console(width=120)
  if "greedy" in start:
    names = [n for n in start if n == "greedy" or n == "pass_rate" or (n.startswith("pass@") and n[-1].isdigit())]
    table = Table("policy", *names, "length", title=f"{config.name}: {start['problems']} held-out problems, 95 %")
    first = "after SFT" if config.task == "sft_then_rl" else "start"
    for label, row in ((first, start), (f"after {end['step']} iterations of {config.algorithm.preset}", end)):
      table.add_row(label, *(_interval(row, n) for n in names), f"{row['length']:.1f}")
    console.print(table)
  elif start:
    table = Table("", "held-out pairs right", title=f"{config.name}: {start['problems']} pairs, 95 %")
    for label, row in (("start", start), (f"after {end['step']} steps", end)):
      table.add_row(label, _interval(row, "pair_accuracy"))
    console.print(table)
  elif summary["sft_steps"]:
    console.print(f"{config.name}: SFT done, {config.sft.steps} steps, loss {summary['sft_loss']:.4f}")
  if rl := read_rows(workdir / "rl" / "metrics.jsonl"):
    _curve(rl, [row for row in rl if row["kind"] == "eval"], workdir / "learning_curve.png", config.name)
  console.print(f"run is done: {workdir}")
  return summary


def _curve(rows: list[dict], evals: list[dict], path: pathlib.Path, title: str) -> None:
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  train = [row for row in rows if row["kind"] == "train"]
  figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 7), sharex=True)
  steps = [row["step"] for row in train]
  top.plot(steps, [row["reward/total"] for row in train], color="0.6", linewidth=1, label="training reward")
  top.errorbar([r["step"] for r in evals], [r["greedy"] for r in evals], marker="o", capsize=3, label="held-out greedy",
               yerr=[[r["greedy"] - r["greedy_low"] for r in evals], [r["greedy_high"] - r["greedy"] for r in evals]])
  if evals and "pass_rate" in evals[0]:
    top.plot([r["step"] for r in evals], [r["pass_rate"] for r in evals], marker="s", label="held-out pass rate")
  for name in ("policy/kl", "policy/entropy", "groups/no_signal", "length/truncated"):
    if train and name in train[0]:
      bottom.plot(steps, [row[name] for row in train], label=name)
  for axis in (top, bottom):
    axis.legend()
    axis.grid(alpha=0.3)
  bottom.set_xlabel("iteration")
  top.set_title(title)
  figure.tight_layout()
  figure.savefig(path, dpi=110)
  plt.close(figure)

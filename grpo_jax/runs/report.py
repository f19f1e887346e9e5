"""The end of a run: a summary table on the terminal and in summary.json, and the run's page with its curves."""

import dataclasses
import json
import pathlib

from grpo_jax.config.stages import last_stage
from grpo_jax.metrics import read_rows, write_whole
from grpo_jax.reports.page import write_page
from grpo_jax.runs.doctor import diagnose
from grpo_jax.runs.faults import NothingLearned


def _interval(row: dict, name: str) -> str:
  if row.get(name) is None:
    return "–"
  low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
  return f"{row[name]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")


def write_summary(workdir: pathlib.Path, config) -> dict:
  """Writes and returns summary.json: the first and the last evaluation, and what came between."""
  sft, last = (read_rows(workdir / stage / "metrics.jsonl") for stage in ("sft", last_stage(config.task)))
  evals = [row for row in last if row["kind"] == "eval"]
  summary = {"name": config.name, "task": config.task, "sft_steps": config.sft.steps if sft else 0}
  if sft:
    summary["sft_loss"] = [row for row in sft if row["kind"] == "train"][-1]["loss/sft"]
  if evals:
    start, end = evals[0], evals[-1]
    gained = "greedy" if "greedy" in start else "pair_accuracy"
    summary |= {"start": start, "end": end, f"{gained}_gain": end[gained] - start[gained]}
  findings = diagnose(last if last_stage(config.task) == "rl" else [], config.doctor, config.evaluate.component)
  summary["findings"] = [dataclasses.asdict(finding) for finding in findings]
  write_whole(workdir / "summary.json", json.dumps(summary, indent=1))
  return summary


FILES = {  # what a run leaves that a person opens, in that order
  "report.html": "the run's page: curves, findings, settings",
  "samples.html": "samples, token by token",
  "learning_curve.png": "held-out accuracy and reward",
  "summary.json": "first and last evaluation",
  "eval/table.md": "results by benchmark",
  "eval/*.jsonl": "every completion with its scores",
  "*/metrics.jsonl": "every log line",
  "*/tensorboard": "the same for TensorBoard",
  "*/wandb": "the same for W&B",
  "*/rollouts": "rollouts to look into: python -m grpo_jax.tools.view --workdir",
  "*/checkpoints": "model.path of another run, tools.sample, tools.convert",
  "export": "the policy as a Hugging Face directory",
  "adapter": "its adapters in PEFT's format",
}


def files_made(workdir: pathlib.Path) -> list[str]:
  """A line for each file and folder of a run that is worth opening: its path, and what it is."""
  found = [(str(path), what) for name, what in FILES.items() for path in sorted(pathlib.Path(workdir).glob(name))]
  width = max((len(path) for path, _ in found), default=0)
  return [f"  {path:{width}}  {what}" for path, what in found]


def write_report(workdir: pathlib.Path, config) -> dict:
  """Writes summary.json, report.html and learning_curve.png; prints and returns the summary, names the files.

  Raises:
    NothingLearned: in `train.max_skips` iterations or more no group had a signal; the files are written all the same.
  """
  from rich.console import Console
  from rich.table import Table

  summary = write_summary(workdir, config)
  start, end = (summary.get(name, {}) for name in ("start", "end"))
  console = Console(width=120)
  if "greedy" in start:
    names = [n for n in start if n == "greedy" or n == "pass_rate" or (n.startswith("pass@") and n[-1].isdigit())]
    table = Table("policy", *names, "length", title=f"{config.name}: {start['problems']} held-out problems, 95 %")
    first = "after SFT" if summary["sft_steps"] else "start"
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
  write_page([workdir], workdir, brief=True)
  print("files:", *files_made(workdir), sep="\n")
  if last_stage(config.task) == "rl" and (said := nothing_learned(workdir, config.train.max_skips)):
    raise NothingLearned(said)
  print(f"run is done: {workdir}", flush=True)  # what launch/babysit.sh looks for
  return summary


def nothing_learned(workdir: pathlib.Path, least: int) -> str:
  """Why an RL run that came to its end learned nothing, in a sentence; empty where it did.

  `least`: fewer iterations without a signal prove nothing; 0 asks for none.
  """
  rows = [row for row in read_rows(workdir / "rl" / "metrics.jsonl") if row["kind"] == "train"]
  if rows and all(row.get("update/applied", 1) == 0 for row in rows):
    return f"{workdir} ended without learning: no update was finite, so all were refused; lower the learning rate."
  if least and len(rows) >= least and all(row.get("groups/no_signal") == 1 for row in rows):
    return (f"{workdir} ended without learning: in all {len(rows)} logged iterations every group had one and the same "
            "reward throughout; look at the samples, and change rewards.components, the data or the model.")
  return ""

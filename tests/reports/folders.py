"""Folders of runs and sweeps as trainer and sweep leave them, written by hand for the tests of what reads them."""

import json
import math
import pathlib

CONFIG = {"name": "run", "task": "rl", "seed": 0, "data_seed": 0, "train": {"prompts": 4}, "model": {"path": ""},
          "algorithm": {"beta": 0.0}}


def write_run(folder: pathlib.Path, *, seed=0, beta=0.0, greedy=(0.1, 0.5), rewards=(0.0, 1.0), kl=True,
              starts=(0,), config=CONFIG):
  """A run of `len(rewards)` iterations, evaluated `len(greedy)` times, evenly."""
  stage = folder / "rl"
  stage.mkdir(parents=True)
  whole = {**config, "name": folder.name, "seed": seed, "data_seed": seed, "algorithm": {"beta": beta}}
  (folder / "config.json").write_text(json.dumps({"identity": {}, "config": whole}))
  steps, rows = len(rewards), []
  for step in range(1, steps + 1):
    row = {"step": step, "kind": "train", "reward/total": rewards[step - 1], "length/mean": 5.0, "groups/size": 2,
           "length/truncated": 0.25, "groups/no_signal": 0.5, "policy/entropy": 1 / step, "time/iteration": 0.5}
    rows.append(row | ({"policy/kl": 0.01 * step} if kl else {}))
  for i, value in enumerate(greedy):
    at = round(i * steps / max(1, len(greedy) - 1))
    rows.append({"step": at, "kind": "eval", "greedy": value, "greedy_low": value - 0.1, "greedy_high": value + 0.1,
                 "pass_rate": value / 2, "time/evaluate": 1.0})
  rows.sort(key=lambda row: row["step"])
  (stage / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  (stage / "starts.jsonl").write_text("".join(json.dumps({"step": s, "time": 0.0}) + "\n" for s in starts))
  (stage / "notes.json").write_text(json.dumps(
    {"compile_seconds": 2.0, "memory/peak_bytes": 3 * 2**20, "memory/of": "the process, resident"}))
  (folder / "summary.json").write_text("{}")


def write_sweep(workdir: pathlib.Path, arms: dict[str, dict], seeds, *, iterations=10, states=(), baseline="",
                budget=None, name="by_hand", measures=()):
  """A sweep: {arm: {seed: keyword arguments of write_run}}; `states`: {(arm, seed): status} of those not done."""
  runs, states = [], dict(states)
  for seed in seeds:
    for index, (arm, of_seed) in enumerate(arms.items()):
      folder = workdir / f"run-{index}-{seed}"
      runs.append({"name": f"{arm}-s{seed}", "arm": arm, "seed": seed, "hash": f"{index:04}{seed:04}",
                   "folder": folder.name})
      status = states.get((arm, seed), {"state": "done"})
      if status is not None:
        rewards = [math.tanh(0.1 * (index + 1) * i / iterations) + 0.01 * seed for i in range(iterations)]
        write_run(folder, **({"seed": seed, "beta": 0.1 * index, "rewards": rewards} | of_seed(seed)))
        (folder / "status.json").write_text(json.dumps(status))
  declared = {"name": name, "base": "", "baseline": baseline or next(iter(arms)), "budget": budget or {},
              "stage": "", "runs": runs, "measures": list(measures)}
  (workdir / "sweep.json").write_text(json.dumps(declared))
  return workdir

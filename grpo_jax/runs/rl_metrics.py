"""What an iteration reports: numbers for the log, a line for the terminal, the batch of a refused update."""

import math
import pathlib
import re

import jax
import numpy as np

from grpo_jax.algorithms.bounds import alike
from grpo_jax.distributed.multihost import fetch, is_first
from grpo_jax.metrics import means
from grpo_jax.types import Experience

TIMES = ("time/sampling", "time/rewards", "time/scoring", "time/update")  # seconds; scoring: what rewards did not hide


def joined(updates: list[dict]) -> dict:
  """Means over the updates of an iteration; maxima stay maxima, numbers of skipped updates are summed."""
  columns = {name: [u[name] for u in updates] for name in updates[0]}
  joins = {"max": np.max, "skipped": np.sum}
  return {name: float(joins.get(re.split("[/_]", name)[-1], np.mean)(v)) for name, v in columns.items()}


def rollout_metrics(collected, clock: list[float]) -> dict:
  """Rewards, lengths in tokens, health of the groups, and seconds between the readings of the clock.

  There are five readings, or two of an iteration that is one program.
  """
  judged, total = collected.judged, clock[-1] - clock[0]
  scores, lengths_BG, truncated_BG = judged.scores, judged.lengths_BG, judged.truncated_BG
  rewards, passed = scores.rewards_BG, collected.passed
  drawn = len(rewards) * collected.rollouts
  return means(scores.metrics()) | {
    "reward/std_in_group": float(rewards.std(1).mean()),
    "groups/no_signal": float(alike(rewards.min(1), rewards.max(1)).mean()),
    "length/mean": float(lengths_BG.mean()), "length/max": int(lengths_BG.max()),
    "length/truncated": float(truncated_BG.mean()), **lengths_by_reward(rewards, lengths_BG),
    "data/dropped": passed["dropped"], "data/skipped": passed["skipped"] / (passed.total() + drawn),
    "data/rollouts": collected.rollouts, "groups/size": rewards.shape[1], **by_source(judged.sources_B, rewards),
    **(dict(zip(TIMES, np.diff(clock).tolist(), strict=True)) if len(clock) > 2 else {}),
    "time/iteration": total, "time/tokens_per_second": float(lengths_BG.sum() / total),
  }


def lengths_by_reward(rewards_BG, lengths_BG) -> dict:
  """Mean length of the completions above and below their group's mean reward; nan where no group has signal."""
  centre_B1 = rewards_BG.mean(1, keepdims=True)
  sides = {"above": lengths_BG[rewards_BG > centre_B1], "below": lengths_BG[rewards_BG < centre_B1]}
  return {f"length/{side}": float(lengths.mean()) if lengths.size else math.nan for side, lengths in sides.items()}


def by_source(sources_B, rewards_BG) -> dict:
  """Mean reward and share of the groups of each source, where there are several."""
  names = np.unique(sources_B)
  return {
    f"source/{name}/{what}": float(value) for name in names if len(names) > 1
    for what, value in (("reward", rewards_BG[sources_B == name].mean()), ("share", (sources_B == name).mean()))}


def train_line(n: dict) -> str:
  """The progress of one iteration, with a warning where most completions were cut."""
  kl = f"  kl {n['policy/kl']:.4f}" if "policy/kl" in n else ""
  warn = f"  WARNING {n['length/truncated']:.0%} truncated" if n["length/truncated"] > 0.5 else ""
  if n.get("policy/not_finite"):
    warn += f"  WARNING the model is not finite: {n['policy/not_finite']:.0%} of completions"
  return (f"reward {n['reward/total']:.3f}{kl}  length {n['length/mean']:.1f}  "
          f"no-signal {n['groups/no_signal']:.2f}  {n['time/tokens_per_second']:.0f} tok/s{warn}")


def eval_line(n: dict) -> str:
  """Held-out accuracy with its interval, and pass rates."""
  line = f"held-out greedy {n['greedy']:.3f} [{n['greedy_low']:.3f}, {n['greedy_high']:.3f}]"
  names = [k for k in n if k.startswith("pass") and not k.endswith(("_low", "_high"))]
  alarm = f"  WARNING {n['verifier_gap']:+.3f} above the hold-out verifier" if n.get("alarm/verifier") else ""
  return line + "".join(f"  {k} {n[k]:.3f}" for k in names) + alarm


def save_skipped(directory: pathlib.Path, iteration: int, numbers: dict, experience: Experience) -> None:
  """Writes a batch whose gradient was not finite, as its numbers say, to `skipped/iteration_N.npz`."""
  if not numbers["update/skipped"]:
    return
  leaves = jax.tree_util.tree_leaves_with_path(fetch(experience))
  if not is_first():
    return
  folder = directory / "skipped"
  folder.mkdir(exist_ok=True)
  named = {jax.tree_util.keystr(path).strip("."): np.asarray(a) for path, a in leaves}
  np.savez(folder / f"iteration_{iteration}.npz", **named)

"""The doctor: what is wrong with a run, from its own log lines; each finding has its evidence and what to try.

Limits are `config.doctor`. A finding is made when it begins to hold, and again only after it has ceased to.
"""

import functools
import math
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import jax

LONGEST = 50  # training lines that are kept


class Unhealthy(ValueError):
  """A finding in a run that is asked to stop at one."""


@dataclass(frozen=True)
class Finding:
  """What is wrong since `step`, the numbers that say so, and what to try."""

  name: str
  step: int
  evidence: str
  advice: str

  def __str__(self):
    return f"FINDING {self.name}: {self.evidence}. {self.advice}"


@functools.cache
def compilations() -> Counter:
  """How many programs this process has compiled since this was first called, as `["count"]`."""
  count = Counter()

  def listen(name, seconds, **_):
    count["count"] += name == "/jax/core/compile/backend_compile_duration"

  jax.monitoring.register_event_duration_secs_listener(listen)
  return count


class Doctor:
  """Sees the lines of a stage one by one. `limits`: `config.doctor`; `component`: that says what is right."""

  def __init__(self, limits: Mapping, component: str):
    self.limits, self.component = limits, component
    self.lines, self.first, self._holding = deque(maxlen=LONGEST), [], set()

  def see(self, line: Mapping) -> list[Finding]:
    """What begins to be wrong with this line of metrics.jsonl."""
    kind = line["kind"]
    if kind == "train":
      self.lines.append(line)
      self.first += [line] if len(self.first) < self.limits["window"] else []
    found = {}
    for name, (of, check, advice) in CHECKS.items():
      evidence = check(self, line) if of == kind else ""
      if evidence:
        found[name] = Finding(name, line["step"], evidence, advice)
      elif of == kind:
        self._holding.discard(name)
    new = [finding for name, finding in found.items() if name not in self._holding]
    self._holding |= set(found)
    return new

  def mean(self, name: str, lines=None) -> float | None:
    """The mean over the newest window of training lines; None before there is one, or where a number is missing."""
    window = self.limits["window"]
    lines = list(self.lines)[-window:] if lines is None else lines
    numbers = [line.get(name) for line in lines]
    if len(numbers) < window or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
      return None
    return statistics.fmean(numbers)

  def solved(self) -> bool:
    """Whether nearly all completions are right: then groups without signal and a low entropy are as they should be."""
    right = self.mean(f"reward/{self.component}")
    return right is not None and right >= self.limits["solved"]

  def above(self, name: str, limit: float) -> str:
    """Evidence that a mean is above its limit."""
    mean = self.mean(name)
    if mean is None or mean <= limit:
      return ""
    return f"{name} is {mean:.3g} over the last {self.limits['window']} lines, the limit {limit:g}"


def diagnose(lines: Iterable[Mapping], limits: Mapping, component: str = "correct") -> list[Finding]:
  """All findings of a run's metrics.jsonl, in their order."""
  doctor = Doctor(limits, component)
  return [finding for line in lines for finding in doctor.see(line)]


def _no_signal(d: Doctor, line) -> str:
  return "" if d.solved() else d.above("groups/no_signal", d.limits["no_signal"])


def _entropy(d: Doctor, line) -> str:
  if "reward/total" not in line:  # a supervised stage is meant to lower it
    return ""
  now, start = d.mean("policy/entropy"), d.mean("policy/entropy", d.first)
  if now is None or start is None or now >= d.limits["entropy"] * start or d.solved():
    return ""
  return f"policy/entropy is {now:.3g} nats, {now / start:.1%} of its first, the limit {d.limits['entropy']:.0%}"


def _hacking(d: Doctor, line) -> str:
  if not line.get("alarm/verifier"):
    return ""
  return (f"held-out accuracy is {line['verifier_gap']:.3g} higher by the reward's rule than by the hold-out verifier, "
          f"{line['verifier']:.3g}")


def _verifier(d: Doctor, line) -> str:
  share = sum(line.get(f"reward/{kind}") or 0 for kind in ("errors", "deadlines", "bounded"))
  return f"{share:.1%} of the scores failed at {line['step']}, the limit {d.limits['errors']:.1%}" if (
    share > d.limits["errors"]) else ""


def _recompiled(d: Doctor, line) -> str:
  count = line.get("time/compilations", 0)
  return f"{count} programs were compiled at {line['step']}, after the start" if count else ""


def _stalled(d: Doctor, line) -> str:
  window, seconds = d.limits["window"], line.get("time/iteration", 0)
  before = [other["time/iteration"] for other in list(d.lines)[-1 - window : -1] if "time/iteration" in other]
  if len(before) < window or seconds < max(d.limits["stall_seconds"], d.limits["stall"] * statistics.median(before)):
    return ""
  return f"iteration {line['step']} took {seconds:.0f} s, usually {statistics.median(before):.1f}"


def _skipped(d: Doctor, line) -> str:
  skipped = line.get("update/skipped")
  return f"{skipped:.0f} updates at {line['step']} had gradients that are not finite" if skipped else ""


def _mean_above(name: str, limit: str) -> Callable:
  return lambda d, line: d.above(name, d.limits[limit])


# name: (kind of the lines it looks at, evidence or "", what to try)
CHECKS: dict[str, tuple[str, Callable, str]] = {
  "truncated": (
    "train", _mean_above("length/truncated", "truncated"),
    "Completions are cut before they end: raise completion_buckets, or set algorithm.truncated"),
  "no_signal": (
    "train", _no_signal,
    "Whole groups score alike and teach nothing: look at the reward, choose easier problems (curriculum.low), or raise "
    "sampling.group_size"),
  "kl": (
    "train", _mean_above("policy/kl", "kl"),
    "The policy runs away from the reference: lower optimizer.learning_rate or raise algorithm.beta"),
  "entropy": (
    "train", _entropy,
    "Sampling has collapsed: lower optimizer.learning_rate, raise algorithm.epsilon_high, or start from a "
    "checkpoint before it"),
  "sampler_gap": (
    "train", _mean_above("policy/sampler_gap", "sampler_gap"),
    "Sampler and trainer disagree on the same tokens: set algorithm.sampler_correction, or compute in float32"),
  "reward_hacking": (
    "eval", _hacking, "The policy may be pleasing the rule only: read its samples, and make the rule stricter"),
  "verifier": (
    "train", _verifier, "A reward rule fails: its text is in the log; raise rewards.deadline_seconds or mend the rule"),
  "skipped": (
    "train", _skipped, "The batch is kept in skipped/: lower optimizer.learning_rate or optimizer.clip_norm"),
  "recompiled": (
    "train", _recompiled, "Something has a new shape each time: every shape should be in the buckets"),
  "stalled": (
    "train", _stalled, "See where, in time/sampling, time/rewards, time/update: a slow rule, a full disk, other jobs"),
}

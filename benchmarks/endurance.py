"""Does a long run stay as it began: memory, open descriptors, log size and time per iteration at four points.

Command:   python benchmarks/endurance.py [--iterations 2000] [--config tests/runs/tiny_run.py] [--config.key=value …]

The run is the ordinary command in a process of its own, watched through /proc (Linux). Resident memory and descriptors
are of the trainer; `children` is the resident memory of its reward workers together.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
MIB = 2**20


def resident(pid: int) -> float:
  """MiB of memory that a process holds, 0 where it has ended."""
  try:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
  except OSError:
    return 0.0
  return next((int(line.split()[1]) * 1024 / MIB for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def children(pid: int) -> list[int]:
  """Processes that a process has started, and theirs."""
  try:
    threads = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
    own = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
  except OSError:
    return []
  return own + [grandchild for child in own for grandchild in children(child)]


def seconds(log: pathlib.Path, last: int = 100) -> tuple[int, float]:
  """The newest iteration of a log, and the median time of the `last` ones up to it."""
  rows = [json.loads(line) for line in log.read_text().splitlines()[-3 * last :] if line.endswith("}")]
  times = [(row["step"], row["time/iteration"]) for row in rows if row["kind"] == "train"][-last:]
  return times[-1][0], statistics.median(t for _, t in times)


def watch(command: list[str], workdir: pathlib.Path, points: list[int]) -> None:
  """Runs the command and prints a row of the table whenever its log passes one of the points."""
  log, left = workdir / "rl" / "metrics.jsonl", list(points)
  with (workdir / "output.log").open("w") as output:
    process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
  print("| iteration | resident, MiB | children, MiB | descriptors | metrics.jsonl, KiB | s per iteration |")
  print("|---" * 6 + "|", flush=True)
  while left and process.poll() is None:
    time.sleep(0.2)
    text = log.read_text() if log.exists() else ""
    if '"train"' not in text or (found := seconds(log))[0] < left[0]:
      continue
    left.pop(0)
    descriptors = len(list(pathlib.Path(f"/proc/{process.pid}/fd").iterdir()))
    own, workers = resident(process.pid), sum(map(resident, children(process.pid)))
    print(f"| {found[0]} | {own:.0f} | {workers:.0f} | {descriptors} | {log.stat().st_size / 1024:.0f} "
          f"| {found[1]:.3f} |", flush=True)
  if process.wait() or left:
    sys.exit(f"error: the run ended with status {process.returncode} and passed {len(points) - len(left)} points; see "
             f"{workdir / 'output.log'}")


def main():
  """Reads the flags, runs, prints the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--iterations", type=int, default=2000)
  parser.add_argument("--config", default="tests/runs/tiny_run.py")
  parser.add_argument("--workdir", type=pathlib.Path, help="default: a temporary folder")
  args, rest = parser.parse_known_args()
  n = args.iterations
  workdir = args.workdir or pathlib.Path(tempfile.mkdtemp(prefix="endurance-"))
  workdir.mkdir(parents=True, exist_ok=True)
  command = [
    sys.executable, "-m", "grpo_jax.main", f"--config={args.config}", f"--workdir={workdir}",
    f"--config.train.iterations={n}", "--config.evaluate.every=100", "--config.checkpoint.every=50", *rest]
  watch(command, workdir, [n // 4, n // 2, 3 * n // 4, n - 10])  # the last while the run is still there


if __name__ == "__main__":
  main()

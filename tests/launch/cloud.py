"""What the tests of the launch scripts share: a clean environment in which the cloud is fake_cloud.py."""

import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
POD = {"NAME": "grpo", "ZONE": "us-west4-a", "ACCELERATOR": "v5litepod-16"}


class Cloud:
  """A folder with the fake programs, their state, their calls, and a bucket that outlives the host."""

  def __init__(self, folder: pathlib.Path, **state):
    self.folder, self.bucket = folder, folder / "bucket"
    (folder / "bin").mkdir()
    self.bucket.mkdir()
    for name in ("gcloud", "kubectl", "srun", "sbatch", "scontrol"):
      program = folder / "bin" / name
      program.write_text(f"#!{sys.executable} -SE\n" + (ROOT / "tests/launch/fake_cloud.py").read_text())
      program.chmod(0o755)
    defaults = {"request": "ABSENT", "becomes": "PROVISIONING", "preempt_at": 99, "status": 0}
    (folder / "state.json").write_text(json.dumps(defaults | {"workdir": str(self.bucket)} | state))

  def environment(self, **more) -> dict:
    path = f"{self.folder / 'bin'}:{pathlib.Path(sys.executable).parent}:/usr/bin:/bin"
    home = {"HOME": str(self.folder), "TMPDIR": str(self.folder), "CLOUDSDK_CONFIG": str(self.folder / "none")}
    return {"PATH": path, "FAKE_CLOUD": str(self.folder), **home, **more}

  def run(self, *command, check=0, timeout=60, **more) -> str:
    """Output of a command that must end with status `check`."""
    done = subprocess.run(
      command, cwd=ROOT, env=self.environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
      timeout=timeout)
    assert done.returncode == check, done.stdout[-3000:]
    return done.stdout

  def calls(self) -> list[list[str]]:
    """Argument lists recorded so far."""
    path = self.folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid: int) -> bool:
  """Whether a process runs (one that ended and was not waited for does not)."""
  try:
    os.kill(pid, 0)
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
  except (ProcessLookupError, FileNotFoundError):
    return False


def gone(pids: list[int]) -> bool:
  """Whether none of the processes runs, now or within five seconds (the kernel takes its time after a SIGKILL)."""
  for _ in range(100):
    if not any(map(alive, pids)):
      return True
    time.sleep(0.05)
  return False

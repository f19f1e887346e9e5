"""launch/ablations.sh with a Python that only records: everything once, the tuned comparison after its tuning."""

import subprocess

import pytest
from cloud import ROOT


def ablations(folder, script: str) -> subprocess.CompletedProcess:
  """The script with a python that appends its arguments to FOLDER/calls, then does this."""
  python = folder / "python"
  python.write_text(f'#!/usr/bin/env bash\necho "$*" >> {folder}/calls\n{script}\n')
  python.chmod(0o755)
  return subprocess.run(["launch/ablations.sh", str(folder / "runs")], cwd=ROOT, capture_output=True, text=True,
                        timeout=60, env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)})


def test_every_sweep_is_run_once_and_then_the_tables_are_made(tmp_path):
  done = ablations(tmp_path, "")
  assert done.returncode == 0, done.stderr
  calls = (tmp_path / "calls").read_text().splitlines()
  sweeps = [call.split("--sweep=")[1].split()[0] for call in calls if "--sweep=" in call]
  files = {str(path.relative_to(ROOT)) for path in (ROOT / "configs/sweeps").glob("*.py")}
  assert {sweep.split(":")[0] for sweep in sweeps} == files and len(sweeps) == len(set(sweeps)) == len(files) + 2
  assert all(call.endswith(" --vmapped") for call in calls if "--sweep=" in call)
  tuned = f"configs/sweeps/ppo_vs_grpo.py:{tmp_path}/runs/ppo_vs_grpo_tuning"
  assert sweeps.index("configs/sweeps/ppo_vs_grpo.py") < sweeps.index(tuned)
  assert [call.split()[0] for call in calls[-2:]] == ["benchmarks/findings.py", "benchmarks/claims.py"]


@pytest.mark.parametrize("name", ["kl", "ppo_vs_grpo"])
def test_a_sweep_that_fails_is_named_and_no_tables_are_made(name, tmp_path):
  done = ablations(tmp_path, f'case "$*" in *sweeps/{name}.py*) echo "error: no such thing"; exit 1 ;; esac')
  assert done.returncode == 1 and done.stderr.splitlines()[0] == f"ablations.sh: {name} failed: error: no such thing"
  assert "findings.py" not in (tmp_path / "calls").read_text()

"""Stands in for gcloud, kubectl, srun, sbatch and scontrol: records its arguments and answers from a state file.

Installed under those names in a folder on the PATH. The state machine of a queued resource is WAITING_FOR_RESOURCES →
PROVISIONING → ACTIVE, one step per look. Its one host is the folder `host`: what is sent there by scp arrives, and what
is sent by ssh runs there, so that launch/run.sh, its log and its process are real. `preempt_at` is the step of the
trainer at which the host disappears, once.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

HOME = pathlib.Path(os.environ["FAKE_CLOUD"])
TRAINER = """#!/bin/bash
# What launch/run.sh takes for the Python of its virtual environment: pip, and a trainer of six steps that resumes.
if [ "$2" = pip ]; then exit; fi
pause=0.1
for a in "$@"; do
  case "$a" in
    --workdir=*) cd "${a#*=}" || exit 9 ;;
    --config=bad) echo "error: bad"; exit 1 ;;
    --config=slow) pause=30 ;;
  esac
done
step=$(cat step 2> /dev/null || echo 0)
echo "resumed at $step" >> starts
while [ "$step" -lt 6 ]; do step=$((step + 1)); echo "$step" > step; echo "rl $step/6"; sleep "$pause"; done
echo "run is done: $PWD"
"""


def load() -> dict:
  return json.loads((HOME / "state.json").read_text())


def save(**changes) -> None:
  (HOME / "state.json").write_text(json.dumps(load() | changes))


def boot() -> None:
  """A new host, with the virtual environment that launch/setup.sh would make."""
  python = HOME / "host" / "venv" / "bin" / "python"
  python.parent.mkdir(parents=True)
  python.write_text(TRAINER)
  python.chmod(0o755)


def vanish() -> None:
  pid = HOME / "host" / "grpo_jax.log.pid"
  if pid.exists():
    with contextlib.suppress(ProcessLookupError):
      os.killpg(int(pid.read_text()), signal.SIGKILL)
  shutil.rmtree(HOME / "host")


def look() -> str:
  """The state of the request, and one step on."""
  state = load()
  step = pathlib.Path(state["workdir"], "step")
  if state["request"] == "ACTIVE" and step.exists() and int(step.read_text() or 0) >= state["preempt_at"]:
    vanish()
    save(request="SUSPENDED", preempt_at=99)
  elif state["request"] == "PROVISIONING":
    boot()
    save(request="ACTIVE")
  elif state["request"] == "WAITING_FOR_RESOURCES":
    save(request=state["becomes"])
  return load()["request"]


def gcloud(verb: str, arguments: list[str]) -> int:
  state = load()["request"]
  if state == "OFFLINE":
    print("ERROR: gcloud crashed (ConnectionError): no route to host", file=sys.stderr)
    return 1
  if state == "ABSENT" and verb != "create":
    print("ERROR: (gcloud.compute.tpus) NOT_FOUND: Resource 'projects/p/locations/z' was not found", file=sys.stderr)
    return 1
  if verb == "create":
    save(request="WAITING_FOR_RESOURCES")
  elif verb == "describe":
    node = "--format=value(state)" in arguments
    print("READY" if node else look())
  elif verb == "delete":
    if state == "ACTIVE":
      vanish()
    save(request="ABSENT")
  elif verb == "scp":
    shutil.copy(arguments[0], HOME / "host" / arguments[1].split(":")[1])
  elif verb == "ssh":
    command = next(a for a in arguments if a.startswith("--command=")).removeprefix("--command=")
    options = {"cwd": HOME / "host", "env": {"HOME": str(HOME / "host"), "PATH": "/usr/bin:/bin"}, "timeout": 30}
    return subprocess.run(["bash", "-c", command], **options).returncode
  return 0


def main() -> int:
  program, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
  with open(HOME / "calls.jsonl", "a") as file:
    file.write(json.dumps([program, *arguments]) + "\n")
  if program == "gcloud":
    return gcloud(arguments[3], arguments[4:])
  if program == "kubectl":
    shutil.copy(arguments[arguments.index("-f") + 1], HOME / "applied.yaml")
  return load()["status"] if program == "srun" else 0


if __name__ == "__main__":
  sys.exit(main())

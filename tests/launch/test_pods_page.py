"""docs/pods.md and ablations.md: `console` blocks hold what their commands print, every script's --dry-run is there."""

import re

import pytest
from cloud import ROOT, Cloud

PAGE = "".join((ROOT / "docs" / page).read_text() for page in ("pods.md", "ablations.md"))
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def transcript(cloud, block: str) -> str:
  """A block as a terminal would show it: its commands, in one shell, each with its output."""
  commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
  script = "".join(f"cat <<'END'\n$ {command}\nEND\n{command}\n" for command in commands)
  return cloud.run("bash", "-ec", script, HOME="/home/you", TMPDIR="/tmp")


@pytest.fixture
def host(tmp_path):
  """A fresh host with the Python of a TPU image, which is too old, and Ubuntu's name."""
  cloud = Cloud(tmp_path)
  programs = {"python3": "exit 1", "lsb_release": "echo jammy", "id": "echo you", "mountpoint": "exit 1"}
  for name, script in programs.items():
    (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / name).chmod(0o755)
  return cloud


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.split("\n")[-2][:30])
def test_block_shows_what_its_commands_print(block, host):
  assert transcript(host, block) == block
  assert not host.calls()


def test_every_script_and_verb_is_shown():
  shown = set(re.findall(r"^\$ .*?(launch/[\w/.]+) --dry-run(?: ([a-z-]+)$| run)?", "\n".join(BLOCKS), re.MULTILINE))
  scripts = {str(p.relative_to(ROOT)) for p in (ROOT / "launch").rglob("*") if p.suffix in (".sh", ".sbatch")}
  assert {script for script, _ in shown} == scripts - {"launch/common.sh", "launch/tpu_health.sh"}
  verbs = re.search(r"VERB\n#\n(.*?)\n#\n", (ROOT / "launch/tpu_pod.sh").read_text(), re.DOTALL)[1]
  named = set(re.findall(r"^# ([a-z-]+)", verbs, re.MULTILINE))
  assert named == {"create", "push", "run", "logs", "status", "preempt-check", "stop"}
  assert all(f"launch/tpu_pod.sh --dry-run {verb}" in PAGE for verb in named)


def test_files_named_on_the_page_exist():
  for name in set(re.findall(r"\b(?:launch|configs|docs)/[\w/.]+\.\w+", PAGE)) - {"configs/sweeps/NAME.py"}:
    assert (ROOT / name).exists(), name

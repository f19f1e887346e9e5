"""What a wrong command gets: one sentence on what, where and how to put it right, and exit status 1."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import pytest

from grpo_jax.runs.setup import make_setup

ROOT = pathlib.Path(__file__).parents[2]
TINY = "tests/runs/tiny_run.py"


def ended(tmp_path, *arguments, config=TINY):
  """Runs the command to its end; the last line it wrote."""
  command = [sys.executable, "-m", "grpo_jax.main", f"--config={config}", f"--workdir={tmp_path / 'run'}", *arguments]
  environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
  assert done.returncode == 1, done.stderr[-2000:]
  assert "Traceback" not in done.stderr
  assert not (tmp_path / "run" / "sft").exists()  # nothing had begun
  return done.stderr.strip().splitlines()[-1]


def test_a_misspelt_key_on_the_command_line(tmp_path):
  line = ended(tmp_path, "--config.train.promts=3")
  assert line.startswith("error: --config.train.promts=3: 'promts' is not a key") and line.endswith("'prompts'?")


def test_a_misspelt_key_in_a_config_file(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text("from grpo_jax.config.defaults import default_config\n\n\n"
                  "def get_config():\n  c = default_config()\n  c.sampling.group_sise = 4\n  return c\n")
  line = ended(tmp_path, config=file)
  assert "mine.py line 6: 'group_sise' is not a key" in line and "'group_size'" in line


def test_an_argument_that_the_config_file_does_not_know(tmp_path):
  line = ended(tmp_path, config="configs/arithmetic.py:small")
  assert line == "error: configs/arithmetic.py:small is unknown; leave it out or use configs/arithmetic.py:tiny."


def test_an_unknown_flag(tmp_path):
  assert ended(tmp_path, "--stricter").startswith("error: Unknown command line flag 'stricter'")


def test_limits_of_the_doctor(tmp_path):
  assert ended(tmp_path, "--config.doctor.window=0") == (
    "error: doctor.window=0 must be a whole number in [1, 1e6]; set one there.")


def test_a_mistake_of_the_config_file_itself_keeps_its_traceback(tmp_path):
  file = tmp_path / "mine.py"
  file.write_text("def get_config():\n  return {}['nothing']\n")
  command = [sys.executable, "-m", "grpo_jax.main", f"--config={file}"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.returncode == 1 and "Traceback" in done.stderr and "not a key" not in done.stderr


@pytest.mark.parametrize("argument, words", [
  ("--config.sampling.group_size=1", "sampling.group_size=1 must be at least 2"),
  ("--config.algorithm.kl=k1", "use 'k3'"),
  ("--config.mesh.fsdp=3", "mesh"),
])
def test_values_that_cannot_work(argument, words, tmp_path):
  line = ended(tmp_path, argument)
  assert line.startswith("error: ") and words in line


def test_an_empty_data_file(tmp_path):
  empty, file = tmp_path / "empty.jsonl", tmp_path / "mine.py"
  empty.write_text("")
  file.write_text(
    f"import runpy\n\n\ndef get_config():\n  c = runpy.run_path({TINY!r})['get_config']()\n  with c.unlocked():\n"
    f"    c.data = {{'kind': 'jsonl', 'path': {str(empty)!r}, 'heldout_fraction': 0.1}}\n  return c\n")
  line = ended(tmp_path, config=file)
  assert line.startswith("error: ") and "empty.jsonl" in line


def test_chat_data_that_the_tokenizers_template_cannot_write_is_refused_before_the_run(tmp_path, one_device):
  config = runpy.run_path(str(ROOT / TINY))["get_config"]()
  rows = [{"prompt": [{"role": "user", "content": f"{i}+1="}], "answer": str(i + 1)} for i in range(9)]
  (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  with config.unlocked():
    config.data = {"kind": "jsonl", "path": str(tmp_path / "rows.jsonl"), "heldout_fraction": 0.3}
  with pytest.raises(ValueError, match="the tokenizer must have a chat template"):
    make_setup(config)

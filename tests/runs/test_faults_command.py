"""The command itself over a stopped run: with a reader that fails, and with a package of another version."""

import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
from killed import ROOT, command, environment, killed_run, leaves, rows, run

pytestmark = pytest.mark.slow
FAILING = """
import sys
from absl import app, flags
from grpo_jax import checkpoint, main
def restore(*_): raise {error}
checkpoint.Checkpoints.restore = restore
sys.argv[0] = "main"
app.run(main.main, flags_parser=main.parse)
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
  """A run that was asked to stop in the middle of RL, and one that was not."""
  workdir, whole = (tmp_path_factory.mktemp("command") / name for name in ("stopped", "whole"))
  run(whole)
  assert killed_run(workdir, 12, by=signal.SIGTERM) == 143
  return workdir, whole


def tree(folder: pathlib.Path) -> dict:
  """Names and contents of all checkpoints and logs."""
  return {f: f.read_bytes() for stage in ("sft", "rl") for f in (folder / stage).rglob("*") if f.is_file()}


def refused(arguments, workdir, **how) -> str:
  before = tree(workdir)
  done = subprocess.run(arguments, env=environment() | how.pop("more", {}), capture_output=True, text=True, timeout=300,
                        cwd=how.pop("cwd", ROOT))
  assert done.returncode == 1, done.stderr[-2000:]
  assert tree(workdir) == before
  said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
  assert len(said) == 1, done.stderr[-2000:]  # orbax's own threads may end with words of asyncio's behind it
  last = said[0]
  print(last)
  return last


@pytest.mark.parametrize("error", ["OSError(5, 'Input/output error')", "MemoryError()"])
def test_a_reader_that_fails_changes_nothing(error, stopped, tmp_path):
  workdir, whole = shutil.copytree(stopped[0], tmp_path / "run"), stopped[1]
  arguments = [sys.executable, "-c", FAILING.format(error=error), *command(workdir)[3:]]
  assert "could not be read" in refused(arguments, workdir)
  run(workdir)
  for stage in ("sft", "rl"):
    assert rows(workdir, stage) == rows(whole, stage)
    assert leaves(workdir, stage) == leaves(whole, stage)


def test_a_package_with_one_more_field_refuses_and_so_does_the_earlier_one_after_it(stopped, tmp_path):
  later = tmp_path / "later"
  shutil.copytree(ROOT / "grpo_jax", later / "grpo_jax")
  shutil.copytree(ROOT / "tests" / "runs", later / "tests" / "runs")
  state = later / "grpo_jax" / "training" / "state.py"
  text = state.read_text().replace("  critic: Learner | None = None\n", "  critic: Learner | None = None\n"
                                   "  momentum: Array | None = None\n")
  state.write_text(text.replace("    critic=None if critic", "    momentum=zero + 7, critic=None if critic"))
  workdir = shutil.copytree(stopped[0], tmp_path / "run")
  more = {"more": {"PYTHONPATH": str(later)}, "cwd": later}
  assert "momentum is no such leaf in it and int32[] in this code" in refused(command(workdir), workdir, **more)
  other = tmp_path / "other"
  subprocess.run(command(other), env=environment() | more["more"], cwd=later, check=True, capture_output=True,
                 timeout=300)
  assert "momentum is int32[] in it and no such leaf in this code" in refused(command(other), other)


PRELOAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int fails(int fd) {
  char link[64], path[4096], *bad = getenv("EIO_ON");
  snprintf(link, 64, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, 4095);
  if (n < 0 || !bad) return 0;
  path[n] = 0;
  return strstr(path, bad) != 0;
}
ssize_t pread64(int fd, void *buffer, size_t n, off64_t offset) {
  ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
  if (fails(fd)) { errno = EIO; return -1; }
  return real(fd, buffer, n, offset);
}
ssize_t pread(int fd, void *buffer, size_t n, off_t offset) { return pread64(fd, buffer, n, offset); }
"""


@pytest.mark.parametrize("where", ["/6/default/d/", "/6/default/manifest", "/6/default/ocdbt"])
def test_a_file_system_that_fails_below_changes_nothing(where, stopped, tmp_path):
  """EIO from the C library's own reads, as of a bad disk: what tensorstore makes of it is known as what it is."""
  if not (sys.platform == "linux" and shutil.which("gcc")):
    pytest.skip("needs gcc on Linux")
  library = tmp_path / "eio.so"
  subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", library, "-ldl"], input=PRELOAD.encode(), check=True)
  workdir = shutil.copytree(stopped[0], tmp_path / "run")
  more = {"LD_PRELOAD": str(library), "EIO_ON": f"sft/checkpoints{where}"}
  assert "could not be read" in refused(command(workdir), workdir, more=more)

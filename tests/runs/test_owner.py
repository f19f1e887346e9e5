"""A workdir has one owner: a second process touches nothing, a dead one is replaced, a former one writes no more."""

import fcntl
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest
from killed import ROOT, command, environment, leaves, rows, run

from grpo_jax.config.defaults import default_config
from grpo_jax.config.local_paths import check_local
from grpo_jax.distributed import owner

HOLD = """import sys, time; from grpo_jax.distributed import owner
owner.own(sys.argv[1]); print("mine", flush=True); time.sleep(99)"""


@pytest.fixture
def other(tmp_path):
  """A process that owns `tmp_path`."""
  process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, env=environment(),
                             stdout=subprocess.PIPE)
  assert process.stdout.readline() == b"mine\n"
  yield process
  process.kill()
  process.wait()


@pytest.fixture(autouse=True)
def nothing_held(tmp_path):
  yield
  owner.release(tmp_path)


def files(folder):
  return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize("locks", [True, False])
def test_the_second_is_told_who_and_since_when_and_touches_nothing(tmp_path, other, locks, monkeypatch):
  if not locks:
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError("no locks here")))
  before = files(tmp_path)
  with pytest.raises(owner.Held, match=rf"held by process {other.pid} on {socket.gethostname()} since 20"):
    owner.own(tmp_path)
  assert files(tmp_path) == before


@pytest.mark.parametrize("locks", [True, False])
def test_a_dead_owner_is_replaced_at_once(tmp_path, other, locks, monkeypatch, capfd):
  if not locks:
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError("no locks here")))
  other.send_signal(signal.SIGKILL)
  other.wait()
  owner.own(tmp_path)
  owner.own(tmp_path)  # what is mine may be taken again
  assert f"process {other.pid} on {socket.gethostname()}, is gone; taken over" in capfd.readouterr().err


def elsewhere(folder, beat, pid=1):
  text = json.dumps({"host": "elsewhere", "pid": pid, "born": "1", "token": "t", "since": beat, "beat": beat})
  (folder / "owner.json").write_text(text)


def test_an_owner_on_another_host_lives_by_its_heartbeat(tmp_path):
  elsewhere(tmp_path, time.time() - owner.LEASE / 2)
  with pytest.raises(owner.Held, match="process 1 on elsewhere"):
    owner.own(tmp_path)
  elsewhere(tmp_path, time.time() - owner.LEASE - 1)
  owner.own(tmp_path)


def test_who_lost_the_folder_writes_no_more(tmp_path):
  owner.own(tmp_path)
  owner.check_owned(tmp_path / "rl")
  elsewhere(tmp_path, time.time(), pid=7)
  with pytest.raises(owner.Held, match=r"process 7 on elsewhere .* This process had it before and writes no more"):
    owner.check_owned(tmp_path / "rl")
  owner.release(tmp_path)
  assert "elsewhere" in (tmp_path / "owner.json").read_text()  # the other's hold is not ours to end


def test_the_heartbeat_goes_on(tmp_path, monkeypatch):
  monkeypatch.setattr(owner, "LEASE", 0.2)
  owner.own(tmp_path)
  first = json.loads((tmp_path / "owner.json").read_text())["beat"]
  end = time.monotonic() + 10
  while json.loads((tmp_path / "owner.json").read_text())["beat"] == first and time.monotonic() < end:
    time.sleep(0.02)
  assert json.loads((tmp_path / "owner.json").read_text())["beat"] > first


@pytest.mark.parametrize("key", ["model.path", "data.path", "data.heldout_path", "tokenizer.path"])
def test_addresses_are_no_paths(key):
  check_local(default_config().to_dict())
  values = {"data": {"prompt": "see https://x.org"}}
  section, name = key.split(".")
  with pytest.raises(ValueError, match=rf"{key}='gs://bucket/x' is an address"):
    check_local({section: values.get(section, {}) | {name: "gs://bucket/x"}})


@pytest.mark.slow
def test_twenty_double_starts_lose_and_falsify_nothing(tmp_path):
  """Two processes with one --workdir, the second at a random moment: one trains to the end, the other says who does."""
  whole, rng = tmp_path / "whole", random.Random(time.time_ns())
  run(whole)
  options = {"cwd": ROOT, "env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
  seconds, refused = 15.0, 0
  for i in range(20):
    workdir, started = tmp_path / str(i), time.monotonic()
    one = subprocess.Popen(command(workdir), **options)
    time.sleep(rng.random() * seconds)
    two = subprocess.Popen(command(workdir), **options)
    said = [p.communicate(timeout=600)[0] for p in (one, two)]
    seconds = 0.7 * seconds + 0.3 * (time.monotonic() - started)
    done = [p.returncode == 0 and "run is done" in text for p, text in zip((one, two), said, strict=True)]
    held = [p.returncode == 1 and "is held by process" in text for p, text in zip((one, two), said, strict=True)]
    assert any(done) and all(d or h for d, h in zip(done, held, strict=True)), said
    refused += sum(held)
    assert not list(workdir.rglob("*.damaged")) and not (workdir / "owner.json").exists()
    for stage in ("sft", "rl"):
      assert rows(workdir, stage) == rows(whole, stage)
      assert leaves(workdir, stage) == leaves(whole, stage)
  print(f"{refused} of 20 second starts were refused")


def test_the_owner_file_of_this_process_ends_with_it(tmp_path):
  owner.own(tmp_path)
  assert json.loads((tmp_path / "owner.json").read_text())["pid"] == os.getpid()
  owner.release(tmp_path)
  assert sorted(p.name for p in pathlib.Path(tmp_path).iterdir()) == [".owner.lock"]

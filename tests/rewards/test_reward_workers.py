"""The pool against rules that hang, crash, print, eat memory and outlive their parent."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards import worker
from grpo_jax.rewards.calls import Call, RuleContext
from grpo_jax.rewards.workers import WorkerPool

HERE = Path(__file__).parent
RULE, PID, KEEPER = "user_rules:misbehave", "user_rules:pid", "user_rules:keeper"


def call(completion, rule=RULE, **options):
  example = Example(({"role": "user", "content": "?"},), "\ud800")
  return Call(rule, completion, example, RuleContext(1, False, 1), options)


def is_running(pid):
  try:
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
  except (FileNotFoundError, ProcessLookupError):
    return False
  return state != "Z"  # nobody may be there to reap an orphan


@pytest.fixture
def pool(monkeypatch):
  monkeypatch.syspath_prepend(HERE)  # the workers inherit sys.path
  pool = WorkerPool(2, [RULE], deadline_seconds=0.5, memory_gib=2.0)
  yield pool
  pool.close()


def test_order_and_reuse(pool):
  texts = ["x" * (i % 7) for i in range(40)]
  outcomes = pool.run([call(text, seconds=0.01 * (i % 3)) for i, text in enumerate(texts)])
  assert [outcome.score for outcome in outcomes] == [len(text) for text in texts]
  pids = {kept.process.pid for kept in pool._workers}
  assert {outcome.score for outcome in pool.run([call("", KEEPER)] * 20)} <= pids
  assert pool.run([]) == []


@pytest.mark.parametrize("text", ["hang", "bignum"])
def test_a_hang_is_killed_at_the_deadline_and_costs_only_itself(pool, text):
  pool.run([call("warm")])
  start = time.monotonic()
  outcomes = pool.run([call("a"), call(text), call("bb"), call("ccc")])
  assert 0.5 <= time.monotonic() - start < 5
  assert [outcome.score for outcome in outcomes] == [1, 0, 2, 3]
  assert [outcome.failure for outcome in outcomes] == ["", "deadline", "", ""]
  assert "within 0.5 s" in outcomes[1].message


def test_crashes_and_exceptions_are_errors_and_workers_are_replaced(pool):
  texts = ["exit", "throw", "sys.exit", "nan", "memory", "fine", "exit", "exit", "fine"]
  outcomes = pool.run([call(text) for text in texts])
  assert [outcome.failure for outcome in outcomes] == ["error"] * 5 + ["", "error", "error", ""]
  assert "exit status 3" in outcomes[0].message
  assert "KeyError" in outcomes[1].message and "\\ud800" in outcomes[1].message
  assert "exit status 4" in outcomes[2].message
  assert "nan" in outcomes[3].message
  assert "MemoryError" in outcomes[4].message


def test_library_output_and_input_leave_the_protocol_alone(pool):
  assert [outcome.score for outcome in pool.run([call("print"), call("read"), call("print")])] == [5, 0, 5]


def test_any_text_survives_the_pipe(pool):
  texts = ["\x00" * 10, "\ud800\udfff", "9" * 2**20, "\r\n\u2028", ""]
  assert [outcome.score for outcome in pool.run([call(text) for text in texts])] == [10, 2, 2**20, 3, 0]


def test_a_worker_killed_while_idle_costs_nothing(pool):
  pool.run([call("warm")] * 8)
  for kept in pool._workers:
    if kept.ready:
      os.kill(kept.process.pid, signal.SIGKILL)
      os.waitid(os.P_PID, kept.process.pid, os.WEXITED | os.WNOWAIT)
  assert [outcome.failure for outcome in pool.run([call("a")] * 4)] == [""] * 4


def test_a_worker_that_cannot_start_is_reported():
  pool = WorkerPool(1, ["no.such.module:rule"], deadline_seconds=0.5)
  with pytest.raises(RuntimeError, match="did not start: cannot be imported"):
    pool.run([call("a")])
  assert pool._workers == []


def test_no_worker_survives_close(pool):
  pool.run([call("a"), call("hang")])
  pids = [kept.process.pid for kept in pool._workers]
  pool.close()
  assert not any(is_running(pid) for pid in pids)
  assert pool.run([call("a")])[0].score == 1  # and a closed pool starts again


@pytest.mark.parametrize("last", ["", "bignum"])
def test_no_worker_survives_its_parent(last):
  code = f"""
import os, signal, threading, time
from test_reward_workers import PID, WorkerPool, call
pool = WorkerPool(2, [PID], deadline_seconds=0.5)
pids = {{int(outcome.score) for outcome in pool.run([call("a", PID)] * 9)}}
print(*[kept.process.pid for kept in pool._workers], *pids, flush=True)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()
pool.run([call({last!r}), call({last!r})]) if {last!r} else time.sleep(10)
"""
  environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
  command = [sys.executable, "-c", code]
  parent = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
  pids = parent.stdout.split()
  assert parent.returncode == -signal.SIGKILL and len(pids) > 2, parent.stderr
  give_up = time.monotonic() + 10
  while any(is_running(pid) for pid in pids) and time.monotonic() < give_up:
    time.sleep(0.05)
  assert not any(is_running(pid) for pid in pids)


@pytest.mark.parametrize("what", ["memory", "descriptors"])
def test_a_leak_costs_no_later_call(monkeypatch, what):
  monkeypatch.syspath_prepend(HERE)
  pool = WorkerPool(1, ["user_rules:leak"], deadline_seconds=10.0, memory_gib=0.8)
  n = {"memory": 4, "descriptors": 12}[what]
  assert [outcome.failure for outcome in pool.run([call(what, "user_rules:leak")] * n)] == [""] * n
  pool.close()


def test_a_worker_is_replaced_after_its_calls(monkeypatch):
  monkeypatch.setattr(worker, "MOST_CALLS", 3)
  age = worker._Age(0)
  assert [age.is_old() for _ in range(3)] == [False, False, True]


FORGED = b'{"number": 1, "old": false, "outcome": {"score": 9}}'
MESSAGES = {
  "a length of 2^60": struct.pack("<Q", 2**60),
  "2 MiB": struct.pack("<Q", 2**21),
  "half a header": b"\x01",
  "half a message": struct.pack("<Q", 100) + b"x",
  "no JSON": struct.pack("<Q", 3) + b"abc",
  "another's answer": struct.pack("<Q", len(FORGED)) + FORGED,
  "nesting": struct.pack("<Q", 10**5) + b"[" * 10**5,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_a_rule_writes_to_the_pipe_costs_its_own_call_only(pool, name):
  calls = [call("a"), call(MESSAGES[name].hex(), "user_rules:interfere"), call("bb"), call("ccc")]
  outcomes = pool.run([*calls, call("d")])
  assert [outcome.score for outcome in outcomes] == [1, 0, 2, 3, 1]
  assert outcomes[1].failure in ("error", "deadline")


def child_pids(path):
  give_up = time.monotonic() + 20
  while not (path.exists() and len(path.read_text().split()) == 3):
    assert time.monotonic() < give_up
    time.sleep(0.02)
  return [int(pid) for pid in path.read_text().split()]


@pytest.mark.parametrize("how", ["", "hang", "exit"])
def test_no_process_of_a_rule_survives_its_worker(monkeypatch, tmp_path, how):
  monkeypatch.syspath_prepend(HERE)
  pool = WorkerPool(1, ["user_rules:children"], deadline_seconds=3.0)
  example = Example("", str(tmp_path / "pids"))
  outcome = pool.run([Call("user_rules:children", how, example, RuleContext(1, False, 1))])[0]
  pids = child_pids(tmp_path / "pids")
  assert outcome.failure == {"": "", "hang": "deadline", "exit": "error"}[how]
  assert how or all(map(is_running, pids))
  pool.close()
  assert not any(map(is_running, pids))


@pytest.mark.parametrize("how", ["", "hang"])
def test_no_process_of_a_rule_survives_the_run(tmp_path, how):
  code = f"""
import time
from test_reward_workers import *
pool = WorkerPool(1, ["user_rules:children"], deadline_seconds=60.0)
pool.run([Call("user_rules:children", {how!r}, Example("", {str(tmp_path / "pids")!r}), RuleContext(1, False, 1))])
time.sleep(60)
"""
  environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
  with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
    pids = child_pids(tmp_path / "pids")
    assert all(map(is_running, pids))
    parent.kill()
  give_up = time.monotonic() + 10
  while any(map(is_running, pids)) and time.monotonic() < give_up:
    time.sleep(0.05)
  assert not any(map(is_running, pids))

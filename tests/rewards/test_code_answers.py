"""The rule `code`: right and wrong programs, programs that try to break out, and programs that try to cheat."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import Call, RewardError, RuleContext
from grpo_jax.rewards.code_answers import code
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.sandbox import _PROBE, Limits, check_isolation, run_program
from grpo_jax.rewards.workers import WorkerPool

ROOT = pathlib.Path(__file__).parents[2]
LIMITS = Limits(10.0, 256)
TESTS = "assert add(1, 2) == 3\nassert add(0, 0) == 0\nassert not odd(2)\nassert odd(3)"
GOOD = "def add(a, b):\n  return a + b\ndef odd(n):\n  return n % 2 == 1\n"


def score(program, tests=TESTS, **options):
  return code(program, Example("", tests), RuleContext(1, False, 1), **{"seconds": 10.0, **options})


@pytest.mark.parametrize(
  ("completion", "options", "expected"),
  [
    (GOOD, {}, 1.0),
    (f"First\n```\njunk(\n```\nthen\n```python\n{GOOD}```\nDone.", {}, 1.0),
    (f"```python\n{GOOD}", {}, 1.0),  # cut off before the fence was closed
    (f"x = ( Answer: {GOOD}", {"after": "Answer: "}, 1.0),
    (GOOD, {"after": "Answer:"}, 0.0),
    ("def add(a, b): return a + b", {"partial": True}, 0.5),
    ("def add(a, b): return a + b", {}, 0.0),
    ("def add(a, b) return", {"partial": True}, 0.0),
    ("", {}, 0.0),
  ],
)
def test_asserts(completion, options, expected):
  assert score(completion, **options) == expected


def test_functions_meet_their_tests_as_if_in_one_process():
  program = """
class Stack:
  def __init__(self): self.items = []
  def push(self, x): self.items.append(x)
  def __len__(self): return len(self.items)
class Own(ValueError): pass
def rotate(matrix): matrix[:] = [list(row) for row in zip(*matrix[::-1])]
def echo(x): return x
def evens():
  for i in range(10 ** 6): yield 2 * i
def fail(): raise Own("no")
LIMIT = 10 ** 5000
"""
  tests = """
from collections import Counter
stack = Stack()
stack.push(4)
assert len(stack) == 1
assert stack.items == [4]
m = [[1, 2], [3, 4]]
rotate(m)
assert m == [[3, 1], [4, 2]]
value = {"a": (1, {2, 3}), None: b"x", 1.5: frozenset({float("inf")}), "c": 1j, "s": "\\ud800\\x00"}
assert echo(value) == value
assert echo(Counter("aab")) == {"a": 2, "b": 1}
assert math.isclose(echo(0.1) + 0.2, 0.3)
assert next(evens()) == 0
assert LIMIT == 10 ** 5000
try:
  fail()
except ValueError:
  raised = True
assert raised
def check(f):
  assert f(1) == 1
check(echo)
"""
  assert score(program, tests, partial=True) == 1.0


def test_input_and_output_are_compared_outside():
  cases = json.dumps([{"input": "1 2\n", "output": "3"}, {"input": "4 5", "output": "9\n"}])
  assert score("print(sum(map(int, input().split())), ' ')", cases) == 1.0
  assert score("print(3)", cases, partial=True) == 0.5
  assert score("print(3)", cases) == 0.0
  assert score("print(sum(map(int, input().split())))\nraise SystemExit(1)", cases, partial=True) == 0.0


BREAK_OUT = {
  "a socket": "import socket\nsocket.socket().connect(('127.0.0.1', {port}))",
  "1,000 processes": "import os\nfor _ in range(1000):\n  if os.fork() == 0: os._exit(0)",
  "2 GB": "x = bytearray(2 * 10 ** 9)",
  "2 GB in pieces": "x = [bytearray(10 ** 6) for _ in range(2000)]",
  "a file outside": "open('{folder}/new', 'w').write('x')",
  "much output": "while True: print('x' * 10 ** 6)",
}
SMALLER = """
import ctypes, os, resource, socket, subprocess, threading
libc = ctypes.CDLL(None)
def zero(result):
  if result: raise OSError
trials = [
  lambda: socket.socketpair(), lambda: subprocess.run(["true"]), lambda: os.execv("/bin/true", ["true"]),
  lambda: threading.Thread(target=print).start(), lambda: os.posix_spawn("/bin/true", ["true"], {}),
  lambda: open("{folder}/old", "a"), lambda: os.open("{folder}/old", os.O_RDONLY | os.O_TRUNC),
  lambda: os.open("{folder}", os.O_TMPFILE | os.O_RDWR), lambda: os.truncate("{folder}/old", 0),
  lambda: os.remove("{folder}/old"), lambda: os.rename("{folder}/old", "{folder}/new"),
  lambda: os.mkdir("{folder}/new"),
  lambda: os.symlink("x", "{folder}/new"), lambda: os.chmod("{folder}/old", 0), lambda: os.chown("{folder}/old", 1, 1),
  lambda: os.utime("{folder}/old"), lambda: os.setxattr("{folder}/old", "user.x", b"x"), lambda: open("here", "w"),
  lambda: open("{folder}/old").read(), lambda: os.listdir("/"), lambda: open("/proc/self/environ"),
  lambda: os.memfd_create("x"), lambda: zero(libc.shmget(0, 1 << 20, 0o1600) < 0),
  lambda: os.kill({pid}, 9), lambda: os.kill(os.getpid(), 0), lambda: os.killpg(0, 0), lambda: os.nice(1),
  lambda: os.sched_setaffinity({pid}, {0}), lambda: os.setpriority(os.PRIO_PROCESS, {pid}, 5),
  lambda: open("/proc/{pid}/mem", "rb"), lambda: resource.prlimit({pid}, resource.RLIMIT_CPU),
  lambda: resource.setrlimit(resource.RLIMIT_AS, (2 ** 40, 2 ** 40)), lambda: os.setsid(), lambda: os.setuid(0),
  lambda: zero(libc.unshare(0x10000000)), lambda: zero(libc.ptrace(16, {pid}, 0, 0)),
  lambda: zero(libc.chroot(b"/tmp")),
  lambda: __import__("fcntl").fcntl(0, 8, {pid}), lambda: zero(libc.prctl(1, 0)), lambda: os.pidfd_open({pid}),
]
for i, trial in enumerate(trials):
  try: trial()
  except (OSError, RuntimeError, ValueError): continue
  print(i)
print("tried", len(trials))
"""


def fill(program, folder):
  return program.replace("{folder}", str(folder)).replace("{pid}", str(os.getpid())).replace("{port}", "9")


@pytest.fixture
def folder(tmp_path):
  """A folder with one file that must be as it was at the end, by a process that must have no children left."""
  old = tmp_path / "old"
  old.write_text("old")
  before = old.stat()
  yield tmp_path
  assert [path.name for path in tmp_path.iterdir()] == ["old"] and old.read_text() == "old"
  assert (old.stat().st_mode, old.stat().st_mtime_ns, old.stat().st_uid) == (
    before.st_mode, before.st_mtime_ns, before.st_uid,
  )  # fmt: skip
  with pytest.raises(ChildProcessError):
    os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("name", BREAK_OUT)
def test_a_program_that_tries_to_break_out_fails_and_harms_nothing(name, folder):
  assert run_program(fill(BREAK_OUT[name], folder) + "\nprint('after')", "", LIMITS) is None


def test_nothing_else_that_touches_the_machine_works_either(folder):
  assert run_program(fill(SMALLER, folder), "", LIMITS) == "tried 40\n"


def test_the_environment_is_scrubbed(monkeypatch):
  monkeypatch.setenv("SECRET", "x")
  assert json.loads(run_program("import os, json\nprint(json.dumps(sorted(os.environ)))", "", LIMITS)) == [
    "LC_ALL", "PYTHONHASHSEED", "PYTHONPATH",
  ]  # fmt: skip


def test_a_program_without_end_costs_its_seconds():
  start = time.monotonic()
  assert score("while True: pass", seconds=0.5) == 0.0
  assert score("import time\ntime.sleep(1000)", seconds=0.5) == 0.0
  assert score(GOOD + "def add(a, b):\n  while True: pass", seconds=0.5, partial=True) == 0.0
  assert time.monotonic() - start < 8


CHEATS = {
  "exit": "import sys\nsys.exit(0)",
  "hard exit": "import os\nos._exit(0)",
  "exit when asked": "import os\ndef add(a, b): os._exit(0)\nodd = add",
  "equal to everything": """
class Same:
  def __eq__(self, other): return True
  def __bool__(self): return True
def add(a, b): return Same()
odd = add""",
  "equal number": """
class Same(int):
  def __eq__(self, other): return True
def add(a, b): return Same(7)
odd = add""",
  "patched builtins": "import builtins\nbuiltins.AssertionError = builtins.all = print\ndef add(a, b): pass\nodd = add",
  "verdicts everywhere": """
import os
for fd in range(64):
  try: os.write(fd, b'++++')
  except OSError: pass
os._exit(0)""",
  "verdicts at exit": "import atexit, os\natexit.register(os.write, 1, b'++++')",
  "answers before they are asked for": """
import os, sys
channel = int(sys.argv[-1])
while True: os.write(channel, b'{"value": {"object": 0}, "args": []}\\n')""",
  "look for the tests": """
import gc, sys
texts = [o for o in gc.get_objects() if 'add(1' in str(o)[:200]]
frame, seen = sys._getframe(), []
while frame: seen, frame = seen + [str(frame.f_locals)], frame.f_back
assert not any('add(1' in s for s in seen)
def add(a, b): return {(1, 2): 3, (0, 0): 0}[a, b] if texts else None
def odd(n): return None""",
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_program_cannot_pass_without_being_right(name):
  assert score(CHEATS[name], "assert add(1, 2) == 3\nassert add(0, 0) == 0\nassert odd(3) is True", partial=True) == 0.0


def test_a_test_that_expects_an_exception_is_not_passed_by_dying():
  tests = "try:\n  f()\n  assert False\nexcept Exception:\n  pass"
  assert score("def f(): raise ValueError", tests) == 1.0
  assert score("import os\ndef f(): os._exit(0)", tests) == 0.0


def test_the_tests_keep_pythons_own_modules_and_builtins():
  tests = "import math\nassert sorted(f()) == [1, 2]\nassert math.isclose(g(), 1.0)"
  cheat = "class math:\n  isclose = all\ndef sorted(x): return [1, 2]\ndef f(): return [3]\ndef g(): return 7."
  assert score(cheat, tests, partial=True) == 0.0


@pytest.mark.parametrize("answer", ["", "add(1, 2)", "assert (", "[]", '[{"input": "1"}]', "7", "\x00", "(" * 9999])
def test_an_answer_without_tests_is_an_error(answer):
  with pytest.raises(ValueError, match="holds no tests"):
    score(GOOD, answer)


def test_options_out_of_range_are_errors():
  with pytest.raises(ValueError, match="seconds=0 must be positive"):
    score(GOOD, seconds=0)


def test_the_self_check_refuses_where_nothing_confines(monkeypatch):
  check_isolation(LIMITS)
  monkeypatch.setattr("grpo_jax.rewards.sandbox._CHILD", "tests.rewards.unconfined")
  with pytest.raises(RuntimeError, match="could open a socket, start a process, take more memory than allowed, write"):
    check_isolation(LIMITS)
  monkeypatch.setattr("grpo_jax.rewards.sandbox._CHILD", "no.such.module")
  with pytest.raises(RuntimeError, match=r"could not be started confined \(1\)"):
    check_isolation(LIMITS)


def test_a_worker_that_cannot_confine_says_so_in_one_sentence(monkeypatch, tmp_path):
  patch = "import grpo_jax.rewards.sandbox as sandbox\nsandbox._CHILD = 'no.such.module'\n"
  (tmp_path / "sitecustomize.py").write_text(patch)
  monkeypatch.syspath_prepend(tmp_path)  # the worker inherits it, the confined process does not
  pool = WorkerPool(1, ["code"], deadline_seconds=5.0)
  with pytest.raises(RewardError, match=r"did not start: The rule code cannot confine programs .*, or remove"):
    pool.run([Call("code", "", Example("", TESTS), RuleContext(1, False, 1))])


def test_it_holds_for_a_user_who_is_not_root(folder):
  become = "import json, os, resource, socket, sys\n"
  become += "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
  confine = "from grpo_jax.rewards.confine import confine\nconfine(2 ** 28, 20, 2 ** 20)\n"
  facts = f"{folder} {os.getpid()} {2**29} 9"
  run = [sys.executable, "-c", confine.partition("\n")[0] + "\n" + become + confine.partition("\n")[2] + _PROBE]
  done = subprocess.run(run, cwd=ROOT, input=facts, capture_output=True, text=True)
  assert done.stdout == "[]\n", done.stderr


def test_self_test_and_order_in_the_workers():
  settings = {"workers": 2, "deadline_seconds": 10.0, "max_error_rate": 0.0}
  with Rewards({"code": {"rule": "code", "options": {"seconds": 8.0}}}, **settings) as rewards:
    assert rewards.self_test([Example("", TESTS, GOOD)]) == {"gold": 1.0, "wrong": 0.0, "n": 1}
    with pytest.raises(RewardError, match="scored the gold text"):
      rewards.self_test([Example("", TESTS, "def add(a, b): return 3")])
    programs = [f"def f(): return {i}" for i in range(6)]
    calls = [Call("code", text, Example("", "assert f() % 2 == 0"), RuleContext(1, False, 1)) for text in programs]
    assert [outcome.score for outcome in rewards._pool.run(calls)] == [1, 0, 1, 0, 1, 0]

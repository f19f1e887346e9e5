"""Many processes as one run: joining, agreeing at the start, gathering small arrays, and never waiting for ever."""

import contextlib
import errno
import faulthandler
import functools
import hashlib
import os
import pathlib
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
DETECT = "GRPO_MULTIHOST"  # 1: TPU pods, GKE and Slurm say themselves who they are
DEADLINE_STATUS = 70  # exit status of a process whose peers did not answer; launch/ starts the run again
JOIN_SECONDS = "GRPO_JOIN_SECONDS"  # how long a process waits for all others to join, default 300


_PEERS = re.compile(r"[Gg]loo|\b(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED): |[Cc]oordination service|heartbeat")


class LostPeers(RuntimeError):
  """Other processes of the run are gone, or could not be joined. The same command continues."""


def initialize() -> None:
  """Joins the other processes, where the environment says that there are any; before anything uses a device.

  From here on only the first process has a stdout.

  Raises:
    ValueError: some of the three explicit variables are set and not all.
    LostPeers: the coordinator's port is taken.
  """
  given = [name for name in EXPLICIT if os.environ.get(name)]
  if given and len(given) < len(EXPLICIT):
    missing = ", ".join(sorted(set(EXPLICIT) - set(given)))
    raise ValueError(f"{given[0]}={os.environ[given[0]]!r} is set but {missing} is not; set all three or none.")
  if given:
    address, count, index = (os.environ[name] for name in EXPLICIT)
    if int(index) == 0:
      _check_port(address)
    with _joining(f"process {index} of {count} at {address}") as seconds:
      jax.distributed.initialize(address, int(count), int(index), initialization_timeout=seconds)
  elif os.environ.get(DETECT) == "1":
    with _joining("this process") as seconds:
      jax.distributed.initialize(initialization_timeout=seconds)
  if not is_first():
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as the process lives


@contextlib.contextmanager
def _joining(who: str) -> Iterator[int]:
  """A block that joins the others, with jax's own time limit; ours ends the process before, as jax would abort it."""
  seconds = int(os.environ.get(JOIN_SECONDS) or 300)
  late = LostPeers(f"{who} did not find all the others within {JOIN_SECONDS}={seconds} s; start all of them again.")
  timer = threading.Timer(seconds, leave_lost, [late])
  timer.daemon = True
  timer.start()
  try:
    yield seconds + 30
  finally:
    timer.cancel()


def _check_port(address: str) -> None:
  """Raises LostPeers where the coordinator could not listen: jax itself would crash, and the others wait."""
  host, _, port = address.rpartition(":")
  try:
    socket.create_server((host.strip("[]"), int(port))).close()
  except OSError as error:
    if error.errno == errno.EADDRINUSE:
      raise LostPeers(f"JAX_COORDINATOR_ADDRESS={address!r}: another process listens at this port; choose another one, "
                      "in all processes.") from error


def peers_lost(error: BaseException) -> bool:
  """Whether an error of the runtime says that another process does not answer; it comes as several Python types."""
  return isinstance(error, RuntimeError | ValueError) and jax.process_count() > 1 and bool(_PEERS.search(str(error)))


def leave_lost(error: BaseException) -> None:
  """Says that peers are lost and ends the process at once: an ordinary end would wait for them."""
  first = (str(error).strip().splitlines() or [""])[0][:200]
  sentence = first if isinstance(error, LostPeers) else (
    f"another process of this run is gone or does not answer ({first}); the same command continues from the last "
    "checkpoint")
  print(f"lost: {sentence}", file=sys.stderr, flush=True)
  os._exit(DEADLINE_STATUS)


def is_first() -> bool:
  """Whether this process writes logs and files."""
  return jax.process_index() == 0


def own_rows(n: int) -> np.ndarray:
  """Which of n prompts this process scores: every prompt is one process's."""
  return np.arange(jax.process_index(), n, jax.process_count())


def fetch(tree):
  """Arrays on the mesh as host arrays, whole, in every process."""
  if jax.process_count() == 1:
    return jax.device_get(tree)
  return jax.tree.map(lambda a: multihost_utils.process_allgather(a, tiled=True), tree)


def joined_rows(own: Mapping[str, np.ndarray], n: int) -> dict[str, np.ndarray]:
  """Arrays `[n, …]` from every process's `[len(own_rows(n)), …]`."""
  if jax.process_count() == 1:
    return dict(own)
  whole = {name: np.zeros((n, *a.shape[1:]), a.dtype) for name, a in own.items()}
  for name, a in own.items():
    whole[name][own_rows(n)] = a
  gathered = multihost_utils.process_allgather(whole)
  return {name: np.asarray(a).sum(0).astype(whole[name].dtype) for name, a in gathered.items()}


def summed(numbers: Mapping[str, int]) -> dict[str, int]:
  """Whole numbers added up over the processes."""
  if jax.process_count() == 1:
    return dict(numbers)
  gathered = multihost_utils.process_allgather(np.asarray(list(numbers.values()), np.int32))
  return dict(zip(numbers, np.asarray(gathered).sum(0).tolist(), strict=True))


def barrier(name: str) -> None:
  """Until every process is here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


@functools.cache
def code_version() -> str:
  """A hash of this package's source files."""
  package, digest = pathlib.Path(__file__).parents[1], hashlib.sha256()
  for file in sorted(package.rglob("*.py")):
    digest.update(str(file.relative_to(package)).encode() + file.read_bytes())
  return digest.hexdigest()[:16]


def check_agreement(facts: Mapping[str, str]) -> None:
  """Compares facts of all processes, before anything compiles.

  Raises:
    ValueError: naming each process that differs from the first, and in what.
  """
  if jax.process_count() == 1:
    return
  digests = np.stack([np.frombuffer(hashlib.sha256(str(v).encode()).digest(), np.uint8) for v in facts.values()])
  hosts = np.zeros((1, 64), np.uint8)
  name = os.uname().nodename.encode()[:64]
  hosts[0, : len(name)] = np.frombuffer(name, np.uint8)
  everyone, names = multihost_utils.process_allgather((digests, hosts))
  differing = [
    f"process {p} ({bytes(names[p, 0]).rstrip(bytes(1)).decode()}) in its {fact}"
    for p in range(len(everyone)) for i, fact in enumerate(facts) if (everyone[p, i] != everyone[0, i]).any()]
  if differing:
    raise ValueError(f"the processes of this run differ from process 0: {'; '.join(differing)}; start all from one "
                     "commit with one command on the same data.")


class Deadline:
  """A clock that must be wound before it runs out: else all stacks are printed and the process exits.

  A process that waits for a dead peer never raises; this ends it. `seconds` 0 is off.
  """

  def __init__(self, seconds: float):
    self._seconds, self._timer, self._what = seconds, None, ""

  def wind(self, what: str) -> None:
    """Gives the work that begins now, `what`, the whole time."""
    self.stop()
    if self._seconds:
      self._what = what
      self._timer = threading.Timer(self._seconds, self._expire)
      self._timer.daemon = True
      self._timer.start()
      faulthandler.dump_traceback_later(self._seconds + 10, exit=True)  # where no thread gets to run any more

  def stop(self) -> None:
    """Nothing is awaited any more."""
    if self._timer:
      self._timer.cancel()
      faulthandler.cancel_dump_traceback_later()

  def _expire(self) -> None:
    print(f"lost: process {jax.process_index()}: {self._what} took more than distributed.deadline_seconds="
          f"{self._seconds:g}; another process may be gone. The same command continues from the last checkpoint.",
          file=sys.stderr, flush=True)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(DEADLINE_STATUS)

"""A process takes from itself, for good, everything a tested program has no use for; plain kernel means, by ctypes.

Three layers, none of which needs root or a namespace, so that a container has them too:

- seccomp refuses every system call that is not listed here: no socket, no new process or thread, no signal, no ptrace,
  no exec, no file opened for writing. It binds root, for whom RLIMIT_NPROC does not.
- Landlock refuses to read files other than the interpreter's, among them the data, the home and /proc, and all writing.
- Resource limits bound memory, processor time, descriptors and what goes to standard output.

It imports nothing of this package: the confined interpreter runs without it.
"""

import ctypes
import functools
import os
import resource
import struct
import sys

# System calls by (x86_64, aarch64) number; None where the architecture has none.
_CALLS = {
  "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
  "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214),
  "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67),
  "readv": (19, 65), "writev": (20, 66), "access": (21, None), "select": (23, None), "sched_yield": (24, 124),
  "mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None), "nanosleep": (35, 101),
  "alarm": (37, None), "setitimer": (38, 103), "getpid": (39, 172), "exit": (60, 93), "uname": (63, 160),
  "getcwd": (79, 17), "readlink": (89, None), "gettimeofday": (96, 169), "getrlimit": (97, 163),
  "getrusage": (98, 165), "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175),
  "getegid": (108, 177), "getppid": (110, 173), "sigaltstack": (131, 132), "gettid": (186, 178), "time": (201, None),
  "futex": (202, 98), "sched_getaffinity": (204, 123), "getdents64": (217, 61), "clock_gettime": (228, 113),
  "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94), "newfstatat": (262, 79),
  "readlinkat": (267, 78), "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73), "getrandom": (318, 278),
  "statx": (332, 291), "dup3": (292, 24), "faccessat2": (439, 439),
}  # fmt: skip
_OPEN, _OPENAT, _FCNTL, _IOCTL, _PRLIMIT = (2, None), (257, 56), (72, 25), (16, 29), (302, 261)
_FCNTL_COMMANDS = (0, 1, 2, 3, 1030)  # duplicate, close-on-exec, read flags; none that sends signals
_IOCTL_COMMANDS = (0x5401, 0x5413, 0x541B, 0x5451)  # is it a terminal, its size, bytes waiting, close-on-exec
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | (0o20200000 & ~os.O_DIRECTORY)  # O_TMPFILE
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # refused calls fail with EPERM
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGS_OFFSET = 0, 4, 16

_LANDLOCK = (444, 445, 446)  # create_ruleset, add_rule, restrict_self, on every architecture
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38


@functools.cache
def _libc() -> ctypes.CDLL:
  return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
  if result < 0:
    error = ctypes.get_errno()
    raise OSError(error, f"{what}: {os.strerror(error)}")
  return result


def _argument(i: int, high: bool = False) -> bytes:
  return struct.pack("HBBI", _LOAD, 0, 0, _ARGS_OFFSET + 8 * i + 4 * high)


def _jump(test: int, value: int, yes: int, no: int) -> bytes:
  return struct.pack("HBBI", test, yes, no, value)


def _give(verdict: int) -> bytes:
  return struct.pack("HBBI", _RETURN, 0, 0, verdict)


def _only(i: int, values: tuple[int, ...]) -> list[bytes]:
  """Allows where argument i is one of the values."""
  tests = [_jump(_EQUAL, value, len(values) - k, 0) for k, value in enumerate(values)]
  return [_argument(i), *tests, _give(_REFUSE), _give(_ALLOW)]


def _filter(machine: str) -> bytes:
  """The seccomp program: one test by number for each allowed call, a few of which look at their arguments."""
  column, audit = _ARCHITECTURES[machine]
  load_number = struct.pack("HBBI", _LOAD, 0, 0, _NUMBER_OFFSET)
  program = [struct.pack("HBBI", _LOAD, 0, 0, _ARCH_OFFSET), _jump(_EQUAL, audit, 1, 0), _give(_KILL), load_number]
  not_writing = [_jump(_ANY_BIT, _WRITING, 0, 1), _give(_REFUSE), _give(_ALLOW)]
  # Only to read its own limits: process 0, no new limits (a pointer, of two halves).
  zero = [step for i, high in ((0, False), (2, False), (2, True)) for step in
          (_argument(i, high), _jump(_EQUAL, 0, 1, 0), _give(_REFUSE))]  # fmt: skip
  special = [
    (_OPEN, [_argument(1), *not_writing]),
    (_OPENAT, [_argument(2), *not_writing]),
    (_FCNTL, _only(1, _FCNTL_COMMANDS)),
    (_IOCTL, _only(1, _IOCTL_COMMANDS)),
    (_PRLIMIT, [*zero, _give(_ALLOW)]),
  ]
  for numbers, body in [*special, *((numbers, [_give(_ALLOW)]) for numbers in _CALLS.values())]:
    if numbers[column] is not None:
      program += [_jump(_EQUAL, numbers[column], 0, len(body)), *body]
  return b"".join([*program, _give(_REFUSE)])


def _refuse_calls() -> None:
  program = _filter(os.uname().machine)
  buffer = ctypes.create_string_buffer(program, len(program))
  header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
  _check(_libc().prctl(_PR_SET_SECCOMP, 2, ctypes.byref(header), 0, 0), "seccomp")


def _readable() -> list[str]:
  """What an interpreter reads while it runs: its library, shared objects, a few harmless devices."""
  roots = {os.path.join(sys.base_prefix, "lib"), os.path.dirname(os.path.realpath(os.__file__))}
  system = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime")
  devices = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
  return [path for path in (*sorted(roots), *system, *devices) if os.path.exists(path)]


def _refuse_files() -> None:
  create, add, restrict = _LANDLOCK
  version = _check(_libc().syscall(create, None, ctypes.c_size_t(0), 1), "Landlock")
  files = (1 << min(16, {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16))) - 1
  handled = struct.pack("QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)  # TCP; sockets and signals
  ruleset = _check(_libc().syscall(create, handled, ctypes.c_size_t(len(handled)), 0), "Landlock ruleset")
  for path in _readable():
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    access = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
    _check(_libc().syscall(add, ruleset, 1, struct.pack("=Qi", access, fd), 0), f"Landlock rule for {path}")
    os.close(fd)
  _check(_libc().syscall(restrict, ruleset, 0), "Landlock")
  os.close(ruleset)


def confine(memory_bytes: int, cpu_seconds: int, output_bytes: int) -> None:
  """Confines the calling process until it ends. It dies with its parent.

  Raises:
    OSError: the kernel or the machine has no such means; the process must not go on.
  """
  if os.uname().machine not in _ARCHITECTURES:
    raise OSError(f"no list of system calls for {os.uname().machine}")
  _check(_libc().prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "parent's death")
  os.chdir("/")
  limits = {
    resource.RLIMIT_AS: memory_bytes,
    resource.RLIMIT_CPU: cpu_seconds,
    resource.RLIMIT_FSIZE: output_bytes,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
  }
  for limit, value in limits.items():
    resource.setrlimit(limit, (value, value))
  _check(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
  no_capabilities = struct.pack("IiIIIIII", 0x20080522, 0, *[0] * 6)  # version 3, this thread
  _check(_libc().capset(no_capabilities, no_capabilities[8:]), "capabilities")
  _refuse_files()
  _refuse_calls()

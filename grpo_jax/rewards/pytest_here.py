"""What tests use of pytest, which the sandbox does not have: raises, approx, fail, mark.parametrize, param."""

import functools
import re
import types

from grpo_jax.rewards.counted import Record


class _Approx:
  """Equal to what is near, within the larger of `rel` times the value and `abs`."""

  def __init__(self, expected, rel=None, abs=None, nan_ok=False):
    self._expected, self._rel, self._abs, self._nan_ok = expected, rel, abs, nan_ok

  def __eq__(self, actual: object) -> bool:
    return self._near(actual, self._expected)

  def __ne__(self, actual: object) -> bool:
    return not self == actual

  __hash__ = None

  def _near(self, actual, expected) -> bool:
    if isinstance(expected, list | tuple):
      same = isinstance(actual, list | tuple) and len(actual) == len(expected)
      return same and all(map(self._near, actual, expected))
    if isinstance(expected, dict):
      same = isinstance(actual, dict) and actual.keys() == expected.keys()
      return same and all(self._near(actual[key], expected[key]) for key in expected)
    if actual != actual or expected != expected:
      return self._nan_ok and actual != actual and expected != expected
    if actual == expected or isinstance(expected, str | None) or abs(expected) == float("inf"):
      return actual == expected
    least = 1e-12 if self._abs is None else self._abs
    relative = (1e-6 if self._abs is None else 0.0) if self._rel is None else self._rel
    return abs(actual - expected) <= max(relative * abs(expected), least)


class _Raises:
  """A with block in which an exception of these classes must be raised, and which then holds it as `value`."""

  def __init__(self, record: Record, failed: type[AssertionError], expected, match: str | None):
    self._record, self._failed, self._expected, self._match = record, failed, expected, match
    self.value = self.type = None

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace) -> bool:
    if error is None:
      raise self._failed(f"nothing raised {self._expected}")
    if isinstance(error, self._failed) or not isinstance(error, self._expected):
      return False
    if self._match is not None and not re.search(self._match, str(error)):
      raise self._failed(f"{error} does not match {self._match}")
    self.value, self.type = error, kind
    self._record.reach()
    return True


class _Marks:
  """pytest.mark: of the marks only parametrize does anything."""

  def __getattr__(self, name: str):
    def mark(*args, **kwargs):
      return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else (lambda test: test)

    return mark

  def parametrize(self, names, cases, **_):
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

    def over(test):
      @functools.wraps(test)
      def run(*args, **kwargs):
        for case in cases:
          test(*args, **kwargs, **dict(zip(names, case if len(names) > 1 else [case], strict=True)))

      return run

    return over


def make_pytest(record: Record, failed: type[AssertionError]) -> types.ModuleType:
  """A module that stands in for pytest and counts what it asserts."""

  def raises(expected, *call, match=None, **kwargs):
    block = _Raises(record, failed, expected, match)
    if not call:
      return block
    with block:
      call[0](*call[1:], **kwargs)
    return block

  def fail(reason="", **_):
    raise failed(reason)

  def param(*values, **_):
    return values if len(values) > 1 else values[0]

  module = types.ModuleType("pytest")
  parts = {"raises": raises, "approx": _Approx, "fail": fail, "skip": fail, "mark": _Marks(), "param": param}
  module.__dict__.update(parts, main=lambda *args, **kwargs: 0)
  return module

"""A config file that cannot be read, fails, or returns something else: one sentence, and the user's own traceback."""

import os
import pathlib
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from grpo_jax.config.defaults import default_config
from grpo_jax.reading import cause_of

LIBRARY = f"{os.sep}ml_collections{os.sep}"


def config_file(argv: Sequence[str], flag: str = "config") -> str:
  """The path that `--config=PATH[:ARGUMENT]` names among the arguments, "" where there is none."""
  for i, argument in enumerate(argv):
    name, equals, value = argument.lstrip("-").partition("=")
    if argument.startswith("-") and name == flag:
      value = value if equals else "".join(argv[i + 1 : i + 2])
      return value.partition(":")[0]
  return ""


def check_readable(file: str) -> None:
  """Raises ValueError unless the file is there and may be Python."""
  path = pathlib.Path(file)
  if not path.is_file():
    what = "is a folder" if path.is_dir() else "does not exist"
    raise ValueError(f"--config={file} {what}; name a Python file, such as configs/arithmetic.py.")
  try:
    binary = b"\0" in path.read_bytes()
  except OSError as error:
    raise ValueError(f"--config={file} cannot be read ({cause_of(error)}); name a Python file.") from None
  if binary:
    raise ValueError(f"--config={file} is a binary file; name a Python file, such as configs/arithmetic.py.")


def check_result(config: Any, file: str) -> None:
  """Raises ValueError unless get_config() of the file returned a config of this project's schema."""
  getattr(config, "task", None)  # an OSError of the file is kept until here
  fix = "return default_config() of grpo_jax.config.defaults with the fields that you change"
  if not isinstance(config, ConfigDict):
    raise ValueError(f"get_config() of {file} returns {config!r:.60}, must return a config; {fix}.")
  schema = default_config()
  lacking = [key for key in schema if key not in config]
  if lacking:
    raise ValueError(f"get_config() of {file} returns a config without {lacking[0]} and {len(lacking) - 1} other keys; "
                     f"{fix}.")
  wrong = [k for k in schema if isinstance(schema[k], ConfigDict) and not isinstance(config[k], ConfigDict)]
  if wrong:
    raise ValueError(f"{file}: {wrong[0]}={config[wrong[0]]!r:.60} must be a section of keys; {fix}.")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
  """The error and those that it was raised from or during, newest first."""
  while error is not None:
    yield error
    error = error.__cause__ or error.__context__


def told(error: BaseException, file: str, function: str = "get_config") -> str:
  """What ended the config file: a sentence, and below it the traceback where the file's own code raised the error.

  "" where the file has no part in it.
  """
  if not file:
    return ""
  here = os.path.realpath(file)
  for cause in list(_chain(error))[::-1]:  # what came first is what happened
    if isinstance(cause, SyntaxError) and os.path.realpath(cause.filename or "") == here:
      return f"{file} line {cause.lineno} is not Python ({cause.msg}); correct it."
    frames = traceback.extract_tb(cause.__traceback__)
    own = [i for i, frame in enumerate(frames) if os.path.realpath(frame.filename) == here]
    if own:
      sentence = f"{file} line {frames[own[-1]].lineno}: {type(cause).__name__}: {cause_of(cause)}"
      if isinstance(cause, ValueError) and file in str(cause):
        return cause_of(cause) + "."
      if LIBRARY in frames[-1].filename:  # a value that the schema does not take
        return sentence
      text = "".join(traceback.format_list(frames[own[0] :]))
      return f"{sentence}\nTraceback (most recent call last):\n{text}{type(cause).__name__}: {cause}"
    if isinstance(cause, AttributeError) and f"has no attribute '{function}'" in str(cause):
      return f"{file} has no function {function}; add one that returns the config, see configs/arithmetic.py."
    if isinstance(cause, TypeError) and (f"{function}()" in str(cause) or "is not callable" in str(cause)):
      rule = f"must be a function without arguments, or of the text behind the colon of {file}:TEXT"
      return f"{file}: {function} {rule} ({cause_of(cause)})."
  return ""

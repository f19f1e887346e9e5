"""One row of data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Example:
  """A problem: what the policy is asked, what the reward compares with, and a worked solution to imitate.

  `prompt` is plain text, or chat messages ({"role": …, "content": …}, …). `source` names its task. `chosen` and
  `rejected` are a preference pair; `chosen` is right where `solution` may be a sloppy demonstration, and its steps are
  what process supervision compares with.
  """

  prompt: str | tuple[dict, ...]
  answer: str
  solution: str = ""
  source: str = ""
  chosen: str = ""
  rejected: str = ""

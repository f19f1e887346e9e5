"""One row of data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Example:
  """A problem: what the policy is asked, what the reward compares with, and a worked solution to imitate.

  `prompt` is plain text, or chat messages ({"role": …, "content": …}, …). `source` names its task.
  """

  prompt: str | tuple[dict, ...]
  answer: str
  solution: str = ""
  source: str = ""

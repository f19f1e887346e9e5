"""What scoring a rollout gives: rewards, their components, and what failed."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Failure:
  """One item without a score; `kind` is "error" or "deadline", `text` the completion's start, as a repr."""

  component: str
  rule: str
  kind: str
  message: str
  text: str


@dataclasses.dataclass(frozen=True)
class Scores:
  """Rewards of B × G completions; a failed item has score 0 in its component.

  `rewards_BG` is the weighted sum, `components` holds the unweighted scores [B, G] by name, both float32.
  """

  rewards_BG: np.ndarray
  components: dict[str, np.ndarray]
  errors: int
  deadlines: int
  failures: list[Failure]
  unread: int = 0  # items that scored 0 since their answer is of no kind or beyond a bound; no fault of the rule

  def metrics(self) -> dict[str, tuple[float, int]]:
    """(sum, count) of the total and of each component; (counted, scored) items for errors, deadlines and unread."""
    scores = {"total": self.rewards_BG} | self.components
    metrics = {f"reward/{name}": (float(score.sum()), score.size) for name, score in scores.items()}
    items = self.rewards_BG.size * len(self.components)
    counts = {"errors": self.errors, "deadlines": self.deadlines, "unread": self.unread}
    return metrics | {f"reward/{name}": (count, items) for name, count in counts.items()}

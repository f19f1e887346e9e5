"""Scores of reasoning steps: a completion cut at end marks, each step right when it equals the solution's."""

from collections.abc import Sequence

import numpy as np


def _steps(text: str, ends: str) -> list[str]:
  """The text after each end mark is a new step; a trailing empty one is none."""
  steps, start = [], 0
  for i, character in enumerate(text):
    if character in ends:
      steps.append(text[start : i + 1])
      start = i + 1
  return [*steps, text[start:]] if text[start:] else steps


def step_scores(pieces: Sequence[str], solution: str, ends: str) -> tuple[np.ndarray, np.ndarray]:
  """Scores and end marks by token, `[len(pieces)]`: 1 where a step that ends here equals the solution's, else 0.

  Args:
    pieces: the text of each token. A step ends with the token that holds its end mark, and with the last token.
    solution: the worked solution; its k-th step is what the k-th step is held against.
    ends: characters that end a step.
  """
  wanted, scores, marks = _steps(solution, ends), np.zeros(len(pieces), np.float32), np.zeros(len(pieces), bool)
  step, k = "", 0
  for i, piece in enumerate(pieces):
    step += piece
    if i == len(pieces) - 1 or any(c in ends for c in piece):
      marks[i], scores[i] = True, float(k < len(wanted) and step == wanted[k])
      step, k = "", k + 1
  return scores, marks

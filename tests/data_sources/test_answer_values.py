"""Values of answer columns, by rule."""

import numpy as np
import pytest

from grpo_jax.data.answer_values import answer_text
from grpo_jax.data.rows import Fields


@pytest.mark.parametrize(
  ("value", "text"),
  [
    ("1, 2", "1, 2"),
    (3, "3"),
    (3.0, "3"),
    (0.5, "0.5"),
    (1e-7, "0.0000001"),
    (True, "true"),
    (False, "false"),
    (np.float32(2.0), "2"),
    (np.int64(7), "7"),
    (np.bool_(True), "true"),
    ({"target": 3}, '{"target": 3}'),
    ([{"input": "1"}], '[{"input": "1"}]'),
  ],
)
def test_values_become_text_by_rule(value, text):
  assert answer_text(value, "answer", "f:1") == text


@pytest.mark.parametrize("value", ["", "  ", float("nan"), float("inf"), ["1", "2"], ["2", "two"], [], ("1",)])
def test_values_that_are_no_single_answer_are_refused(value):
  with pytest.raises(ValueError, match=r"^f:1: field 'answer'"):
    answer_text(value, "answer", "f:1")


@pytest.mark.parametrize(
  ("text", "answer"),
  [
    ("x #### (1,2)", "(1,2)"),
    ("x #### 1,234", "1234"),
    ("#### $70,000", "$70000"),
    ("#### 1,2,3", "1,2,3"),
    ("#### 1,234,567", "1234567"),
    ("#### (1,200)", "(1,200)"),
    ("#### 1,23", "1,23"),
    ("#### 1,234.5", "1234.5"),
  ],
)
def test_only_thousands_separators_are_dropped_behind_a_marker(text, answer):
  fields = Fields(prompt="q", answer="a", answer_after="####")
  assert fields.example({"q": "?", "a": text}, "f:1").answer == answer

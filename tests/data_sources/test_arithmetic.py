"""The arithmetic problems by hand, and their preparation by TFDS."""

import hashlib
import itertools
import os
import subprocess
import sys

import pytest

from grpo_jax.data import tfds_source
from grpo_jax.data.arithmetic import TASKS, Columns, FewShot, arithmetic_config, is_heldout, worked
from grpo_jax.data.tfds_source import TfdsSource

SMALL = Columns(train_size=300, heldout_size=60)


@pytest.mark.parametrize(
  "a, operation, b, correct, sloppy",
  [
    (347, "+", 285, "[236]632", "[225]522"),  # 7+5 and 4+8 carry
    (532, "-", 78, "[454]454", "[465]564"),  # 2-8 and 3-7 borrow
    (95, "+", 15, "[011]110", "[00]0"),  # the last carry is a column of its own
    (532, "-", 528, "[400]4", "[410]14"),  # a column is written even where the number is shorter
    (12, "+", 34, "[64]46", "[64]46"),  # nothing to forget
  ],
)
def test_column_work_by_hand(a, operation, b, correct, sloppy):
  assert worked(a, operation, b) == correct
  assert worked(a, operation, b, slip=True) == sloppy


def test_columns_answers_are_true_and_only_training_demonstrations_slip():
  train, heldout = list(SMALL.examples("train")), list(SMALL.examples("heldout"))
  for example in train + heldout:
    assert eval(example.prompt.rstrip("=")) == int(example.answer) >= 0
  assert all(example.solution.endswith("]" + example.answer) for example in heldout)
  slips = [not example.solution.endswith("]" + example.answer) for example in train]
  assert 0.2 < sum(slips) / len(slips) < 0.5  # .6 less the problems without a carry
  never = Columns(train_size=300, heldout_size=60, slip=0.0)
  assert all(example.solution.endswith("]" + example.answer) for example in never.examples("train"))
  assert len({len(example.prompt) for example in train}) >= 4  # lengths vary


def test_splits_are_disjoint_for_every_seed_and_order_of_operands():
  def keys(problems, split):
    prompts = [example.prompt.rstrip("=") for example in problems.examples(split)]
    assert len(set(prompts)) == len(prompts)
    return {"+".join(sorted(prompt.split("+"))) for prompt in prompts}

  other = Columns(train_size=300, heldout_size=60, digits=2, seed=1)
  for left in (SMALL, other):
    for right in (SMALL, other):
      assert not keys(left, "train") & keys(right, "heldout")
  assert is_heldout(12, "+", 34) == is_heldout(34, "+", 12)


@pytest.mark.parametrize("task", TASKS)
def test_few_shot_tasks(task):
  train, heldout = list(FewShot(task).examples("train")), list(FewShot(task).examples("heldout"))

  def asked(examples):
    return {example.prompt.split("\n\n")[-1] for example in examples}

  assert len(asked(train) | asked(heldout)) == len(train) + len(heldout)
  *shots, last = train[0].prompt.split("\n\n")
  assert len(shots) == 4 and last.startswith("Question: ") and last.endswith("\nAnswer:")
  assert not {shot.rpartition(" ")[0] for shot in shots} & (asked(train) | asked(heldout))
  assert all(example.solution == f" {example.answer}\n" for example in train)
  assert 0.1 < len(heldout) / (len(train) + len(heldout)) < 0.3


def test_few_shot_by_hand():
  problem_sets = [FewShot(task).examples(split) for task in TASKS for split in ("train", "heldout")]
  examples = itertools.chain.from_iterable(problem_sets)
  prompts = {example.prompt.split("\n\n")[-1]: example.answer for example in examples}
  assert prompts["Question: What is 12 + 34?\nAnswer:"] == "46"
  assert prompts["Question: What is 6 * 19?\nAnswer:"] == "114"
  assert prompts["Question: Which number is larger, 9 or 12?\nAnswer:"] == "12"


def test_generated_text_is_pinned():
  """A change here changes what a seed means: raise GrpoArithmetic.VERSION with it."""
  rows = [*SMALL.examples("train"), *SMALL.examples("heldout"), *FewShot().examples("heldout")]
  text = "".join(map(repr, rows))
  assert hashlib.sha256(text.encode()).hexdigest()[:16] == "a3a3a4867b52c923"


@pytest.mark.parametrize(
  "options, words",
  [({"operations": "+*"}, "operations='+*'"), ({"slip": 1.5}, "slip=1.5"), ({"digits": 0}, "digits=0")],
)
def test_wrong_options_are_named(options, words):
  with pytest.raises(ValueError, match="columns: ") as error:
    Columns(**options)
  assert words in str(error.value)


def test_too_few_problems_end_in_an_error():
  with pytest.raises(ValueError, match=r"train_size=500 must not exceed .* digits=1"):
    list(Columns(digits=1, train_size=500, heldout_size=5).examples("train"))
  with pytest.raises(ValueError, match="task='subtract' must be one of add_2digit"):
    FewShot("subtract")


CHILD = """
import sys
from grpo_jax.data import tfds_source
from grpo_jax.data.arithmetic import Columns, arithmetic_config
from grpo_jax.data.tfds_source import TfdsSource
config = arithmetic_config(Columns(train_size=300, heldout_size=60))
rows = TfdsSource("grpo_arithmetic", config, split="heldout", data_dir=sys.argv[1])
loaded = {"tensorflow", "jax", "torch"} & set(sys.modules)
assert not loaded, loaded
print(len(rows), [(e.prompt, e.solution) for e in (rows[0], rows[59])])
"""


def test_two_processes_prepare_at_once_without_tensorflow(tmp_path):
  environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
  command = [sys.executable, "-c", CHILD, str(tmp_path)]
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  children = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
  results = [child.communicate(timeout=60) for child in children]
  assert [child.returncode for child in children] == [0, 0], results
  here = list(SMALL.examples("heldout"))
  expected = f"60 {[(e.prompt, e.solution) for e in (here[0], here[59])]}"
  assert [out.splitlines()[-1] for out, _ in results] == [expected, expected]
  assert not list(tmp_path.rglob("*incomplete*"))
  prepared = TfdsSource("grpo_arithmetic", arithmetic_config(SMALL), split="heldout", data_dir=str(tmp_path))
  assert [prepared[i] for i in range(len(prepared))] == here


def test_loser_of_the_race_takes_the_winners_files(tmp_path, monkeypatch):
  """The other process finishes after this one has found nothing and before it renames."""

  def make():
    return tfds_source.make_builder("grpo_arithmetic", arithmetic_config(SMALL), str(tmp_path))

  loser = make()
  generate = loser._generate_examples

  def late(split):
    yield from generate(split)
    if split == "heldout":
      tfds_source.prepare(make)

  monkeypatch.setattr(loser, "_generate_examples", late)
  builders = iter([loser])
  builder = tfds_source.prepare(lambda: next(builders, None) or make())
  assert builder.info.splits["heldout"].num_examples == 60

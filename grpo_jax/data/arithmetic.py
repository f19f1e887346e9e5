"""Procedural arithmetic as a TFDS builder: no download, and held-out problems are new by construction.

Whether a problem is held out depends on a hash of the problem alone, never on seed, size or row: a problem
that is held out in one configuration is a training problem in none. `3+5` and `5+3` count as one here.
"""

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import tensorflow_datasets as tfds

from grpo_jax.data.example import Example
from grpo_jax.data.hashing import stable_hash, unit_hash

HELDOUT_SHARE = 0.2  # of all problems; part of the data's definition, so not an option
PATIENCE = 20_000  # draws in a row without a new problem after which there are held to be none left
SPLITS = ("train", "heldout")


def is_heldout(a: int, operation: str, b: int) -> bool:
  """Whether the problem belongs to the held-out split; the operands' order does not matter."""
  return unit_hash("heldout", max(a, b), operation, min(a, b)) < HELDOUT_SHARE


def worked(a: int, operation: str, b: int, slip: bool = False) -> str:
  """Column arithmetic, least significant digit first, then the number: `[236]632` for 347+285.

  With `slip` every carry or borrow is forgotten: `[225]522` for 347+285.
  """
  result = a + b if operation == "+" else a - b
  columns = max(len(str(a)), len(str(b)), len(str(result)))
  if slip:
    columns, sign = len(str(max(a, b))), 1 if operation == "+" else -1
    digits = [(a // 10**i + sign * (b // 10**i)) % 10 for i in range(columns)]
    result = sum(digit * 10**i for i, digit in enumerate(digits))
  return f"[{str(result).zfill(columns)[::-1]}]{result}"


@dataclasses.dataclass(frozen=True)
class Columns:
  """`347+285=` with a worked column calculation; some of the training demonstrations forget every carry."""

  operations: str = "+-"  # which of + and -
  digits: int = 3  # most digits of an operand; each operand's length is drawn from min_digits … digits
  min_digits: int = 1
  align: bool = False  # write operands with leading zeros, so that columns stand at fixed places: `347+085=`
  slip: float = 0.6  # probability that a training demonstration forgets all its carries or borrows
  train_size: int = 20_000  # distinct problems
  heldout_size: int = 2_000  # distinct problems
  seed: int = 0  # which problems are drawn, and which demonstrations slip

  def __post_init__(self):
    rules = {
      "operations": (bool(self.operations) and not set(self.operations) - set("+-"), "be made of + and -"),
      "digits": (1 <= self.digits <= 12, "lie in 1 … 12"),
      "min_digits": (1 <= self.min_digits <= self.digits, f"lie in 1 … digits={self.digits}"),
      "slip": (0 <= self.slip <= 1, "lie in [0, 1]"),
      "train_size": (self.train_size >= 1, "be at least 1"),
      "heldout_size": (self.heldout_size >= 1, "be at least 1"),
    }
    for key, (holds, rule) in rules.items():
      if not holds:
        raise ValueError(f"columns: {key}={getattr(self, key)!r} must {rule}; change it.")

  @property
  def name(self) -> str:
    """Every option, since prepared data is found again by this name."""
    operations = self.operations.replace("+", "add").replace("-", "sub")
    sizes = f"{self.train_size}train_{self.heldout_size}heldout"
    slip = str(float(self.slip)).replace(".", "p")
    digits = f"{self.min_digits}to{self.digits}digits{'_aligned' * self.align}"
    return f"columns_{operations}_{digits}_slip{slip}_{sizes}_seed{self.seed}"

  def _draw(self, i: int) -> tuple[int, str, int]:
    """The i-th candidate: operation, lengths, then digits, all read off one hash."""
    bits, choice = divmod(stable_hash("columns", self.seed, i), len(self.operations))
    operands = []
    for _ in range(2):
      bits, length = divmod(bits, self.digits - self.min_digits + 1)
      length += self.min_digits - 1
      low = 10**length if length else 0
      bits, value = divmod(bits, 10 ** (length + 1) - low)
      operands.append(low + value)
    operation = self.operations[choice]
    a, b = operands if operation == "+" else sorted(operands, reverse=True)
    return a, operation, b

  def examples(self, split: str) -> Iterator[Example]:
    """Distinct problems of a split, in the order of their draw.

    Raises:
      ValueError: there are not enough distinct problems of this length.
    """
    size = self.train_size if split == "train" else self.heldout_size
    seen, i, last_new = set(), -1, 0
    while len(seen) < size and i - last_new < PATIENCE:
      i += 1
      problem = self._draw(i)
      if problem in seen or is_heldout(*problem) != (split == "heldout"):
        continue
      seen.add(problem)
      last_new = i
      a, operation, b = problem
      width = self.digits if self.align else 1
      prompt = f"{a:0{width}d}{operation}{b:0{width}d}="
      slip = split == "train" and unit_hash("slip", self.seed, prompt) < self.slip
      answer = worked(*problem).partition("]")[2]
      chosen, rejected = worked(*problem), worked(*problem, slip=True)
      if rejected == chosen:  # nothing to carry: a wrong last digit instead
        rejected = f"{chosen[:-1]}{(int(chosen[-1]) + 1) % 10}"
      yield Example(prompt, answer, worked(*problem, slip=slip), "columns", chosen, rejected)
    if len(seen) < size:
      raise ValueError(
        f"columns: {split}_size={size} must not exceed the distinct problems there are, about {len(seen)}"
        f" with digits={self.digits}; lower it or raise digits."
      )


@dataclasses.dataclass(frozen=True)
class Task:
  """A short-answer task: all pairs of operands from `low` to `high`, asked with `question`."""

  operation: str
  question: str
  low: int
  high: int
  shots: tuple[tuple[int, int], ...]

  def ask(self, a: int, b: int) -> str:
    return f"Question: {self.question.format(a=a, b=b)}\nAnswer:"

  def answer(self, a: int, b: int) -> int:
    return {"+": a + b, "*": a * b, ">": max(a, b)}[self.operation]


TASKS = {
  "add_2digit": Task("+", "What is {a} + {b}?", 10, 99, ((23, 45), (61, 17), (38, 54), (72, 19))),
  "multiply": Task("*", "What is {a} * {b}?", 2, 19, ((3, 12), (7, 8), (15, 4), (11, 13))),
  "larger": Task(">", "Which number is larger, {a} or {b}?", 0, 99, ((23, 45), (61, 17), (8, 54), (72, 70))),
  "add_1digit": Task("+", "What is {a} + {b}?", 0, 9, ((2, 5), (6, 1), (8, 4), (7, 9))),
  "multiply_1digit": Task("*", "What is {a} * {b}?", 0, 9, ((3, 2), (7, 8), (5, 4), (1, 9))),
}


@dataclasses.dataclass(frozen=True)
class FewShot:
  """One of TASKS behind four fixed worked questions, for a pretrained model that was never taught to chat."""

  task: str = "add_2digit"

  def __post_init__(self):
    if self.task not in TASKS:
      raise ValueError(f"few_shot: task={self.task!r} must be one of {', '.join(TASKS)}; choose one.")

  @property
  def name(self) -> str:
    return self.task

  def examples(self, split: str) -> Iterator[Example]:
    """All problems of a split except the shots, in numerical order."""
    task = TASKS[self.task]
    shots = "".join(f"{task.ask(a, b)} {task.answer(a, b)}\n\n" for a, b in task.shots)
    shown = {tuple(sorted(pair)) for pair in task.shots}
    for a in range(task.low, task.high + 1):
      for b in range(task.low, task.high + 1):
        tied = task.operation == ">" and a == b
        if tied or tuple(sorted((a, b))) in shown or is_heldout(a, task.operation, b) != (split == "heldout"):
          continue
        answer = str(task.answer(a, b))
        yield Example(shots + task.ask(a, b), answer, f" {answer}\n", self.task)


class Problems(Protocol):
  """A problem set: `name` says every option of it, `examples` gives those of a split."""

  name: str

  def examples(self, split: str) -> Iterator[Example]: ...


@dataclasses.dataclass(eq=False)
class ArithmeticConfig(tfds.core.BuilderConfig):
  """The TFDS face of a problem set."""

  problems: Problems = Columns()


def _config(problems: Problems) -> ArithmeticConfig:
  return ArithmeticConfig(name=problems.name, description=type(problems).__doc__, problems=problems)


def arithmetic_config(problems: Problems) -> ArithmeticConfig:
  """The builder config of a problem set; the ones listed in BUILDER_CONFIGS are shared, as TFDS demands."""
  return GrpoArithmetic.builder_configs.get(problems.name) or _config(problems)


class GrpoArithmetic(tfds.core.GeneratorBasedBuilder):
  """Arithmetic problems. Raise VERSION with any change of them: prepared data is never made again."""

  VERSION = tfds.core.Version("1.1.0")
  BUILDER_CONFIGS = tuple(map(_config, (Columns(), *map(FewShot, TASKS))))

  def _info(self):
    features = {field.name: tfds.features.Text() for field in dataclasses.fields(Example)}
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing to download
    return {split: self._generate_examples(split) for split in SPLITS}

  def _generate_examples(self, split: str):
    for row, example in enumerate(self.builder_config.problems.examples(split)):
      yield row, dataclasses.asdict(example)

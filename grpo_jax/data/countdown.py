"""Countdown: make the target from the numbers, each used once, with + - * /. Every target can be reached."""

import dataclasses
import json
from collections.abc import Iterator

from grpo_jax.data.example import Example
from grpo_jax.data.hashing import stable_hash, unit_hash

HELDOUT_SHARE = 0.2  # of all problems; part of the data's definition, so not an option
PATIENCE = 20_000  # draws in a row without a new problem after which there are held to be none left
WORDS = (
  "Using the numbers {numbers}, make an expression that equals {target}. You may use + - * / and brackets, and must"
  " use each number exactly once."
)
FLIPPED = {"+": "-", "-": "+", "*": "-", "/": "+"}  # a careless last step; never the same number, all being positive


def is_heldout(numbers: tuple[int, ...], target: int) -> bool:
  """Whether a problem is held out, whatever the order of its numbers, the seed or the sizes."""
  return unit_hash("countdown", *sorted(numbers), target) < HELDOUT_SHARE


@dataclasses.dataclass(frozen=True)
class Countdown:
  """Numbers and a target. The short form `3,7,21=42:` is for a character model, `words` for a language model.

  The worked solution is an expression; with `steps` it stands behind its steps: `[3*7=21,21+21=42]3*7+21`.
  """

  count: int = 3  # numbers in a problem
  low: int = 1  # least number
  high: int = 20  # greatest number
  target_high: int = 99  # greatest target; the least is 1
  operations: str = "+-*/"  # which of these a worked solution uses; / only where it leaves no remainder
  words: bool = False  # ask in English
  steps: bool = False  # worked solutions show each step before the expression
  slip: float = 0.0  # probability that a training demonstration has a wrong sign in its last step
  train_size: int = 10_000  # distinct problems
  heldout_size: int = 1_000  # distinct problems
  seed: int = 0  # which problems are drawn, and which demonstrations slip

  def __post_init__(self):
    rules = {
      "count": (2 <= self.count <= 6, "lie in 2 … 6"),
      "high": (0 < self.low <= self.high, f"be at least low={self.low}, which must be positive"),
      "target_high": (self.target_high >= 1, "be at least 1"),
      "operations": (bool(self.operations) and not set(self.operations) - set("+-*/"), "be made of + - * /"),
      "slip": (0 <= self.slip <= 1, "lie in [0, 1]"),
      "train_size": (self.train_size >= 1, "be at least 1"),
      "heldout_size": (self.heldout_size >= 1, "be at least 1"),
    }
    for key, (holds, rule) in rules.items():
      if not holds:
        raise ValueError(f"countdown: {key}={getattr(self, key)!r} must {rule}; change it.")

  @property
  def name(self) -> str:
    """A hash of every option, since prepared data is found again by this name."""
    return f"countdown_{stable_hash(*dataclasses.astuple(self)):032x}"

  def _draw(self, i: int) -> tuple[tuple[int, ...], int, tuple, list[tuple]] | None:
    """The i-th candidate: numbers, target, expression and its steps, read off one hash; None past the target's range.

    Two values at a time are joined by an operation until one is left, so the target is reachable by construction.
    """
    bits = stable_hash("countdown", self.seed, i)
    values: list[tuple[int, int | tuple]] = []
    for _ in range(self.count):
      bits, value = divmod(bits, self.high - self.low + 1)
      values.append((self.low + value, self.low + value))
    numbers, steps = tuple(value for value, _ in values), []
    while len(values) > 1:
      bits, first = divmod(bits, len(values))
      left = values.pop(first)
      bits, second = divmod(bits, len(values))
      right = values.pop(second)
      bits, choice = divmod(bits, len(self.operations))
      operation = self.operations[choice]
      result = apply(operation, left[0], right[0])
      if result is None or result < 1:
        return None
      steps.append((left[0], operation, right[0], result))
      values.append((result, (operation, left[1], right[1])))
    target, expression = values[0]
    return (numbers, target, expression, steps) if target <= self.target_high else None

  def examples(self, split: str) -> Iterator[Example]:
    """Distinct problems of a split, in the order of their draw; `chosen` is right, `rejected` has the wrong sign.

    Raises:
      ValueError: there are not enough distinct problems of this kind.
    """
    size = self.train_size if split == "train" else self.heldout_size
    seen, i, last_new = set(), -1, 0
    while len(seen) < size and i - last_new < PATIENCE:
      i += 1
      drawn = self._draw(i)
      key = drawn and (tuple(sorted(drawn[0])), drawn[1])
      if drawn is None or key in seen or is_heldout(*key) != (split == "heldout"):
        continue
      seen.add(key)
      last_new = i
      yield self._example(split, *drawn)
    if len(seen) < size:
      raise ValueError(
        f"countdown: {split}_size={size} must not exceed the distinct problems there are, about {len(seen)} with"
        f" count={self.count}, high={self.high}; lower it or raise either."
      )

  def _example(self, split: str, numbers, target: int, expression, steps) -> Example:
    listed = ",".join(map(str, numbers))
    prompt = WORDS.format(numbers=listed.replace(",", ", "), target=target) if self.words else f"{listed}={target}:"
    left, operation, right, _ = steps[-1]
    wrong = FLIPPED[operation]
    careless = (wrong, *expression[1:]), [*steps[:-1], (left, wrong, right, apply(wrong, left, right))]
    chosen, rejected = self._written(expression, steps), self._written(*careless)
    slip = split == "train" and unit_hash("slip", self.seed, prompt) < self.slip
    answer = json.dumps({"numbers": list(numbers), "target": target})
    return Example(prompt, answer, rejected if slip else chosen, "countdown", chosen, rejected)

  def _written(self, expression, steps) -> str:
    work = ",".join(f"{a}{operation}{b}={result}" for a, operation, b, result in steps)
    return f"[{work}]{written(expression)}" if self.steps else written(expression)


def apply(operation: str, a: int, b: int) -> int | None:
  """The result of a step, None where a division leaves a remainder."""
  if operation == "/":
    return a // b if b and a % b == 0 else None
  return {"+": a + b, "-": a - b, "*": a * b}[operation]


def written(expression: int | tuple, outer: str = "") -> str:
  """An expression tree (operation, left, right) with no more brackets than it needs."""
  if isinstance(expression, int):
    return str(expression)
  operation, left, right = expression
  text = f"{written(left, operation + 'l')}{operation}{written(right, operation + 'r')}"
  weak = operation in "+-"
  strong_around = outer[:1] in ("*", "/") and (weak or outer in ("/r",))
  right_of_minus = outer == "-r" and weak
  inside_product = outer == "*r" and operation == "/"
  return f"({text})" if strong_around or right_of_minus or inside_product else text

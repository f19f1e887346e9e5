"""The range of every number of a config, keyed as in defaults.py, and the one check that reads them.

A range is an interval, "(0, 1]" say; `int` before it asks for a whole number. The wide ends are where nonsense begins:
they stop a slip of the keyboard (a group of 1e8), not an experiment.
"""

import math
from dataclasses import dataclass
from numbers import Integral, Real


@dataclass(frozen=True)
class Range:
  """An interval as it is written: "[0, 1)" or "int [1, 1e6]"."""

  text: str

  @property
  def whole(self) -> bool:
    """Whether only whole numbers are in it."""
    return self.text.startswith("int ")

  def problem(self, key: str, value) -> str:
    """One sentence about a value that is not in the range; empty where it is."""
    interval = self.text.removeprefix("int ")
    low, high = (float(end) for end in interval[1:-1].split(","))
    kind = "a whole number" if self.whole else "a finite number"
    number = isinstance(value, Integral if self.whole else Real) and not isinstance(value, bool)
    above = number and (low < value or (interval[0] == "[" and low == value))
    below = number and (value < high or (interval[-1] == "]" and high == value))
    if above and below and math.isfinite(value):
      return ""
    return f"{key}={value!r} must be {kind} in {interval}; set one there."


COUNT, SIZE, SHARE, PARTS = "int [0, 1e9]", "int [1, 1e9]", "[0, 1]", "int [0, 1e6]"
_OPTIMIZER = {
  "learning_rate": "[0, 10]", "warmup_steps": COUNT, "final_fraction": SHARE, "b1": "[0, 1)", "b2": "[0, 1)",
  "epsilon": "(0, 1]", "weight_decay": "[0, 100]", "clip_norm": "(0, 1e12]",
}
RANGES = {key: Range(text) for key, text in {
  "seed": "int [0, 4294967295]", "data_seed": "int [0, 4294967295]",
  "lora.rank": "int [0, 65536]", "lora.alpha": "(0, 1e6]",
  "curriculum.low": "[0, 1)", "curriculum.high": "(0, 1]", "curriculum.momentum": "[0, 1)",
  "curriculum.revisit": SHARE, "curriculum.skips": SIZE,
  "prompt_buckets": "int [2, 1e7]", "completion_buckets": "int [1, 1e7]",  # each of the lengths
  "sampling.group_size": "int [1, 65536]", "sampling.group_sizes": "int [2, 65536]",
  "sampling.group_signal": "(0, 1)", "sampling.temperature": "[1e-3, 100]",
  "train.iterations": SIZE, "train.prompts": "int [1, 1e6]", "train.minibatch_prompts": PARTS,
  "train.update_epochs": "int [1, 1e4]", "train.micro_prompts": PARTS, "train.micro_members": PARTS,
  "train.logit_chunk": "int [0, 1e7]", "train.value_clip": "(0, 1e9]", "train.fused_iterations": "int [0, 1e5]",
  "train.resample_attempts": "int [0, 1e4]", "train.refresh_reference_every": COUNT, "train.max_skips": COUNT,
  **{f"{name}.{key}": text for name in ("optimizer", "critic_optimizer", "sft_optimizer")
     for key, text in _OPTIMIZER.items()},
  "sft.steps": COUNT, "sft.batch": "int [1, 1e6]", "sft.micro_batch": PARTS,
  "preference.steps": COUNT, "preference.batch": "int [1, 1e6]", "preference.micro_batch": PARTS,
  "preference.beta": "(0, 1e3]", "preference.label_smoothing": "[0, 0.5)",
  "evaluate.every": COUNT, "evaluate.problems": SIZE, "evaluate.batch": "int [1, 1e6]",
  "evaluate.samples": "int [0, 65536]", "evaluate.temperature": "[1e-3, 100]", "evaluate.top_k": COUNT,
  "evaluate.top_p": "(0, 1]", "evaluate.min_p": "[0, 1)", "evaluate.verifier_gap": SHARE,
  "checkpoint.every": COUNT, "checkpoint.keep": "int [1, 1e6]",
  "log.every": SIZE, "log.samples": COUNT, "log.rollouts": COUNT,
  "doctor.window": "int [1, 1e6]", "doctor.truncated": SHARE, "doctor.no_signal": SHARE, "doctor.solved": "[0, 1e9]",
  "doctor.kl": "[0, 1e9]", "doctor.entropy": "[0, 1e9]", "doctor.sampler_gap": "[0, 1e9]", "doctor.errors": SHARE,
  "doctor.stall": "[0, 1e9]", "doctor.stall_seconds": "[0, 1e9]",
  "distributed.deadline_seconds": "[0, 1e7]",
  "mesh.data": "int [-1, 1e6]", "mesh.fsdp": "int [-1, 1e6]", "mesh.tensor": "int [-1, 1e6]",
  "mesh.sequence": "int [-1, 1e6]",
  "model.num_layers": "int [1, 1e4]", "model.width": "int [1, 1e6]", "model.ffn_width": "int [1, 1e7]",
  "model.num_heads": "int [1, 1e5]", "model.num_kv_heads": "int [1, 1e5]", "model.head_width": "int [2, 1e5]",
  "rewards.workers": "int [1, 4096]", "rewards.deadline_seconds": "[1e-3, 1e6]", "rewards.max_error_rate": SHARE,
  "rewards.self_test": COUNT,
}.items()}


def problems(items: dict, ranges: dict[str, Range]) -> dict[str, str]:
  """{key: sentence} of the numbers outside their ranges; `items`: flat key → value.

  A None is a cell that was not replaced. Each element of a list is held to the range. A number that no range is known
  of (an option of a data source or a rule, a reward's weight) must be finite.
  """
  found = {}
  for key, value in items.items():
    if value is None:
      continue
    values = value if isinstance(value, list | tuple) else [value]
    known = ranges.get(key)
    free = Range("[-1e300, 1e300]")
    said = [known.problem(key, v) if known else free.problem(key, v) for v in values
            if known or (isinstance(v, Real) and not isinstance(v, bool))]
    if text := next(filter(None, said), ""):
      found[key] = text
  return found


TEXTS = ("lora.targets", "tokenizer.stop", "evaluate.benchmarks")  # lists of text


def other_kinds(items: dict, usual: dict) -> dict[str, str]:
  """{key: sentence} of values that are no value at all, or lists of something else; `usual`: the defaults, flat."""
  found = {}
  for key, value in items.items():
    if value is None and usual.get(key) is not None:
      found[key] = f"{key}=None must have a value; leave it out for its default, {usual[key]!r}."
    elif key in TEXTS and not all(isinstance(text, str) and text for text in value):
      found[key] = f"{key}={value!r} must be a list of text; give one, such as ('text',), or leave it out."
  return found

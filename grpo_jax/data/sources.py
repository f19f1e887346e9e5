"""Sources: sequences of examples with random access, made from config mappings by `make_source`."""

import dataclasses
import inspect
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from grpo_jax.data.arithmetic import Columns, FewShot, arithmetic_config
from grpo_jax.data.example import Example
from grpo_jax.data.gsm8k import gsm8k_config
from grpo_jax.data.hashing import unit_hash
from grpo_jax.data.rows import Fields
from grpo_jax.data.tfds_source import TfdsSource

SPLITS = ("train", "heldout")


@runtime_checkable
class Source(Protocol):
  """A sequence of examples that gives the same example for the same index, always."""

  def __len__(self) -> int: ...

  def __getitem__(self, i: int) -> Example: ...


class JsonlSource:
  """A file of JSON lines, every line checked when it is opened; only byte offsets are kept in memory.

  With `heldout_fraction`, a hash of the prompt says which split a line is in: the two share no prompt.
  """

  def __init__(
    self,
    path: str,
    *,
    fields: Fields | None = None,
    take: str = "all",
    heldout_fraction: float = 0.0,
    source: str = "",
  ):
    if take not in ("all", *SPLITS):
      raise ValueError(f"jsonl: take={take!r} must be one of all, {', '.join(SPLITS)}; change it.")
    if not 0 <= heldout_fraction < 1:
      raise ValueError(f"jsonl: heldout_fraction={heldout_fraction} must lie in [0, 1); change it.")
    self._path = pathlib.Path(path).expanduser()
    if not self._path.is_file():
      raise ValueError(f"jsonl: path={str(path)!r} must be a file; correct the path.")
    self._fields = fields or Fields()
    self._source = source or self._path.stem
    bare = dataclasses.replace(self._fields, prompt_template="")  # the split must not hang on the template
    kept, lines, end = [], 0, 0
    with self._path.open("rb") as file:
      for number, line in enumerate(file, 1):
        start, end = end, end + len(line)
        if not line.strip():
          continue
        lines += 1
        prompt = bare.parse(line, f"{self._path}:{number}").prompt
        heldout = unit_hash("heldout", prompt) < heldout_fraction
        if take == "all" or heldout == (take == "heldout"):
          kept.append((start, number))
    self._rows = np.asarray(kept, np.int64).reshape(-1, 2)
    if not kept:
      raise ValueError(
        f"jsonl: {self._path} has 0 of its {lines} lines in take={take!r},"
        f" heldout_fraction={heldout_fraction}, must have 1; check the file and the fraction."
      )

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, i: int) -> Example:
    start, number = self._rows[i]
    with self._path.open("rb") as file:
      file.seek(start)
      return self._fields.parse(file.readline(), f"{self._path}:{number}", self._source)


@dataclasses.dataclass(frozen=True)
class MixtureSource:
  """Sources drawn from in proportion to weights: `order.Stream` does the drawing.

  As a sequence it is the sources one after the other, weights unused: what an evaluation of everything wants.
  """

  sources: tuple[Source, ...]
  weights: tuple[float, ...]

  def __post_init__(self):
    if not self.sources or len(self.sources) != len(self.weights):
      raise ValueError(
        f"mixture: weights={self.weights} must be one for each of {len(self.sources)} sources (>= 1)."
      )
    if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
      raise ValueError(
        f"mixture: weights={self.weights} must be positive and finite; leave out a source of weight 0."
      )

  def __len__(self) -> int:
    return sum(map(len, self.sources))

  def __getitem__(self, i: int) -> Example:
    for source in self.sources:
      if 0 <= i < len(source):
        return source[i]
      i -= len(source)
    raise IndexError(f"a mixture of {len(self)} rows has no such row")


def _columns(split: str, *, data_dir: str = "", **options: Any) -> Source:
  return TfdsSource("grpo_arithmetic", arithmetic_config(Columns(**options)), split=split, data_dir=data_dir)


def _few_shot(split: str, *, task: str = "add_2digit", data_dir: str = "") -> Source:
  return TfdsSource("grpo_arithmetic", arithmetic_config(FewShot(task)), split=split, data_dir=data_dir)


def _gsm8k(split: str, *, manual_dir: str, data_dir: str = "", prompt_template: str = "") -> Source:
  folders = {"data_dir": data_dir, "manual_dir": manual_dir}
  fields = Fields(solution="solution", prompt_template=prompt_template)
  return TfdsSource("gsm8k_local", gsm8k_config(manual_dir), split=split, fields=fields, **folders)


def _tfds(
  split: str,
  *,
  name: str,
  config: str = "",
  train_split: str = "train",
  heldout_split: str = "test",
  data_dir: str = "",
  manual_dir: str = "",
  **columns: Any,
) -> Source:
  chosen = train_split if split == "train" else heldout_split
  folders = {"data_dir": data_dir, "manual_dir": manual_dir}
  return TfdsSource(name, config, split=chosen, fields=_fields(**columns), **folders)


def _jsonl(
  split: str,
  *,
  path: str,
  heldout_path: str = "",
  heldout_fraction: float = 0.0,
  source: str = "",
  **columns: Any,
) -> Source:
  if heldout_path and heldout_fraction:
    raise ValueError(f"jsonl: heldout_fraction={heldout_fraction} must be 0 with a heldout_path; give one.")
  if split == "heldout" and not (heldout_path or heldout_fraction):
    raise ValueError(
      "jsonl: heldout_fraction=0 must be above 0, or heldout_path be given, to evaluate; do either."
    )
  chosen = heldout_path if heldout_path and split == "heldout" else path
  take = split if heldout_fraction else "all"
  options = {"take": take, "heldout_fraction": heldout_fraction, "source": source}
  return JsonlSource(chosen, fields=_fields(**columns), **options)


def _fields(
  fields: Mapping[str, str] | None = None, answer_after: str = "", prompt_template: str = ""
) -> Fields:
  """`fields` names columns: {"prompt": "question", "answer": "answer", "solution": ""}."""
  known = ("prompt", "answer", "solution")
  for key, column in dict(fields or {}).items():
    if key not in known:
      raise ValueError(f"data: fields.{key}={column!r} must be one of {', '.join(known)}; rename the key.")
  return Fields(**dict(fields or {}), answer_after=answer_after, prompt_template=prompt_template)


def _mixture(split: str, *, sources: Mapping[str, Mapping], weights: Mapping[str, float]) -> Source:
  """Sources and weights by name, in the order of the names: the order of writing means nothing."""
  if set(sources) != set(weights):
    raise ValueError(
      f"mixture: weights={sorted(weights)} must name the sources {sorted(sources)}; change either."
    )
  names = sorted(name for name in sources if weights[name] != 0)
  parts = tuple(make_source(sources[name], split) for name in names)
  return MixtureSource(parts, tuple(float(weights[name]) for name in names))


KINDS = {
  "columns": _columns,
  "few_shot": _few_shot,
  "gsm8k": _gsm8k,
  "jsonl": _jsonl,
  "mixture": _mixture,
  "tfds": _tfds,
}


def make_source(config: Mapping[str, Any], split: str) -> Source:
  """The source that a mapping with a `kind` and that kind's options describes.

  Args:
    config: e.g. {"kind": "jsonl", "path": …, "fields": {"prompt": "question"}, "heldout_fraction": 0.1}.
    split: "train" or "heldout".

  Raises:
    ValueError: the kind, the split or an option is unknown, missing or wrong.
  """
  options = dict(config)
  kind = options.pop("kind", None)
  if kind not in KINDS:
    raise ValueError(f"data: kind={kind!r} must be one of {', '.join(KINDS)}; change it.")
  if split not in SPLITS:
    raise ValueError(f"data: split={split!r} must be one of {', '.join(SPLITS)}; change it.")
  known, required = _options(kind)
  for key, value in options.items():
    if key not in known:
      raise ValueError(f"data: {key}={value!r} is no option of {kind}, must be one of {', '.join(known)}.")
  for key in required:
    if options.get(key) in (None, ""):
      raise ValueError(f"data: {key}={options.get(key)!r} must be given for kind={kind!r}; add it.")
  return KINDS[kind](split, **options)


def _options(kind: str) -> tuple[list[str], list[str]]:
  """Names of all options of a kind, and of those without a default: read off the signatures."""
  passed_on = {"columns": Columns, "jsonl": _fields, "tfds": _fields}
  parameters = dict(inspect.signature(KINDS[kind]).parameters)
  if kind in passed_on:
    parameters |= inspect.signature(passed_on[kind]).parameters
  named = {key: p for key, p in parameters.items() if key != "split" and p.kind is not p.VAR_KEYWORD}
  return list(named), [key for key, p in named.items() if p.default is p.empty]

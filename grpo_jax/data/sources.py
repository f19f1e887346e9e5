"""Sources: sequences of examples with random access, made from config mappings by `make_source`."""

import dataclasses
import inspect
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Protocol, runtime_checkable

from grpo_jax.data.arithmetic import Columns, FewShot, arithmetic_config
from grpo_jax.data.countdown import Countdown
from grpo_jax.data.example import Example
from grpo_jax.data.files import JsonLines, Table, TableSource, hf_splits, hf_table, parquet_table
from grpo_jax.data.gsm8k import gsm8k_config
from grpo_jax.data.gym import GymSource
from grpo_jax.data.rows import Fields
from grpo_jax.data.templates import Template, TemplatedSource
from grpo_jax.data.tfds_source import TfdsSource

SPLITS = ("train", "heldout")


@runtime_checkable
class Source(Protocol):
  """A sequence of examples that gives the same example for the same index, always."""

  def __len__(self) -> int: ...

  def __getitem__(self, i: int) -> Example: ...


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


@dataclasses.dataclass(frozen=True)
class Labelled:
  """A source whose examples are known by another name."""

  source: Source
  name: str

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, i: int) -> Example:
    return dataclasses.replace(self.source[i], source=self.name)


def bare(source: Source) -> Source:
  """The same source without templates: row for row, the problems alone."""
  if isinstance(source, Labelled):
    return Labelled(bare(source.source), source.name)
  if isinstance(source, MixtureSource):
    return dataclasses.replace(source, sources=tuple(map(bare, source.sources)))
  return source.bare if isinstance(source, TemplatedSource) else source


def chats(source: Source) -> list[Example]:
  """One example of each kind of conversation that the rows of files hold."""
  source = bare(source)
  if isinstance(source, MixtureSource):
    return [example for part in source.sources for example in chats(part)]
  source = source.source if isinstance(source, Labelled) else source
  return source.chats() if isinstance(source, TableSource) else []


def _columns(split: str, *, data_dir: str = "", **options: Any) -> Source:
  return TfdsSource("grpo_arithmetic", arithmetic_config(Columns(**options)), split=split, data_dir=data_dir)


def _countdown(split: str, *, data_dir: str = "", **options: Any) -> Source:
  return TfdsSource("grpo_arithmetic", arithmetic_config(Countdown(**options)), split=split, data_dir=data_dir)


def _few_shot(split: str, *, task: str = "add_2digit", data_dir: str = "") -> Source:
  return TfdsSource("grpo_arithmetic", arithmetic_config(FewShot(task)), split=split, data_dir=data_dir)


def _gsm8k(split: str, *, manual_dir: str, data_dir: str = "") -> Source:
  folders = {"data_dir": data_dir, "manual_dir": manual_dir}
  return TfdsSource("gsm8k_local", gsm8k_config(manual_dir), split=split, fields=Fields(solution="solution"), **folders)


def _reasoning_gym(
  split: str,
  *,
  task: str = "",
  config: Mapping[str, Any] | None = None,
  tasks: Mapping[str, Mapping] | None = None,
  train_size: int = 2000,
  heldout_size: int = 200,
  seed: int = 0,
) -> Source:
  """One task with its config, or several in equal shares; the sizes are of each."""
  if bool(task) == bool(tasks):
    raise ValueError(f"reasoning_gym: task={task!r} and tasks={tasks!r}: one of the two must be given; do so.")
  size = train_size if split == "train" else heldout_size
  configs = {task: config or {}} if task else dict(tasks)
  parts = tuple(GymSource(name, configs[name], split=split, size=size, seed=seed) for name in sorted(configs))
  return parts[0] if task else MixtureSource(parts, (1.0,) * len(parts))


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


def _jsonl(split: str, *, path: str, heldout_path: str = "", **options: Any) -> Source:
  return _table("jsonl", split, JsonLines, path, heldout_path, **options)


def _parquet(split: str, *, path: str, heldout_path: str = "", cache_dir: str = "", **options: Any) -> Source:
  return _table("parquet", split, lambda path: parquet_table(path, cache_dir), path, heldout_path, **options)


def _hf(split: str, *, path: str, train_split: str = "train", heldout_split: str = "", **options: Any) -> Source:
  if heldout_split and not hf_splits(path):
    raise ValueError(
      f"hf: heldout_split={heldout_split!r} must be '' for the single data set in {path}; use heldout_fraction."
    )
  return _table("hf", split, lambda chosen: hf_table(path, chosen), train_split, heldout_split, **options)


def _table(
  kind: str, split: str, read, chosen: str, heldout: str, *, heldout_fraction: float = 0.0, source: str = "",
  **columns: Any
) -> Source:
  """The rows of `chosen`, or of `heldout` where that is given and wanted, else the part that the fraction says."""
  key = "heldout_split" if kind == "hf" else "heldout_path"
  if heldout and heldout_fraction:
    raise ValueError(f"{kind}: heldout_fraction={heldout_fraction} must be 0 with a {key}; give one.")
  if split == "heldout" and not (heldout or heldout_fraction):
    raise ValueError(
      f"{kind}: heldout_fraction=0 must be above 0, or {key} be given, to evaluate; do either."
    )
  table: Table = read(heldout if heldout and split == "heldout" else chosen)
  take = split if heldout_fraction else "all"
  return TableSource(table, fields=_fields(**columns), take=take, heldout_fraction=heldout_fraction, source=source)


def _fields(fields: Mapping[str, str] | None = None, answer_after: str = "") -> Fields:
  """`fields` names columns: {"prompt": "question", "answer": "answer", "solution": "", "chosen": "", "rejected": ""}.

  Of pairs (chosen, rejected) the answer is only read where it is named.
  """
  names = dict(fields or {})
  known = ("prompt", "answer", "solution", "chosen", "rejected")
  for key, column in names.items():
    if key not in known:
      raise ValueError(f"data: fields.{key}={column!r} must be one of {', '.join(known)}; rename the key.")
  if names.get("chosen"):
    names.setdefault("answer", "")
  return Fields(**names, answer_after=answer_after)


def _mixture(split: str, *, sources: Mapping[str, Mapping], weights: Mapping[str, float]) -> Source:
  """Sources and weights by name, in the order of the names: the order of writing means nothing.

  Parts whose examples would be known by one name, such as two of one kind, are known by theirs.
  """
  if set(sources) != set(weights):
    raise ValueError(
      f"mixture: weights={sorted(weights)} must name the sources {sorted(sources)}; change either."
    )
  names = sorted(name for name in sources if weights[name] != 0)
  parts = tuple(make_source(sources[name], split) for name in names)
  labels = [part[0].source for part in parts]
  parts = tuple(part if labels.count(label) == 1 or isinstance(part, MixtureSource) else Labelled(part, name)
                for part, label, name in zip(parts, labels, names, strict=True))
  return MixtureSource(parts, tuple(float(weights[name]) for name in names))


KINDS = {
  "columns": _columns,
  "countdown": _countdown,
  "few_shot": _few_shot,
  "gsm8k": _gsm8k,
  "hf": _hf,
  "jsonl": _jsonl,
  "mixture": _mixture,
  "parquet": _parquet,
  "reasoning_gym": _reasoning_gym,
  "tfds": _tfds,
}


def make_source(config: Mapping[str, Any], split: str) -> Source:
  """The source that a mapping with a `kind`, that kind's options and those of `Template` describes.

  Args:
    config: e.g. {"kind": "jsonl", "path": …, "fields": {"prompt": "question"}, "heldout_fraction": 0.1, "shots": 4}.
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
    if known[key] in _PLAIN and not is_plain(value, known[key]):
      raise ValueError(f"data: {key}={value!r} must be {_PLAIN[known[key]]}; change it.")
  for key in required:
    if options.get(key) in (None, ""):
      raise ValueError(f"data: {key}={options.get(key)!r} must be given for kind={kind!r}; add it.")
  template = Template(**{key: options.pop(key) for key in _TEMPLATE if key in options})
  source = KINDS[kind](split, **options)
  if not template:
    return source
  drawn = isinstance(template.shots, int) and template.shots and split != "train"
  return _templated(source, template, KINDS[kind]("train", **options) if drawn else source)


def _templated(source: Source, template: Template, train: Source) -> Source:
  """The source, or each part of a mixture, with the template; shots come from the same part's training split."""
  if not isinstance(source, MixtureSource):
    return TemplatedSource(source, template, train)
  parts = zip(source.sources, train.sources, strict=True)
  return dataclasses.replace(source, sources=tuple(_templated(part, template, own) for part, own in parts))


_TEMPLATE = tuple(field.name for field in dataclasses.fields(Template))
_PASSED_ON = {  # what a kind's further options are options of
  "columns": (Columns,), "countdown": (Countdown,), "tfds": (_fields,),
  **dict.fromkeys(("hf", "jsonl", "parquet"), (_table, _fields)),
}


_PLAIN = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


def is_plain(value, kind: type) -> bool:
  """Whether a value is of one of the plain kinds; True is no number, 3 is one of any kind."""
  wide = {int: Integral, float: Real}.get(kind, kind)
  return isinstance(value, wide) and (kind is bool or not isinstance(value, bool))


def _options(kind: str) -> tuple[dict[str, Any], list[str]]:
  """{name: annotation} of all options of a kind, and the names of those without a default: off the signatures."""
  parameters = dict(inspect.signature(KINDS[kind]).parameters)
  for function in _PASSED_ON.get(kind, ()):
    further = inspect.signature(function).parameters
    parameters |= {k: p for k, p in further.items() if function is not _table or p.kind is p.KEYWORD_ONLY}
  named = {key: p for key, p in parameters.items() if key != "split" and p.kind is not p.VAR_KEYWORD}
  of_template = {key: p.annotation for key, p in inspect.signature(Template).parameters.items()}
  return {key: p.annotation for key, p in named.items()} | of_template, [
    key for key, p in named.items() if p.default is p.empty]

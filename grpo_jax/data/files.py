"""Files of rows as sources: JSON lines, Parquet, data sets of the Hugging Face library saved to disk. No network."""

import contextlib
import functools
import pathlib
import sys
from array import array
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from grpo_jax.data.contamination import normalized
from grpo_jax.data.example import Example
from grpo_jax.data.hashing import unit_hash
from grpo_jax.data.rows import Fields
from grpo_jax.reading import cause_of, parsed, read_json, reading

CACHE = "~/.cache/grpo_jax/arrow"  # Parquet is decoded here once, to be read at random
SCAN = 1000  # rows read at a time when a table is opened


class Table(Protocol):
  """Rows with random access; `place` and `where` say in an error which file and row it was."""

  name: str
  place: str

  def __len__(self) -> int: ...

  def row(self, i: int) -> Mapping[str, Any]: ...

  def where(self, i: int) -> str: ...

  def rows(self) -> Iterator[Mapping[str, Any]]: ...


class JsonLines:
  """A file of JSON objects, one a line; only byte offsets are kept in memory."""

  def __init__(self, path: str):
    self._path = pathlib.Path(path).expanduser()
    if not self._path.is_file():
      raise ValueError(f"jsonl: path={str(path)!r} must be a file; correct the path.")
    self.name, self.place, kept, end = self._path.stem, str(self._path), [], 0
    with self._path.open("rb") as file:
      for number, line in enumerate(file, 1):
        start, end = end, end + len(line)
        if line.strip():
          kept.append((start, number))
    self._lines = np.asarray(kept, np.int64).reshape(-1, 2)

  def __len__(self) -> int:
    return len(self._lines)

  def where(self, i: int) -> str:
    return f"{self._path}:{self._lines[i][1]}"

  def row(self, i: int) -> Mapping[str, Any]:
    with self._path.open("rb") as file:
      file.seek(self._lines[i][0])
      return self._parsed(file.readline(), i)

  def rows(self) -> Iterator[Mapping[str, Any]]:
    with self._path.open("rb") as file:
      for i, line in enumerate(line for line in file if line.strip()):
        yield self._parsed(line, i)

  def _parsed(self, line: bytes, i: int) -> Mapping[str, Any]:
    rule, fix = "the line must be one JSON object, is not", "correct it"
    if i == 0 and line.lstrip()[:1] in (b"[", b"{"):
      fix = "if the whole file is one JSON array, write each of its objects on a line: jq -c '.[]' FILE > LINES.jsonl"
    try:
      value = parsed(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
      cause = f"byte 0x{line[error.start]:02x} is not UTF-8"
    except ValueError as error:
      cause = cause_of(error)
    else:
      if isinstance(value, dict):
        return value
      cause = f"it is a {type(value).__name__}"
    raise ValueError(f"{self.where(i)}: {rule} ({cause}); {fix}.")


class ArrowTable:
  """A data set of the Hugging Face library: Arrow files, mapped into memory as they are read."""

  def __init__(self, dataset: Any, place: pathlib.Path):
    self._dataset, self.name, self.place = dataset, place.stem, str(place)

  def __len__(self) -> int:
    return len(self._dataset)

  def where(self, i: int) -> str:
    return f"{self.name}:{i}"

  def row(self, i: int) -> Mapping[str, Any]:
    with reading(self.place, "table"):
      return self._dataset[i]

  def rows(self) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(self), SCAN):
      with reading(self.place, "table"):
        columns = self._dataset[start : start + SCAN]
      for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def parquet_table(path: str, cache_dir: str = "") -> ArrowTable:
  """A Parquet file, a folder of them, or a pattern like `data/train-*.parquet`.

  Raises:
    ValueError: there is no such file, or it is no Parquet.
  """
  place = pathlib.Path(path).expanduser()
  files = sorted(place.glob("*.parquet") if place.is_dir() else place.parent.glob(place.name))
  if not files:
    raise ValueError(f"parquet: path={path!r} must be a Parquet file, a folder of them or a pattern; correct it.")
  with _library() as datasets:
    folder = str(pathlib.Path(cache_dir or CACHE).expanduser())
    try:
      table = datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=folder)
    except Exception as error:  # of Arrow, of the library, or of either's cache
      rule, reason = "must be Parquet files with the same columns", cause_of(error.__cause__ or error)
      raise ValueError(f"parquet: path={path!r} {rule} ({reason}); check it.") from error
  return ArrowTable(table, place)


def hf_table(path: str, split: str = "") -> ArrowTable:
  """What `save_to_disk` wrote: a Dataset, or the split of a DatasetDict.

  Raises:
    ValueError: the folder is no such thing, or lacks the split.
  """
  folder = pathlib.Path(path).expanduser()
  if not any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
    raise ValueError(
      f"hf: path={path!r} must be a folder that Dataset.save_to_disk or DatasetDict.save_to_disk wrote; load the data"
      " set where there is a network, save it and give that folder."
    )
  with _library() as datasets, reading(folder, "data set on disk"):
    table = datasets.load_from_disk(str(folder))
  if isinstance(table, datasets.DatasetDict):
    if split not in table:
      raise ValueError(f"hf: split={split!r} of {path} must be one of {', '.join(table)}; choose one.")
    table = table[split]
  return ArrowTable(table, folder)


def hf_splits(path: str) -> tuple[str, ...]:
  """Names of the splits of a DatasetDict on disk; none for a single Dataset."""
  file = pathlib.Path(path).expanduser() / "dataset_dict.json"
  splits = read_json(file).get("splits") if file.is_file() else []
  if not isinstance(splits, list) or not all(isinstance(split, str) for split in splits):
    raise ValueError(f"{file}: splits must be a list of names; save the data set again.")
  return tuple(splits)


@contextlib.contextmanager
def _library():
  """The library, imported here because that takes a second and a half; without its progress bars."""
  import datasets

  shown = datasets.utils.logging.is_progress_bar_enabled()
  datasets.disable_progress_bars()
  try:
    yield datasets
  finally:
    if shown:
      datasets.enable_progress_bars()


@functools.cache
def _warn(text: str) -> None:
  """Prints the warning, once in a process: a file is opened for each of its splits."""
  print(f"warning: {text}", file=sys.stderr, flush=True)


class _Seen:
  """Finds prompts that stand in a table several times with different answers; keeps two numbers a row."""

  def __init__(self):
    self._prompts, self._answers = array("q"), array("q")

  def add(self, example: Example) -> None:
    """One row, in the order of the table."""
    self._prompts.append(hash(str(example.prompt)))
    self._answers.append(hash(example.answer))

  def conflicts(self) -> tuple[int, list[int]]:
    """How many prompts have several answers, and two rows of the first of them."""
    prompts, answers = np.asarray(self._prompts), np.asarray(self._answers)
    order = np.argsort(prompts, kind="stable")
    prompts, answers = prompts[order], answers[order]
    other = np.flatnonzero((prompts[1:] == prompts[:-1]) & (answers[1:] != answers[:-1]))
    rows = [] if not len(other) else sorted(order[min(other, key=lambda k: order[k]) + np.arange(2)].tolist())
    return len(np.unique(prompts[other])), rows


class TableSource:
  """The rows of a table as examples, every row checked when it is opened.

  With `heldout_fraction`, a hash of the normalized prompt says which split a row is in: the two share no prompt.
  """

  def __init__(
    self, table: Table, *, fields: Fields | None = None, take: str = "all", heldout_fraction: float = 0.0,
    source: str = ""
  ):
    if not 0 <= heldout_fraction < 1:
      raise ValueError(f"data: heldout_fraction={heldout_fraction} must lie in [0, 1); change it.")
    self._table, self._fields, self._source = table, fields or Fields(), source or table.name
    kept, seen, self._roles = [], _Seen(), {}
    for i, row in enumerate(table.rows()):
      example = self._fields.example(row, table.where(i))
      seen.add(example)
      prompt = normalized(example.prompt)
      if take == "all" or (unit_hash("heldout", prompt) < heldout_fraction) == (take == "heldout"):
        kept.append(i)
        if not isinstance(example.prompt, str):
          self._roles.setdefault(tuple(message["role"] for message in example.prompt[:3]), len(kept) - 1)
    self._rows = np.asarray(kept, np.int64)
    if not kept:
      raise ValueError(
        f"data: {table.place} has 0 of its {len(table)} rows in take={take!r}, heldout_fraction={heldout_fraction},"
        " must have 1; check the file and the fraction."
      )

    self._warn_of_conflicts(*seen.conflicts())

  def chats(self) -> list[Example]:
    """One example of each way in which conversations begin, as a chat template may refuse some of them."""
    return [self[i] for i in self._roles.values()]

  def _warn_of_conflicts(self, count: int, rows: list[int]) -> None:
    if count:
      one, other = (self._fields.example(self._table.row(i), self._table.where(i)) for i in rows)
      _warn(f"{self._table.place}: {count} prompts have different answers in different rows, such as "
            f"{one.prompt!r:.80}: {one.answer!r:.40} ({self._table.where(rows[0])}) and {other.answer!r:.40} "
            f"({self._table.where(rows[1])}); drop the wrong ones.")

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, i: int) -> Example:
    row = int(self._rows[i])
    return self._fields.example(self._table.row(row), self._table.where(row), self._source)

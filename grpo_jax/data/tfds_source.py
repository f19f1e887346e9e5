"""TFDS data sets as sources, without TensorFlow: array_record files, read at random."""

import importlib
import pathlib
from collections.abc import Callable

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.util import DownloadError

from grpo_jax.data.arithmetic import GrpoArithmetic
from grpo_jax.data.example import Example
from grpo_jax.data.gsm8k import Gsm8kLocal
from grpo_jax.data.rows import Fields

DATA_DIR = "~/.cache/grpo_jax/tfds"
BUILDERS = {"grpo_arithmetic": GrpoArithmetic, "gsm8k_local": Gsm8kLocal}  # any other name is TFDS's own
RETRIES = 2  # of a failed connection; TFDS's own 10, ever further apart, take minutes
FAMILIES = ("text", "question_answering")  # parts of TFDS that hold text data sets


def make_builder(
  name: str, config: str | tfds.core.BuilderConfig = "", data_dir: str = ""
) -> tfds.core.DatasetBuilder:
  """The builder of this name, ours or TFDS's.

  Raises:
    ValueError: TFDS knows no such name or config.
  """
  folder = str(pathlib.Path(data_dir or DATA_DIR).expanduser()) if "://" not in data_dir else data_dir
  options = {"data_dir": folder} | ({"config": config} if config else {})
  try:
    if name in BUILDERS:
      return BUILDERS[name](**options)
    for family in FAMILIES:  # TFDS finds only the builders that something has imported
      importlib.import_module(f"tensorflow_datasets.{family}")
    return tfds.builder(name, try_gcs=False, **options)
  except (tfds.core.DatasetNotFoundError, TypeError, ValueError) as error:
    rule = f"must be a builder of TFDS or one of {', '.join(BUILDERS)}"
    reason = str(error).partition("\n")[0]
    raise ValueError(f"tfds: name={name!r}, config={config!r} {rule}; change it ({reason}).") from error


def prepare(make: Callable[[], tfds.core.DatasetBuilder], manual_dir: str = "") -> tfds.core.DatasetBuilder:
  """A builder whose array_record files exist, made now if need be.

  Safe against other processes without a lock: TFDS writes to a folder of its own and renames it when it is
  complete, so of two processes one wins and the other takes the winner's files.

  Raises:
    ValueError: it wants a download and there is no network; said after seconds, where TFDS would try for minutes.
  """
  builder = make()
  if builder.is_prepared():
    return builder
  tfds.disable_progress_bar()
  manual = str(pathlib.Path(manual_dir).expanduser()) if manual_dir else None
  download = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
  tries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, RETRIES
  try:
    builder.download_and_prepare(file_format="array_record", download_config=download)
  except (requests.ConnectionError, DownloadError) as error:
    raise ValueError(_no_download(builder, error)) from error
  except OSError:  # the rename found another process's files in its place
    if not make().is_prepared():
      raise
  finally:
    downloader.MAX_RETRIES = tries
  return make()  # anew: a builder made before the files were there does not know their splits


def _no_download(builder: tfds.core.DatasetBuilder, error: Exception) -> str:
  reason = str(error).replace("\n", " ")[-160:]
  own = " (or kind='gsm8k' with manual_dir, which reads the official files)" if builder.name == "gsm8k" else ""
  return (
    f"tfds: name={builder.name!r} must be downloaded and cannot be (…{reason}); prepare it where there is a network,"
    f" by the same config, and copy {builder.data_dir} here, or put its files on disk and read them with kind='jsonl',"
    f" 'parquet' or 'hf'{own}."
  )


class TfdsSource:
  """One split of a TFDS data set. `fields` names its features; `split` may be a slice: `train[:90%]`."""

  def __init__(
    self,
    name: str,
    config: str | tfds.core.BuilderConfig = "",
    *,
    split: str = "train",
    data_dir: str = "",
    manual_dir: str = "",
    fields: Fields | None = None,
    source: str = "",
  ):
    builder = prepare(lambda: make_builder(name, config, data_dir), manual_dir)
    known = list(builder.info.splits)
    if split.partition("[")[0] not in known:
      raise ValueError(f"tfds: split={split!r} of {name} must be one of {', '.join(known)}; change it.")
    self._rows = builder.as_data_source(split=split)
    self._fields = fields or Fields(solution="solution", chosen="chosen", rejected="rejected")
    self._name = name
    self._source = source or name
    if not len(self._rows):
      raise ValueError(f"tfds: split={split!r} of {name} has 0 rows, must have 1; choose another split.")

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, i: int) -> Example:
    row = self._rows[i]
    own = row["source"].decode() if isinstance(row.get("source"), bytes) else self._source
    return self._fields.example(row, f"{self._name}:{i}", own)

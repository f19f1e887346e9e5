"""GSM8K (Cobbe et al. 2021, arXiv:2110.14168) as a TFDS builder over local files: no network."""

import dataclasses
import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds

from grpo_jax.data.example import Example
from grpo_jax.data.files import JsonLines
from grpo_jax.data.hashing import stable_hash
from grpo_jax.data.rows import Fields

FILES = {"train": "gsm8k_train.jsonl", "heldout": "gsm8k_test.jsonl"}
FIELDS = Fields(prompt="question", answer="answer", answer_after="####")


def read_examples(path: pathlib.Path) -> Iterator[Example]:
  """The problems of one file: the answer is the integer after `####`, the solution the whole text."""
  lines = JsonLines(str(path))
  for i, row in enumerate(lines.rows()):
    yield FIELDS.example(row, lines.where(i), "gsm8k")


def gsm8k_config(manual_dir: str) -> tfds.core.BuilderConfig:
  """A config named after the files' content, so that other files are never answered with older prepared data.

  Raises:
    ValueError: a file is missing.
  """
  folder = pathlib.Path(manual_dir).expanduser()
  for name in FILES.values():
    if not (folder / name).is_file():
      raise ValueError(
        f"gsm8k: manual_dir={manual_dir!r} must hold {name}; {Gsm8kLocal.MANUAL_DOWNLOAD_INSTRUCTIONS}"
      )
  contents = [(folder / name).read_text(encoding="utf-8") for name in FILES.values()]
  return tfds.core.BuilderConfig(
    name=f"files_{stable_hash(*contents):032x}", description="GSM8K from local files"
  )


class Gsm8kLocal(tfds.core.GeneratorBasedBuilder):
  """Grade-school word problems; the test file is the held-out split."""

  VERSION = tfds.core.Version("1.1.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "put train.jsonl and test.jsonl of github.com/openai/grade-school-math there as gsm8k_train.jsonl and"
    " gsm8k_test.jsonl."
  )

  def _info(self):
    features = {field.name: tfds.features.Text() for field in dataclasses.fields(Example)}
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
    )

  def _split_generators(self, dl_manager):
    folder = pathlib.Path(dl_manager.manual_dir)
    return {split: self._generate_examples(folder / name) for split, name in FILES.items()}

  def _generate_examples(self, path: pathlib.Path):
    for row, example in enumerate(read_examples(path)):
      yield row, dataclasses.asdict(example)

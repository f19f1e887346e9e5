"""Parquet files and data sets on disk: rows at random, the same options as JSON lines, and no network."""

import json
import socket

import pytest

from grpo_jax.data.sources import make_source

ROWS = [
  {"q": f"What is {i} plus 1?", "info": {"gold": i + 1}, "good": str(i + 1),
   "bad": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "no idea"}]}
  for i in range(40)
]
FIELDS = {"prompt": "q", "answer": "info.gold"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """The rows in every format."""
  import datasets

  folder = tmp_path_factory.mktemp("files")
  whole = datasets.Dataset.from_list(ROWS)
  datasets.disable_progress_bars()
  whole.save_to_disk(folder / "single")
  datasets.DatasetDict({"train": whole, "test": whole.select(range(5))}).save_to_disk(folder / "splits")
  (folder / "shards").mkdir()
  for i in range(2):
    whole.shard(2, i, contiguous=True).to_parquet(folder / "shards" / f"part-{i}.parquet")
  (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  return folder


@pytest.fixture
def no_network(monkeypatch):
  def refuse(*_, **__):
    raise AssertionError("the network was asked")

  monkeypatch.setattr(socket.socket, "connect", refuse)
  monkeypatch.setattr(socket, "getaddrinfo", refuse)


def config(folder, kind, **options):
  name = {"jsonl": "rows.jsonl", "parquet": "shards", "hf": "single"}[kind]
  cache = {"cache_dir": str(folder / "cache")} if kind == "parquet" else {}
  return {"kind": kind, "path": str(folder / name), "fields": FIELDS, **cache, **options}


@pytest.mark.parametrize("kind", ["parquet", "hf"])
def test_tables_give_what_json_lines_give_at_every_row(folder, kind, no_network):
  want = make_source(config(folder, "jsonl", source="s"), "train")
  got = make_source(config(folder, kind, source="s"), "train")
  assert len(got) == 40 and [got[i] for i in range(39, -1, -1)] == [want[i] for i in range(39, -1, -1)]
  assert got[7].prompt == "What is 7 plus 1?" and got[7].answer == "8"


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hf"])
def test_the_split_by_hash_is_the_same_in_every_format_and_shares_nothing(folder, kind, no_network):
  parts = [make_source(config(folder, kind, heldout_fraction=0.25), split) for split in ("train", "heldout")]
  train, heldout = ([part[i].prompt for i in range(len(part))] for part in parts)
  assert not set(train) & set(heldout) and len(train) + len(heldout) == 40 and 4 <= len(heldout) <= 18
  lines = make_source(config(folder, "jsonl", heldout_fraction=0.25), "heldout")
  assert heldout == [lines[i].prompt for i in range(len(lines))]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "hf"])
def test_pairs_need_no_answer(folder, kind, no_network):
  fields = {"prompt": "q", "chosen": "good", "rejected": "bad"}
  pair = make_source(config(folder, kind, fields=fields), "train")[3]
  assert (pair.chosen, pair.rejected, pair.answer) == ("4", "no idea", "")
  with pytest.raises(ValueError, match=r"fields\.chosen='good' must come with fields\.rejected"):
    make_source(config(folder, kind, fields={"prompt": "q", "chosen": "good"}), "train")
  named = make_source(config(folder, kind, fields={**fields, "answer": "info.gold"}), "train")
  assert named[3].answer == "4"


def test_named_splits(folder, no_network):
  named = {**config(folder, "hf"), "path": str(folder / "splits"), "heldout_split": "test"}
  assert [len(make_source(named, split)) for split in ("train", "heldout")] == [40, 5]
  one = {**config(folder, "parquet"), "heldout_path": str(folder / "shards" / "part-1.*")}
  assert [len(make_source(one, split)) for split in ("train", "heldout")] == [40, 20]


@pytest.mark.parametrize("kind, options, words", [
  ("parquet", {"path": "nothing.parquet"}, "path='nothing.parquet' must be a Parquet file, a folder"),
  ("hf", {"path": "."}, "path='.' must be a folder that Dataset.save_to_disk"),
  ("hf", {"heldout_split": "test"}, "heldout_split='test' must be '' for the single data set"),
  ("hf", {"fields": {"prompt": "question"}}, "single:0: field 'question' is missing, must be one of ['bad', 'good'"),
  ("parquet", {"fields": {"prompt": "q", "answer": "info.silver"}}, "'silver' is missing, must be one of ['gold']"),
  ("parquet", {"heldout_fraction": 0.1, "heldout_path": "x"}, "heldout_fraction=0.1 must be 0 with a heldout_path"),
])
def test_errors_name_what_is_wrong(folder, kind, options, words):
  with pytest.raises(ValueError) as error:
    make_source(config(folder, kind, **options), "train")
  assert words in str(error.value)


def test_a_file_that_is_no_parquet_and_a_split_that_is_not_there(folder):
  (folder / "bad.parquet").write_text("no")
  with pytest.raises(ValueError, match="must be Parquet files with the same columns"):
    make_source(config(folder, "parquet", path=str(folder / "bad.parquet")), "train")
  with pytest.raises(ValueError, match=r"split='dev' of .* must be one of train, test"):
    make_source({**config(folder, "hf"), "path": str(folder / "splits"), "train_split": "dev"}, "train")

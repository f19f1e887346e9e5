"""Damaged and nonsensical data files: each ends, at once, in one sentence that names the file and the row."""

import json
import shutil
import time

import pytest

from grpo_jax.data.sources import chats, make_source

SECONDS = 3.0  # a busy machine included
GOOD = {"prompt": "1+1=", "answer": "2"}
USER, SAID, SYSTEM = ({"role": r, "content": c} for r, c in (("user", "q"), ("assistant", "a"), ("system", "s")))
CUT = b'{"prompt": "1+1=", "answer": "2"'


def told(*names, **config) -> str:
  """The one sentence that opening a data set of this config ends in."""
  started = time.monotonic()
  with pytest.raises(ValueError) as caught:
    source = make_source(config, "train")
    [source[i] for i in range(len(source))]
  assert time.monotonic() - started < SECONDS
  text = str(caught.value)
  assert type(caught.value) is ValueError and "\n" not in text and len(text) < 1200, repr(caught.value)
  assert all(name in text for name in names), text
  return text


def jsonl(tmp_path, *rows, name="rows.jsonl"):
  """A file of rows, given as values or as the bytes of a line."""
  lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
  (tmp_path / name).write_bytes(b"\n".join(lines) + b"\n")
  return {"kind": "jsonl", "path": str(tmp_path / name)}


LINES = {  # what stands in the second line → words of the sentence
  "binary": (bytes([0x80, 0xFF, 0]) * 20, "0x80 is not UTF-8"), "zeros": (bytes(100), "JSON object"),
  "cut": (CUT, "JSON object"), "text": (b"1+1= 2", "JSON object"), "csv": (b"prompt,answer", "JSON object"),
  "null": (None, "NoneType"), "number": (3, "int"), "string": ("q", "str"), "list": ([1, 2], "list"),
  "true": (True, "bool"), "pairs": ([["prompt", "q"], ["answer", "2"]], "list"), "empty list": ([], "list"),
  "python": (b"{'prompt': 'q', 'answer': '2'}", "JSON object"),
  "two": (b'{"prompt": "q"} {"answer": "2"}', "JSON object"),
  "latin-1": ('{"prompt": "Größe", "answer": "2"}'.encode("latin-1"), "0xf6 is not UTF-8"),
  "deep": (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
  "huge number": (b'{"prompt": "q", "answer": ' + b"9" * 5000 + b"}", "JSON object"),
  "key twice": (b'{"prompt": "q", "answer": "2", "answer": "3"}', "'answer' is there twice"),
  "empty": ({}, "'prompt' is missing"), "no prompt": ({"answer": "2"}, "'prompt' is missing"),
  "no answer": ({"prompt": "q"}, "'answer' is missing"), "null prompt": ({**GOOD, "prompt": None},
  "'prompt' is missing"),
  "null answer": ({**GOOD, "answer": None}, "'answer' is missing"),
  "nan answer": (b'{"prompt": "q", "answer": NaN}', "'answer' is nan"),
  "infinite answer": (b'{"prompt": "q", "answer": 1e999}', "'answer' is inf"),
  "empty answer": ({**GOOD, "answer": ""}, "'answer' is blank"),
  "blank answer": ({**GOOD, "answer": " \t\n"}, "'answer' is blank"),
  "half a character": (b'{"prompt": "q", "answer": "\\ud800"}', "not Unicode"),
  **{f"prompt {value!r}": ({**GOOD, "prompt": value}, "'prompt'") for value in (
    "", "  ", "\n", {}, {"text": "q"}, 3, 2.5, True, False, [], [[]], ["q"], [None], [3], "\ud800")},
}


@pytest.mark.parametrize("line, words", LINES.values(), ids=LINES)
def test_lines(tmp_path, line, words):
  told("rows.jsonl:2: ", words, **jsonl(tmp_path, GOOD, line))


CHATS = {
  "no role": [{"content": "q"}], "no content": [{"role": "user"}], "content null": [{"role": "user", "content": None}],
  "content blank": [{"role": "user", "content": " "}], "content list": [{"role": "user", "content": [{"text": "q"}]}],
  "content number": [{"role": "user", "content": 3}], "role unknown": [{"role": "human", "content": "q"}],
  "role number": [{"role": 1, "content": "q"}], "role in capitals": [{"role": "User", "content": "q"}],
  "role null": [{"role": None, "content": "q"}], "role list": [{"role": ["user"], "content": "q"}],
  "system alone": [SYSTEM], "system last": [USER, SYSTEM], "system in between": [USER, SYSTEM, USER],
  "assistant first": [SAID, USER], "assistant alone": [SAID], "user twice": [USER, USER],
  "assistant twice": [USER, SAID, SAID, USER], "a string among them": [USER, "a"], "extra list": [[USER]],
}


@pytest.mark.parametrize("messages", CHATS.values(), ids=CHATS)
def test_chats(tmp_path, messages):
  told("rows.jsonl:2: field 'prompt'", **jsonl(tmp_path, GOOD, {**GOOD, "prompt": messages}))


def test_the_assistants_last_turn_is_the_solution_or_refused(tmp_path):
  config = jsonl(tmp_path, {"prompt": [SYSTEM, USER, SAID], "answer": "2", "worked": "1"})
  example = make_source(config, "train")[0]
  assert example.prompt == (SYSTEM, USER) and example.solution == "a"
  told("ends in the assistant's answer", **config, fields={"solution": "worked"})


def test_one_conversation_of_each_kind_is_there_to_be_tried(tmp_path):
  rows = [{**GOOD, "prompt": prompt} for prompt in ([USER], [USER], "text", [SYSTEM, USER], [SYSTEM, USER, SAID, USER])]
  source = make_source({**jsonl(tmp_path, *rows)}, "train")
  assert [e.prompt for e in chats(source)] == [(USER,), (SYSTEM, USER), (SYSTEM, USER, SAID, USER)]


FILES = {
  "empty": (b"", "0 rows"), "blank lines": (b"\n\n \n", "0 rows"), "one brace": (b"{", ":1: "),
  "array on one line": (json.dumps([GOOD, GOOD]).encode(), "jq -c"),
  "array on many lines": (json.dumps([GOOD, GOOD], indent=2).encode(), "jq -c"),
  "array of one a line": (b"[" + json.dumps(GOOD).encode() + b",\n" + json.dumps(GOOD).encode() + b"]", "jq -c"),
  "object on many lines": (json.dumps(GOOD, indent=2).encode(), "jq -c"),
  "utf-16": (json.dumps(GOOD).encode("utf-16"), ":1: "), "gzip": (b"\x1f\x8b\x08" + bytes(50), ":1: "),
  "parquet": (b"PAR1" + bytes(range(200)), ":1: "), "html": (b"<!DOCTYPE html>\n<html></html>", ":1: "),
  "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", ":1: "),
  "cut in a character": (b'{"prompt": "\xc3', ":1: "),
}


@pytest.mark.parametrize("content, words", FILES.values(), ids=FILES)
def test_whole_files(tmp_path, content, words):
  (tmp_path / "rows.jsonl").write_bytes(content)
  told("rows.jsonl", words, kind="jsonl", path=str(tmp_path / "rows.jsonl"))


def test_a_folder_is_no_file_and_a_byte_order_mark_is_no_error(tmp_path):
  told("must be a file", kind="jsonl", path=str(tmp_path))
  config = jsonl(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
  assert make_source(config, "train")[0].prompt == "1+1="


@pytest.mark.parametrize("pair", [
  ("a", ""), (" ", "b"), ({"a": 1}, "b"), ([], "b"), ([{"role": "assistant"}], "b"), (["a"], "b"), (True, "b"),
  (None, "b"),
  ([SAID, USER], "b"),
  ([{"role": "assistant", "content": {"a": 1}}], "b")], ids=str)
def test_pairs(tmp_path, pair):
  row = {"prompt": "q", "chosen": pair[0], "rejected": pair[1]}
  fields = {"chosen": "chosen", "rejected": "rejected"}
  told("rows.jsonl:1: ", **jsonl(tmp_path, row), fields=fields)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
  import datasets

  folder = tmp_path_factory.mktemp("tables")
  datasets.disable_progress_bars()
  whole = datasets.Dataset.from_list([GOOD] * 50)
  whole.to_parquet(folder / "rows.parquet")
  whole.save_to_disk(folder / "saved")
  datasets.DatasetDict({"train": whole}).save_to_disk(folder / "splits")
  return folder


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:100], lambda b: b[:-3],
  lambda b: b[: len(b) // 2] + b[-8:],
                                    lambda b: b"PAR1" + bytes(500) + b"PAR1", lambda b: b"{}", lambda b: bytes(len(b))])
def test_damaged_parquet(tables, tmp_path, damage):
  (tmp_path / "rows.parquet").write_bytes(damage((tables / "rows.parquet").read_bytes()))
  told("rows.parquet", kind="parquet", path=str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["dataset_info.json", "state.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2],
  lambda b: b"[1]", lambda b: bytes(len(b)), None])
def test_damaged_data_sets_on_disk(tables, tmp_path, name, damage):
  folder = shutil.copytree(tables / "saved", tmp_path / "saved")
  data = (folder / name).read_bytes()
  (folder / name).unlink()
  if damage:
    (folder / name).write_bytes(damage(data))
  told("saved", kind="hf", path=str(folder))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"splits": 3}', '{"splits": [3]}', '{"splits": ["test"]}', "{"])
def test_damaged_lists_of_splits(tables, tmp_path, text):
  folder = shutil.copytree(tables / "splits", tmp_path / "splits")
  (folder / "dataset_dict.json").write_text(text)
  told("splits", kind="hf", path=str(folder), heldout_split="train")


def test_one_warning_for_prompts_with_several_answers(tmp_path, capsys):
  rows = [{"prompt": f"q{i % 30}", "answer": str(i % 30 + (i == 45) + (i == 50))} for i in range(60)]
  config = jsonl(tmp_path, *rows, name="twice.jsonl")
  for split in ("train", "heldout", "train"):
    make_source({**config, "heldout_fraction": 0.3}, split)
  said = capsys.readouterr().err
  assert said.count("warning: ") == 1 and "twice.jsonl: 2 prompts have different answers in different rows" in said
  assert "'q15': '15' " in said and "twice.jsonl:16) and '16' " in said and "twice.jsonl:46)" in said
  make_source(jsonl(tmp_path, GOOD, GOOD, name="same.jsonl"), "train")
  assert not capsys.readouterr().err

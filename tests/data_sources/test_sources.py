"""Files to examples: fields, splits, and errors that name the place."""

import dataclasses
import json
import pathlib
import shutil
import socket
import time

import pytest

from grpo_jax.data.files import JsonLines, TableSource
from grpo_jax.data.rows import Fields
from grpo_jax.data.sources import KINDS, MixtureSource, Source, _options, bare, make_source
from grpo_jax.data.tfds_source import make_builder

SAMPLE = pathlib.Path(__file__).parent.parent / "data" / "gsm8k_sample.jsonl"
GSM8K = {"kind": "jsonl", "path": str(SAMPLE), "fields": {"prompt": "question"}, "answer_after": "####"}


def write(path, *rows):
  path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
  return str(path)


def jsonl(path, fields=None):
  return TableSource(JsonLines(path), fields=fields)


def test_jsonl_reads_any_row_in_any_order(tmp_path):
  rows = [{"q": "Größe?", "a": 1}, "", {"q": "two", "a": "2"}, {"q": "three", "a": "3"}]
  source = jsonl(write(tmp_path / "x.jsonl", *rows), Fields("q", "a"))
  assert isinstance(source, Source) and len(source) == 3
  assert [source[i].answer for i in (2, 0, 1)] == ["3", "1", "2"]
  assert source[0].prompt == "Größe?" and source[0].source == "x" and source[0].solution == ""


def test_gsm8k_lines():
  source = make_source({**GSM8K, "prompt_template": "Q: {prompt}\nA: \\boxed{}"}, "train")
  assert len(source) == 20
  first = source[0]
  assert first.answer == "18" and first.solution.endswith("#### 18") and first.prompt.startswith("Q: Janet")
  assert first.prompt.endswith("\nA: \\boxed{}")


def test_commas_leave_the_answer_and_messages_stay_messages(tmp_path):
  messages = [{"role": "user", "content": "?"}]
  path = write(tmp_path / "x.jsonl", {"prompt": messages, "answer": "so\n#### 1,234,567 "})
  example = jsonl(path, Fields(answer_after="####"))[0]
  assert example.answer == "1234567" and example.prompt == tuple(messages)


@pytest.mark.parametrize(
  "line, words",
  [
    ("{not json", ":2: the line must be one JSON object"),
    ("[1, 2]", ":2: the line must be one JSON object"),
    ({"answer": "#### 1"}, ":2: field 'prompt' is missing, must be one of ['answer']"),
    ({"prompt": "p"}, ":2: field 'answer' is missing"),
    ({"prompt": "p", "answer": None}, ":2: field 'answer' is missing"),
    ({"prompt": "p", "answer": "7"}, ":2: field 'answer' ends in '7', must hold an answer after '####'"),
    ({"prompt": "", "answer": "#### 7"}, ":2: field 'prompt' is blank"),
    ({"prompt": ["hi"], "answer": "#### 7"}, ":2: field 'prompt' has 'hi', must have role and content"),
  ],
)
def test_bad_lines_are_named(tmp_path, line, words):
  path = write(tmp_path / "x.jsonl", {"prompt": "p", "answer": "#### 1"}, line)
  with pytest.raises(ValueError, match=r"x\.jsonl:2: ") as error:
    jsonl(path, Fields(answer_after="####"))
  assert words in str(error.value)


def test_empty_and_absent_files(tmp_path):
  with pytest.raises(ValueError, match="has 0 of its 0 rows"):
    jsonl(write(tmp_path / "x.jsonl"))
  with pytest.raises(ValueError, match="must be a file"):
    jsonl(str(tmp_path / "y.jsonl"))


def test_hash_split_shares_no_prompt_and_loses_none(tmp_path):
  rows = [{"prompt": f"p{i % 150}", "answer": str(i)} for i in range(200)]  # 50 prompts come twice
  config = {"kind": "jsonl", "path": write(tmp_path / "x.jsonl", *rows), "heldout_fraction": 0.25}
  train, heldout = (make_source(config, split) for split in ("train", "heldout"))
  prompts = [{source[i].prompt for i in range(len(source))} for source in (train, heldout)]
  assert not prompts[0] & prompts[1]
  asked = make_source({**config, "prompt_template": "Q: {prompt}"}, "heldout")
  assert {asked[i].prompt for i in range(len(asked))} == {f"Q: {prompt}" for prompt in prompts[1]}
  assert len(train) + len(heldout) == 200 and 30 <= len(heldout) <= 70
  with pytest.raises(ValueError, match="heldout_fraction=0 must be above 0"):
    make_source({**config, "heldout_fraction": 0.0}, "heldout")


@pytest.mark.parametrize(
  "config, words",
  [
    ({"kind": "json"}, "kind='json' must be one of columns, countdown, few_shot, gsm8k, hf, jsonl,"),
    ({**GSM8K, "pth": "x"}, "pth='x' is no option of jsonl, must be one of path,"),
    ({**GSM8K, "fields": {"question": "q"}}, "fields.question='q' must be one of prompt, answer, solution"),
    ({**GSM8K, "prompt_template": "Q:"}, "prompt_template='Q:' must contain {prompt}"),
    ({"kind": "jsonl"}, "path=None must be given"),
    ({"kind": "columns", "digit": 3}, "digit=3 is no option of columns, must be one of data_dir, operations"),
    ({"kind": "gsm8k", "manual_dir": "/nowhere"}, "manual_dir='/nowhere' must hold gsm8k_train.jsonl; put"),
    (
      {"kind": "mixture", "sources": {"a": GSM8K}, "weights": {"b": 1}},
      "weights=['b'] must name the sources",
    ),
    ({"kind": "mixture", "sources": {"a": GSM8K}, "weights": {"a": -1}}, "must be positive and finite"),
  ],
)
def test_wrong_configs_are_answered_with_what_is_known(config, words):
  with pytest.raises(ValueError) as error:
    make_source(config, "train")
  assert words in str(error.value)


def test_mixture_from_config(tmp_path):
  few_shot = {"kind": "few_shot", "task": "add_1digit", "data_dir": str(tmp_path)}
  sources = {"words": GSM8K, "digits": few_shot, "off": {"kind": "unread"}}
  config = {"kind": "mixture", "sources": sources, "weights": {"words": 1, "digits": 3, "off": 0}}
  mixture = make_source(config, "train")
  assert isinstance(mixture, MixtureSource) and mixture.weights == (3.0, 1.0)
  assert [len(part) for part in mixture.sources] == [81, 20] and len(mixture) == 101
  assert mixture[81].source == "gsm8k_sample" and mixture[80].source == "add_1digit"
  with pytest.raises(IndexError):
    mixture[101]


def test_parts_of_one_kind_are_told_apart_by_their_names_in_the_mixture(tmp_path):
  """Templates, and the problems without them, keep the names."""
  columns = {"kind": "columns", "digits": 1, "train_size": 8, "heldout_size": 2, "data_dir": str(tmp_path)}
  sources = {"sums": columns, "differences": {**columns, "operations": "-"}, "words": GSM8K}
  config = {"kind": "mixture", "sources": sources, "weights": dict.fromkeys(sources, 1), "prompt_template": "{prompt}?"}
  mixture = make_source(config, "train")
  for source, ends in ((mixture, "=?"), (bare(mixture), "=")):
    assert [source[i].source for i in (0, 7, 8, 15, 16)] == ["differences"] * 2 + ["sums"] * 2 + ["gsm8k_sample"]
    assert all(source[i].prompt.endswith(ends) for i in range(16))


def test_gsm8k_through_tfds_follows_the_files(tmp_path):
  for name in ("gsm8k_train.jsonl", "gsm8k_test.jsonl"):
    shutil.copy(SAMPLE, tmp_path / name)
  config = {"kind": "gsm8k", "manual_dir": str(tmp_path), "data_dir": str(tmp_path / "tfds")}
  train, lines = make_source(config, "train"), make_source(GSM8K, "train")
  for i in range(20):
    assert train[i] == dataclasses.replace(lines[i], source="gsm8k")
  generic = {
    "kind": "tfds",
    "name": "gsm8k_local",
    "fields": {"prompt": "prompt", "answer": "solution"},
    "answer_after": "####",
    "heldout_split": "train[:5]",
    "data_dir": str(tmp_path / "other"),
    "manual_dir": str(tmp_path),
  }
  write(tmp_path / "gsm8k_test.jsonl", {"question": "1+1?", "answer": "#### 2"})
  assert len(make_source(config, "heldout")) == 1  # new files are read, old prepared data is not
  rows = make_source(generic, "heldout")
  assert len(rows) == 5 and rows[0].answer == "18" and rows[0].solution.endswith("#### 18")
  with pytest.raises(ValueError, match="split='test' of gsm8k_local must be one of"):
    make_source({**generic, "heldout_split": "test"}, "heldout")


def test_unknown_tfds_name(tmp_path):
  with pytest.raises(ValueError, match=r"name='no_such_set'.*grpo_arithmetic, gsm8k_local"):
    make_source({"kind": "tfds", "name": "no_such_set", "data_dir": str(tmp_path)}, "train")


@pytest.mark.parametrize("name, words", [("gsm8k", "kind='gsm8k' with manual_dir"), ("math_qa", "kind='jsonl'")])
def test_a_download_without_network_is_refused_within_seconds(name, words, tmp_path, monkeypatch):
  def nowhere(*_, **__):
    raise socket.gaierror("Name or service not known")

  monkeypatch.setattr(socket, "getaddrinfo", nowhere)
  fields, started = {"prompt": "question"}, time.perf_counter()
  with pytest.raises(ValueError, match=f"name='{name}' must be downloaded and cannot be") as error:
    make_source({"kind": "tfds", "name": name, "data_dir": str(tmp_path), "fields": fields}, "train")
  assert words in str(error.value) and time.perf_counter() - started < 20


def test_builders_of_tfds_are_found_and_described_without_network(tmp_path):
  builder = make_builder("gsm8k", data_dir=str(tmp_path))
  assert {"question", "answer"} <= set(builder.info.features) and not builder.is_prepared()


def test_every_kind_has_readable_options():
  for kind in KINDS:
    known, required = _options(kind)
    assert known and set(required) <= set(known) and "split" not in known


@pytest.mark.parametrize("options, words", [
  ({"kind": "columns", "digits": None}, "data: digits=None must be a whole number"),
  ({"kind": "columns", "digits": "2"}, "data: digits='2' must be a whole number"),
  ({"kind": "columns", "digits": True}, "data: digits=True must be a whole number"),
  ({"kind": "columns", "align": 3}, "data: align=3 must be True or False"),
  ({"kind": "columns", "slip": "much"}, "data: slip='much' must be a number"),
  ({"kind": "jsonl", "path": 3}, "data: path=3 must be text"),
  ({"kind": "countdown", "prompt_template": 5}, "data: prompt_template=5 must be text"),
])
def test_options_of_another_kind_are_refused(options, words):
  with pytest.raises(ValueError, match=words):
    make_source(options, "train")

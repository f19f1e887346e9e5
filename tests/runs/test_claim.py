"""Whose folder a workdir is: what a later start may change, what is refused, and what torn files are answered with."""

import json
import os
import pathlib
import shutil

import pytest
import test_whole_runs as whole

from grpo_jax import main
from grpo_jax.metrics import MetricsLog, read_rows
from grpo_jax.runs.claim import claim, environment
from grpo_jax.runs.inputs import read_inputs, rewritten
from grpo_jax.runs.model import load_run
from grpo_jax.runs.stage import Stage

pytestmark = pytest.mark.usefixtures("one_device")
ACCEPT = {"checkpoint.accept_changes": True}


def config(**changes):
  c = whole.tiny()
  c.update_from_flattened_dict({"task": "rl", "optimizer.schedule": "constant"})
  c.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
  return c


def with_changes(c, changes: dict):
  c = c.copy_and_resolve_references()
  c.update_from_flattened_dict(changes)
  return c


def done(workdir, step: int, stage="rl"):
  """A folder as of a run that is at this step, as far as `claim` looks."""
  (workdir / stage / "checkpoints" / str(step)).mkdir(parents=True)


@pytest.mark.parametrize("changes", [
  {"evaluate.every": 3, "evaluate.problems": 8, "evaluate.samples": 4}, {"log.every": 7, "checkpoint.keep": 5},
  {"train.micro_prompts": 2, "train.micro_members": 2, "train.logit_chunk": 3}, {"mesh.fsdp": 2, "mesh.data": 1},
  {"train.iterations": 20}, {"train.iterations": 12}, {"name": "other", "model.remat": True}])
def test_a_run_goes_on_with(changes, tmp_path, capsys):
  c = config(train__iterations=16)
  claim(tmp_path, c)
  done(tmp_path, 12)
  claim(tmp_path, with_changes(c, changes))
  said = capsys.readouterr().out
  assert all(key in said for key in changes if not key.startswith(("log.", "checkpoint.")))
  claim(tmp_path, with_changes(c, changes))
  assert "changed since" not in capsys.readouterr().out


@pytest.mark.parametrize("changes, words", [
  ({"algorithm.beta": 0.1, "seed": 3},
   ["algorithm.beta=None, this one has algorithm.beta=0.1", "seed=0, this one has seed=3"]),
  ({"train.iterations": 11}, ["train.iterations=11 is below the 12"]),
  ({"sampling.temperature": 0.5}, ["sampling.temperature=1.0", "sampling.temperature=0.5"]),
])
def test_what_changes_results_is_refused_with_the_difference(changes, words, tmp_path):
  c = config()
  claim(tmp_path, c)
  done(tmp_path, 12)
  before = (tmp_path / "config.json").read_bytes()
  with pytest.raises(ValueError) as caught:
    claim(tmp_path, with_changes(c, changes | ACCEPT))
  assert all(word in str(caught.value) for word in words)
  assert (tmp_path / "config.json").read_bytes() == before


def test_a_schedule_that_depends_on_the_end_needs_the_flag(tmp_path):
  c = config(optimizer__schedule="cosine", train__iterations=12)
  claim(tmp_path, c)
  done(tmp_path, 12)
  longer = {"train.iterations": 20}
  with pytest.raises(ValueError, match=r"train.iterations 12 → 20 moves the end of optimizer.schedule='cosine'"):
    claim(tmp_path, with_changes(c, longer))
  claim(tmp_path, with_changes(c, longer | ACCEPT))


def test_sft_is_not_extended_below_a_stage_that_began_from_it(tmp_path):
  c = whole.tiny()
  claim(tmp_path, c)
  done(tmp_path, 2, "sft")
  claim(tmp_path, with_changes(c, {"sft.steps": 4}))
  done(tmp_path, 2)
  with pytest.raises(ValueError, match="rl stage has begun from the end of that"):
    claim(tmp_path, with_changes(c, {"sft.steps": 6}))


def test_of_an_evaluation_the_evaluation_is_the_result(tmp_path):
  c = config(task="eval")
  claim(tmp_path, c)
  with pytest.raises(ValueError, match=r"evaluate\.samples=2, this one has evaluate.samples=9"):
    claim(tmp_path, with_changes(c, {"evaluate.samples": 9}))


def of_files(folder: pathlib.Path, monkeypatch):
  """A config with data, a model and a reward of the user's own, all of them files in `folder`."""
  lines = [json.dumps({"prompt": f"{i}+1=", "answer": str(i + 1)}) for i in range(12)]
  (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
  (folder / "model").mkdir()
  (folder / "model" / "config.json").write_text("{}")
  (folder / "model" / "model.safetensors").write_bytes(b"12345678")
  (folder / "own_rule_of_claim.py").write_text("def judge(completion, example, context):\n  return 1.0\n")
  monkeypatch.syspath_prepend(folder)
  c = config()
  with c.unlocked():
    c.data = {"kind": "jsonl", "path": str(folder / "train.jsonl"), "heldout_fraction": 0.3}
    c.rewards.components.own = {"rule": "own_rule_of_claim:judge", "weight": 1.0, "options": {}}
  c.model.path = str(folder / "model")
  return c


@pytest.mark.parametrize("file, key", [
  ("train.jsonl", "data.path"), ("model/model.safetensors", "model.path"),
  ("own_rule_of_claim.py", "rewards.components.own.rule")])
def test_other_contents_are_refused_or_accepted_with_a_flag(file, key, tmp_path, monkeypatch, capsys):
  c, workdir = of_files(tmp_path, monkeypatch), tmp_path / "run"
  claim(workdir, c)
  status = os.stat(tmp_path / file)
  (tmp_path / file).write_bytes((tmp_path / file).read_bytes().replace(b"1", b"7"))
  os.utime(tmp_path / file, ns=(status.st_atime_ns, status.st_mtime_ns))  # size and time say nothing
  with pytest.raises(ValueError, match=rf"other contents of {key}=.*: {pathlib.Path(file).name} was \d+ bytes, sha256"):
    claim(workdir, c)
  claim(workdir, with_changes(c, ACCEPT))
  assert f"going on with other contents of {key}" in capsys.readouterr().err
  claim(workdir, c)  # accepted is recorded


def test_a_folder_that_moved_is_the_same_by_contents(tmp_path, monkeypatch):
  c, workdir = of_files(tmp_path, monkeypatch), tmp_path / "run"
  claim(workdir, c)
  shutil.move(tmp_path / "model", tmp_path / "moved")
  claim(workdir, with_changes(c, {"model.path": str(tmp_path / "moved")}))


def test_a_file_rewritten_while_it_is_read_is_noticed(tmp_path, monkeypatch):
  c, workdir = of_files(tmp_path, monkeypatch), tmp_path / "run"
  before = read_inputs(c)
  (tmp_path / "train.jsonl").touch()
  assert not rewritten(before)  # the same contents
  (tmp_path / "train.jsonl").write_text('{"prompt": "1", "answer": "1"}\n')
  with pytest.raises(ValueError, match=r"data.path: .*train.jsonl was rewritten while it was read"):
    claim(workdir, c, before)
  claim(workdir, c)
  stage = Stage(workdir, c, total=4, name="rl")
  (tmp_path / "train.jsonl").write_text('{"prompt": "2", "answer": "2"}\n')
  with pytest.raises(ValueError, match=r"train.jsonl was rewritten while this run reads it, so rl step 4 is not saved"):
    stage.maybe_save(4, None)
  stage.saved.close()


def test_the_record_of_a_start(tmp_path):
  claim(tmp_path, config())
  start = json.loads((tmp_path / "starts.jsonl").read_text())
  assert {"time", "host", "command", "changed"} <= start.keys()
  assert {"jax", "code", "python", "package numpy"} <= environment().keys()


@pytest.mark.parametrize("name", ["config.json", "inputs.json"])
@pytest.mark.parametrize("how", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"\xff" + raw])
def test_torn_records_are_named_and_kept_where_they_are_written_anew(name, how, tmp_path, capsys):
  c = config()
  claim(tmp_path, c)
  torn = how((tmp_path / name).read_bytes())
  (tmp_path / name).write_bytes(torn)
  with pytest.raises(ValueError, match=rf"{name}(:| cannot be read as JSON)"):
    claim(tmp_path, c)
  assert (tmp_path / name).read_bytes() == torn
  claim(tmp_path, with_changes(c, ACCEPT))
  assert (tmp_path / f"{name}.1.bak").read_bytes() == torn
  claim(tmp_path, c)


def test_a_changed_config_file_and_a_missing_one_are_noticed(tmp_path):
  claim(tmp_path, config())
  file = tmp_path / "config.json"
  file.write_text(file.read_text().replace('"alphabet": "0', '"alphabet": "1'))
  for read in (lambda: claim(tmp_path, config()), lambda: load_run(str(tmp_path))):
    with pytest.raises(ValueError, match=r"config\.json is not what was written"):
      read()
  file.unlink()
  done(tmp_path, 4)
  with pytest.raises(ValueError, match=r"no config\.json, so nobody knows whose it is"):
    claim(tmp_path, config())


def test_a_torn_environment_costs_one_sentence(tmp_path, capsys):
  claim(tmp_path, config())
  (tmp_path / "environment.json").write_text('{"jax": ')
  claim(tmp_path, config())
  assert "environment.json cannot be read as JSON" in capsys.readouterr().err


GOOD = [json.dumps({"step": i, "kind": "train", "x": i}) for i in range(1, 7)]
BAD = ["", "   ", "{", "3", "null", '{"kind": "train"}', '{"step": "two"}', "\0" * 40, "\udcff{}",
       '{"step": 3}', '{"step": 3} {"step": 4}']


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_bad_line_costs_itself_alone(bad, place, tmp_path, capsys):
  file = tmp_path / "metrics.jsonl"
  raw = "\n".join([*GOOD[:place], bad, *GOOD[place:]]).encode("utf8", "surrogateescape") + b"\n"
  file.write_bytes(raw)
  assert [row["step"] for row in read_rows(file)] == [1, 2, 3, 4, 5, 6]
  assert f"{file}: line {place + 1} cannot be read" in capsys.readouterr().err
  assert file.read_bytes() == raw  # who reads changes nothing
  log = MetricsLog(tmp_path, tensorboard=False)
  log.resume(5)
  log.close()
  said = capsys.readouterr().err
  assert f"line {place + 1} cannot be read" in said and "metrics.jsonl.1.bak" in said
  assert file.read_text() == "".join(f"{line}\n" for line in GOOD[:5])
  assert (tmp_path / "metrics.jsonl.1.bak").read_bytes() == raw


def test_a_last_line_that_a_kill_cut_off_is_nothing_to_talk_about(tmp_path, capsys):
  (tmp_path / "metrics.jsonl").write_text(f"{GOOD[0]}\n{GOOD[1][:9]}")
  assert len(read_rows(tmp_path / "metrics.jsonl")) == 1
  assert not capsys.readouterr().err


@pytest.fixture(scope="module")
def finished(one_device, tmp_path_factory):
  """A run of four iterations."""
  workdir = tmp_path_factory.mktemp("claimed") / "run"
  c = config()
  c.prompt_buckets, c.completion_buckets = (6,), (9,)
  main.run(c, workdir)
  return c, workdir


def test_a_finished_run_goes_on_as_if_it_had_been_longer_from_the_start(finished, tmp_path):
  c, workdir = finished
  longer = with_changes(c, {"train.iterations": 6})
  main.run(longer, shutil.copytree(workdir, tmp_path / "extended"))
  main.run(longer, tmp_path / "whole")
  extended, at_once = (
    [{k: v for k, v in row.items() if not k.startswith("time/")}
     for row in read_rows(tmp_path / name / "rl/metrics.jsonl")]
    for name in ("extended", "whole"))
  assert [row for row in extended if row["kind"] == "train"] == [row for row in at_once if row["kind"] == "train"]
  assert extended[-1] == at_once[-1] and extended[-1]["step"] == 6


@pytest.mark.parametrize("spoil, words", [
  (lambda rl: shutil.rmtree(rl / "checkpoints"), "no checkpoint, though 4 was saved there"),
  (lambda rl: [f.rename(f.with_name(f"{f.name}.damaged")) for f in (rl / "checkpoints").glob("[0-9]*")],
   "has only damaged checkpoints"),
  (lambda rl: [shutil.rmtree(f / "default") for f in (rl / "checkpoints").glob("[0-9]*")],
   "no checkpoint that is whole"),
  (lambda rl: (rl / "metrics.jsonl").unlink(), "metrics.jsonl is missing beside checkpoint 4"),
  (lambda rl: (rl / "metrics.jsonl").write_text(""), "metrics.jsonl is empty beside checkpoint 4"),
  (lambda rl: (rl / "checkpoints/4").rename(rl / "checkpoints/500"), "is checkpoint 4 under another name"),
])
def test_what_a_folder_has_lost_is_noticed_and_nothing_begins_anew(spoil, words, finished, tmp_path):
  c, workdir = finished
  copy = shutil.copytree(workdir, tmp_path / "run")
  spoil(copy / "rl")
  before = {f: f.read_bytes() for f in (copy / "rl").rglob("*") if f.is_file()}
  with pytest.raises(ValueError, match=words):
    main.run(c, copy)
  assert {f: f.read_bytes() for f in (copy / "rl").rglob("*") if f.is_file()} == before


@pytest.mark.parametrize("spoil", [
  lambda rl: shutil.rmtree(rl / "checkpoints"),
  lambda rl: [shutil.rmtree(f / "default") for f in (rl / "checkpoints").glob("[0-9]*")]])
def test_with_the_flag_the_stage_begins_anew_and_what_was_there_is_kept(spoil, finished, tmp_path):
  c, workdir = finished
  copy = shutil.copytree(workdir, tmp_path / "run")
  spoil(copy / "rl")
  log = (copy / "rl" / "metrics.jsonl").read_bytes()
  main.run(with_changes(c, {"checkpoint.start_anew": True}), copy)
  assert (copy / "rl.before-1" / "metrics.jsonl").read_bytes() == log
  assert [row["step"] for row in read_rows(copy / "rl/metrics.jsonl") if row["kind"] == "train"] == [1, 2, 3, 4]

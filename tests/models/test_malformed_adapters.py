"""Damaged adapters and orbax folders end in one sentence that names the folder."""

import shutil

import jax
import numpy as np
import pytest
from families import CONFIGS, random_params
from test_malformed_models import cut, edit, jsons, load, raw, told

from grpo_jax.models.lora import LoraSpec, init_adapters
from grpo_jax.models.orbax_io import save_orbax
from grpo_jax.models.peft_io import load_peft, save_peft
from grpo_jax.text.tokenizer import character_tokenizer

CFG = CONFIGS["llama"]
WEIGHTS = "adapter_model.safetensors"
ADAPTERS = [
  *((change, name) for _, change, name in jsons("adapter_config.json")),
  *((change, WEIGHTS) for change in (cut(WEIGHTS, 0.5), cut(WEIGHTS, 20), raw(WEIGHTS, b""), raw(WEIGHTS, None))),
]
VALUES = [{"r": "4"}, {"r": 0}, {"r": 8}, {"r": None}, {"r": ...}, {"lora_alpha": "x"}, {"lora_alpha": None},
          {"lora_alpha": float("nan")}, {"lora_alpha": ...}, {"target_modules": ...}, {"target_modules": [3]},
          {"target_modules": {"a": 1}}, {"target_modules": []}, {"target_modules": "odd"}, {"use_dora": True}]


@pytest.fixture
def adapter(tmp_path):
  spec = LoraSpec(4, 8.0, ("q", "v"))
  save_peft(tmp_path / "adapter", spec, jax.tree.map(np.asarray, init_adapters(CFG, spec, 0)))
  load_peft(tmp_path / "adapter", CFG.num_layers)
  return tmp_path / "adapter"


@pytest.mark.parametrize("change, name", ADAPTERS)
def test_damaged_files_of_adapters(adapter, change, name):
  change(adapter)
  assert str(adapter) in told(lambda: load_peft(adapter, CFG.num_layers), name, adapter)


@pytest.mark.parametrize("change", VALUES, ids=str)
def test_values_of_adapters(adapter, change):
  edit(adapter, "adapter_config.json", **change)
  told(lambda: load_peft(adapter, CFG.num_layers), adapter)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  folder = tmp_path_factory.mktemp("orbax") / "model"
  return save_orbax(folder, CFG, random_params(CFG), tokenizer=character_tokenizer().backend)


def gone(folder):
  shutil.rmtree(folder / "params")


def emptied(folder):
  for file in (folder / "params").rglob("*"):
    if file.is_file():
      file.write_bytes(b"")


@pytest.mark.parametrize("change", [*(c for _, c, _ in jsons("model.json")), gone, emptied])
def test_damaged_orbax_folders(checkpoint, tmp_path, change):
  folder = shutil.copytree(checkpoint, tmp_path / "model")
  load(folder)
  change(folder)
  told(lambda: load(folder), folder)

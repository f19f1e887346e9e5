"""A LoRA run: only adapters are saved, the base is the reference, another base is refused, exports agree."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import test_whole_runs as whole
from pod import stopping

from grpo_jax import main
from grpo_jax.distributed.preemption import Preempted
from grpo_jax.metrics import read_rows
from grpo_jax.models.load import load_any
from grpo_jax.models.lora import adapted
from grpo_jax.models.peft_io import load_peft
from grpo_jax.models.whole_vocabulary import full_logits
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs import rl
from grpo_jax.runs.model import load_run
from grpo_jax.runs.setup import fresh_state, make_setup
from grpo_jax.runs.stage import Stage
from grpo_jax.text.special import generation_settings
from grpo_jax.text.tokenizer import load_tokenizer
from grpo_jax.tools import convert

GENERATION = {"eos_token_id": [2, 300], "temperature": 0.7, "top_p": 0.9}
pytestmark = pytest.mark.usefixtures("one_device")


def config(model="", iterations=4):
  c = whole.gsm8k()
  c.model.path = str(model or c.model.path)
  c.lora.rank, c.lora.alpha, c.lora.targets = 4, 8.0, ("q", "v", "down")
  c.prompt_buckets, c.completion_buckets, c.train.iterations, c.checkpoint.every = (8,), (8,), iterations, 2
  c.optimizer.learning_rate, c.tokenizer.add_bos = 1e-2, False  # these prompts fit the bucket without a bos only
  with c.unlocked():  # a reward that a random text can earn, so that the adapters move
    c.data = {"kind": "jsonl", "path": str(whole.ROOT / "tests/data/short_problems.jsonl"), "heldout_fraction": 0.3,
              "fields": {"prompt": "question"}}
    c.rewards.components.length = {"rule": "length", "weight": 1.0, "options": {"target": 4}}
  return c


@pytest.fixture(scope="module")
def finished(one_device, tmp_path_factory):
  """A finished run, exported."""
  folder = tmp_path_factory.mktemp("lora")
  shutil.copytree(config().model.path, folder / "model")
  (folder / "model" / "generation_config.json").write_text(json.dumps(GENERATION))
  c, path = config(folder / "model"), folder / "run"
  c.checkpoint.export = True
  main.run(c, path)
  return c, path


def test_stop_ids_and_sampling_survive_training_export_and_conversion(finished, tmp_path):
  _, path = finished
  assert convert.main(["--source", str(path), "--target", str(tmp_path / "hf")]) == 0
  assert convert.main(["--source", str(path), "--target", str(tmp_path / "orbax"), "--to", "checkpoint"]) == 0
  assert convert.main(["--source", str(tmp_path / "orbax"), "--target", str(tmp_path / "back")]) == 0
  for folder in (path / "export", tmp_path / "hf", tmp_path / "orbax", tmp_path / "back"):
    assert GENERATION.items() <= generation_settings(folder).items(), folder
    assert load_tokenizer(str(folder)).stop_ids == (2, 300)


def test_only_adapters_are_in_the_checkpoint(finished):
  c, path = finished
  base = sum(a.nbytes for a in jax.tree.leaves(load_any(c.model.path)[1]))
  kept = sum(f.stat().st_size for f in (path / "rl" / "checkpoints" / "4").rglob("*") if f.is_file())
  assert kept < base / 2
  _, adapters = load_peft(path / "adapter", 5)
  assert set(adapters["layers"]) == {"q", "v", "down"}
  assert all(np.abs(pair["b"]).max() > 0 for pair in adapters["layers"].values())  # all were trained


def test_the_merged_export_is_the_adapted_base(finished):
  c, path = finished
  cfg, base, _ = load_any(c.model.path)
  _, into, _ = load_any(path / "export")
  spec, adapters = load_peft(path / "adapter", cfg.num_layers)
  tokens = np.random.default_rng(0).integers(3, cfg.vocab_size, (2, 24)).astype(np.int32)
  logits = jax.jit(full_logits, static_argnums=1)
  over, merged, plain = (logits(p, cfg, tokens) for p in (adapted(base, adapters, spec.scale), into, base))
  assert np.abs(over - merged).max() <= 1e-5 * np.abs(merged).max()
  assert np.abs(plain - merged).max() > 1e-3


def reference_logps(c, folder, monkeypatch):
  """Tokens and reference log-probabilities of the first iteration."""
  seen, original = [], rl.iterate

  def watched(*args):
    state, numbers, made = original(*args)
    seen.append(jax.device_get((made.experience.tokens_BGT, made.experience.ref_logps_BGT)))
    return state, numbers, made

  monkeypatch.setattr(rl, "iterate", watched)
  with Rewards(c.rewards.components.to_dict(), workers=1, deadline_seconds=5.0, max_error_rate=1.0) as rewards:
    rl.run_rl(make_setup(c), folder, rewards)
  monkeypatch.undo()
  return seen[0]


def test_the_reference_is_the_base_itself_bit_for_bit(tmp_path):
  low, whole_model = config(iterations=1), config(iterations=1)
  whole_model.lora.rank = 0
  state = fresh_state(make_setup(low), reference=True)
  assert state.ref_params is None and state.reference is state.base  # no second copy
  for a, b in zip(*(reference_logps(c, tmp_path / str(c.lora.rank), pytest.MonkeyPatch())
                    for c in (low, whole_model)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_killed_run_continues_and_another_base_is_refused(finished, tmp_path, monkeypatch):
  c, done = finished
  with monkeypatch.context() as patch, pytest.raises(Preempted):
    patch.setattr(Stage, "maybe_save", stopping("rl", 2))
    main.run(c, tmp_path / "cut")
  shutil.copytree(tmp_path / "cut", tmp_path / "other")
  main.run(c, tmp_path / "cut")
  without_time = lambda rows: [{k: v for k, v in r.items() if not k.startswith("time/")} for r in rows]  # noqa: E731
  cut, undisturbed = (without_time(read_rows(path / "rl/metrics.jsonl")) for path in (tmp_path / "cut", done))
  assert cut == undisturbed
  weights = pathlib.Path(c.model.path) / "model.safetensors"
  data = bytearray(weights.read_bytes())
  data[-3] ^= 1  # one bit of one weight
  weights.write_bytes(data)
  with pytest.raises(ValueError, match=r"other contents of model\.path=.*: model\.safetensors was"):
    main.run(c, tmp_path / "other")
  c = c.copy_and_resolve_references()
  c.checkpoint.accept_changes = True  # but adapters never go onto another base
  with pytest.raises(ValueError, match=r"model\.path: the checkpoints .* were made on other base weights"):
    main.run(c, tmp_path / "other")
  with pytest.raises(ValueError, match=r"model\.path: the checkpoints .* were made on other base weights"):
    load_run(str(tmp_path / "other")).weights()


def test_adapters_go_through_sft_and_become_the_reference_of_rl(tmp_path):
  c = config(iterations=1)
  made = make_setup(c)
  adapters = jax.tree.map(lambda x: x + 0.25, fresh_state(made, reference=False).params)
  state = fresh_state(made, reference=True, params=adapters)
  jax.tree.map(np.testing.assert_array_equal, state.params, state.ref_params)
  assert state.policy["embed"] is state.reference["embed"] is state.base["embed"]

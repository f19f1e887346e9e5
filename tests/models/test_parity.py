"""The decoder against logits of transformers: golden arrays always, live torch where it is importable.

make_goldens.py makes the arrays. Tolerance: 2e-4 absolute on logits of order 1 to 20, float32 on both sides.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from families import FAMILIES

from grpo_jax.models.hf_io import load_hf, save_hf
from grpo_jax.models.load import NAMES, load_any, resolve_model_path
from grpo_jax.models.whole_vocabulary import full_logits

GOLDENS = Path(__file__).parent / "goldens"
TINY = (
  "tiny_llama", "tiny_llama3", "tiny_linear", "tiny_yarn", "tiny_qwen2", "tiny_qwen2_window", "tiny_qwen3",
  "tiny_gemma2", "tiny_gemma3")
DIRECTORIES = {name: GOLDENS / name for name in TINY} | {
  "stories260k": Path(__file__).parents[1] / "data" / "stories260k"}
TOLERANCE = 2e-4


def our_logits(params, cfg, tokens_NT):
  return np.asarray(jax.jit(full_logits, static_argnums=1)(params, cfg, tokens_NT))


@pytest.mark.parametrize("name, scan_layers", [
  *((n, True) for n in DIRECTORIES), ("tiny_qwen3", False), ("tiny_gemma2", False), ("tiny_gemma3", False)])
def test_golden_logits(name, scan_layers):
  golden = np.load(GOLDENS / f"{name}.npz")
  cfg, params = load_hf(DIRECTORIES[name])
  cfg = dataclasses.replace(cfg, scan_layers=scan_layers)
  ours = our_logits(params, cfg, golden["tokens_NT"])
  assert ours.shape == golden["logits_NTV"].shape
  assert np.max(np.abs(ours - golden["logits_NTV"])) <= TOLERANCE


@pytest.mark.parametrize("name, change", [
  *((name, {"rope_scaling": None}) for name in ("tiny_llama3", "tiny_linear", "tiny_yarn")),
  ("tiny_qwen2_window", {"layer_windows": ()}), ("tiny_gemma2", {"layer_windows": ()}),
  ("tiny_gemma2", {"attention_cap": 0.0}), ("tiny_gemma2", {"logit_cap": 0.0}), ("tiny_gemma2", {"query_scalar": None}),
  ("tiny_gemma3", {"window_rope_theta": None}), ("tiny_gemma3", {"layer_windows": (9, 0, 9)}),
])
def test_golden_logits_notice_each_switch(name, change):
  """What a config says beyond its sizes is in force in the golden arrays: without it they are missed."""
  golden = np.load(GOLDENS / f"{name}.npz")
  cfg, params = load_hf(DIRECTORIES[name])
  with jax.disable_jit():
    ours = full_logits(params, dataclasses.replace(cfg, scan_layers=False, **change), golden["tokens_NT"])
  assert np.max(np.abs(ours - golden["logits_NTV"])) >= 50 * TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name, golden", [("smollm2-135m", "smollm2_135m"), ("gemma3-270m", "gemma3_270m")])
def test_golden_real_weights(name, golden):
  try:
    resolve_model_path(name)
  except ValueError as error:
    pytest.skip(f"{NAMES[name]}: {error}")
  cfg, params, _ = load_any(name)
  golden = np.load(GOLDENS / f"{golden}.npz")
  prompts = sum(key.startswith("tokens_") for key in golden)
  assert prompts == 3
  for i in range(prompts):
    last = our_logits(params, cfg, golden[f"tokens_{i}"][None])[0, -4:]
    gap = np.max(np.abs(last[:, golden["ids"]] - golden[f"logits_{i}"]))
    print(f"{name} prompt {i}, {len(golden[f'tokens_{i}'])} tokens: largest difference {gap:.2g}")
    assert gap <= TOLERANCE
    logsumexp = np.log(np.sum(np.exp(last.astype(np.float64)), -1))
    assert np.max(np.abs(logsumexp - golden[f"logsumexp_{i}"])) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_what_we_save(family, tmp_path):
  torch = pytest.importorskip("torch", reason="live parity needs torch; the golden arrays do not")
  import transformers

  cfg = tiny.config(vocab_size=48, norm_epsilon=1e-6, **FAMILIES[family])
  params, rng = tiny.params(cfg), np.random.default_rng(0)
  path = save_hf(tmp_path / family, cfg, params)
  model, report = transformers.AutoModelForCausalLM.from_pretrained(
    path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
  assert not report["missing_keys"] and not report["unexpected_keys"]
  tokens_NT = rng.integers(0, cfg.vocab_size, (2, 12), dtype=np.int32)
  with torch.no_grad():
    theirs = model.eval()(torch.as_tensor(tokens_NT, dtype=torch.long)).logits.numpy()
  assert np.max(np.abs(our_logits(params, cfg, tokens_NT) - theirs)) <= TOLERANCE

"""The decoder against logits of transformers: golden arrays always, live torch where it is importable.

make_goldens.py makes the arrays. Tolerance: 2e-4 absolute on logits of order 1 to 20, float32 on both sides.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from grpo_jax.models.config import ModelConfig, param_shapes
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
LIVE = {
  "llama": {"tie_embeddings": False},
  "qwen2": {"attention_bias": True, "head_width": 16},
  "qwen3": {"qk_norm": True, "head_width": 16},
}


def our_logits(params, cfg, tokens_NT):
  return np.asarray(jax.jit(full_logits, static_argnums=1)(params, cfg, tokens_NT))


@pytest.mark.parametrize("name, scan_layers", [*((n, True) for n in DIRECTORIES), ("tiny_qwen3", False)])
def test_golden_logits(name, scan_layers):
  golden = np.load(GOLDENS / f"{name}.npz")
  cfg, params = load_hf(DIRECTORIES[name])
  cfg = dataclasses.replace(cfg, scan_layers=scan_layers)
  ours = our_logits(params, cfg, golden["tokens_NT"])
  assert ours.shape == golden["logits_NTV"].shape
  assert np.max(np.abs(ours - golden["logits_NTV"])) <= TOLERANCE


@pytest.mark.slow
def test_golden_smollm2():
  try:
    resolve_model_path("smollm2-135m")
  except ValueError as error:
    pytest.skip(f"{NAMES['smollm2-135m']}: {error}")
  cfg, params, _ = load_any("smollm2-135m")
  golden = np.load(GOLDENS / "smollm2_135m.npz")
  prompts = sum(key.startswith("tokens_") for key in golden)
  assert prompts == 3
  for i in range(prompts):
    last = our_logits(params, cfg, golden[f"tokens_{i}"][None])[0, -4:]
    assert np.max(np.abs(last[:, golden["ids"]] - golden[f"logits_{i}"])) <= TOLERANCE
    logsumexp = np.log(np.sum(np.exp(last.astype(np.float64)), -1))
    assert np.max(np.abs(logsumexp - golden[f"logsumexp_{i}"])) <= TOLERANCE


@pytest.mark.parametrize("family", LIVE)
def test_transformers_loads_what_we_save(family, tmp_path):
  torch = pytest.importorskip("torch", reason="live parity needs torch; the golden arrays do not")
  import transformers

  sizes = dict(vocab_size=48, num_layers=2, width=32, ffn_width=40, num_heads=4, num_kv_heads=2, head_width=8)
  cfg = ModelConfig(**(sizes | LIVE[family]), rope_theta=300.0, norm_epsilon=1e-6)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda shape: rng.normal(0, 0.3, shape).astype(np.float32), param_shapes(cfg),
    is_leaf=lambda x: isinstance(x, tuple))
  path = save_hf(tmp_path / family, cfg, params)
  model, report = transformers.AutoModelForCausalLM.from_pretrained(
    path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
  assert not report["missing_keys"] and not report["unexpected_keys"]
  tokens_NT = rng.integers(0, cfg.vocab_size, (2, 12), dtype=np.int32)
  with torch.no_grad():
    theirs = model.eval()(torch.as_tensor(tokens_NT, dtype=torch.long)).logits.numpy()
  assert np.max(np.abs(our_logits(params, cfg, tokens_NT) - theirs)) <= TOLERANCE

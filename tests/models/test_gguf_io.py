"""GGUF import: the parameters that were written, q and k rows back in order, tokenizer and chat template."""

import gguf
import jax
import numpy as np
import pytest

from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.models.gguf_io import load_gguf, unpermute
from grpo_jax.models.hf_io import places, special_ids
from grpo_jax.models.hf_names import GGUF
from grpo_jax.models.load import load_any, resolve_model_path
from grpo_jax.tools import convert

SIZES = dict(vocab_size=24, num_layers=3, width=16, ffn_width=20, num_heads=4, num_kv_heads=2, head_width=4)
CONFIGS = {
  "llama": ModelConfig(**SIZES),
  "llama_untied": ModelConfig(**SIZES, tie_embeddings=False, rope_theta=500000.0, max_positions=99),
  "qwen2": ModelConfig(**SIZES, attention_bias=True, norm_epsilon=1e-6),
  "qwen3": ModelConfig(**(SIZES | {"head_width": 8}), qk_norm=True, tie_embeddings=False),
}
WORDS = ["<|end|>", "a", "b", "1", "2", "Ġ", "ab", "Ġab", "x"]


def random_params(cfg, seed=0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda shape: rng.normal(size=shape).astype(np.float32), param_shapes(cfg),
    is_leaf=lambda x: isinstance(x, tuple))


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert jax.tree.map(lambda x: x.dtype, a) == jax.tree.map(lambda x: x.dtype, b)


def permute(rows, heads):
  """What llama.cpp's converter does to q and k: halves side by side → interleaved."""
  return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def write_gguf(file, cfg, params, arch="llama", pre="smollm", **extra):
  writer = gguf.GGUFWriter(file, arch)
  writer.add_block_count(cfg.num_layers)
  writer.add_context_length(cfg.max_positions)
  writer.add_embedding_length(cfg.width)
  writer.add_feed_forward_length(cfg.ffn_width)
  writer.add_head_count(cfg.num_heads)
  writer.add_head_count_kv(cfg.num_kv_heads)
  writer.add_key_length(cfg.head_width)
  writer.add_rope_freq_base(cfg.rope_theta)
  writer.add_layer_norm_rms_eps(cfg.norm_epsilon)
  for key, value in extra.items():
    writer.add_string(f"{arch}.{key.replace('__', '.')}", value)
  writer.add_tokenizer_model("gpt2")
  writer.add_tokenizer_pre(pre)
  unused = [f"<unused{i}>" for i in range(cfg.vocab_size - len(WORDS))]
  writer.add_token_list(WORDS + unused)
  kinds = [gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(WORDS) - 1)
  writer.add_token_types(kinds + [gguf.TokenType.UNUSED] * len(unused))
  writer.add_token_merges(["a b", "Ġ ab"])
  writer.add_eos_token_id(0)
  writer.add_chat_template("{{ messages[0]['content'] }}")
  heads = {"q": cfg.num_heads, "k": cfg.num_kv_heads}
  for name, (path, layer, transposed, _) in places(cfg, GGUF).items():
    tensor = params[path[0]] if layer is None else params["layers"][path[1]][layer]
    tensor = np.ascontiguousarray(tensor.T if transposed else tensor)
    if arch == "llama" and path[-1] in heads:
      tensor = permute(tensor, heads[path[-1]])
    writer.add_tensor(name, tensor)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return file


@pytest.mark.parametrize("name", CONFIGS)
def test_gguf_loads_the_same_parameters(name, tmp_path):
  cfg, params = CONFIGS[name], random_params(CONFIGS[name])
  arch = name.split("_")[0]
  file = write_gguf(tmp_path / "tiny.gguf", cfg, params, arch, pre="smollm" if arch == "llama" else "qwen2")
  loaded_cfg, loaded, tokenizer = load_any(file)
  assert loaded_cfg == cfg
  assert_same(loaded, params)
  assert tokenizer.convert_ids_to_tokens(tokenizer("ab 12 ab<|end|>").input_ids) == [
    "ab", "Ġ", "1", "2", "Ġab", "<|end|>"]
  assert (tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, None)
  assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_unpermute_by_hand():
  rows = np.array([0, 10, 1, 11, 2, 12, 3, 13])[:, None]  # two heads of width 4, halves interleaved
  assert unpermute(rows, 2)[:, 0].tolist() == [0, 1, 10, 11, 2, 3, 12, 13]


@pytest.mark.parametrize("change, words", [
  ({"pre": "tekken"}, "'tekken' is not supported; known are smollm, qwen2"),
  ({"arch": "gemma3"}, "'gemma3' is not supported; known are llama, qwen2, qwen3"),
  ({"rope__scaling__type": "yarn"}, "rope.scaling.type = 'yarn'"),
])
def test_gguf_refuses_by_name(change, words, tmp_path):
  cfg = CONFIGS["llama"]
  with pytest.raises(ValueError, match=words):
    load_gguf(write_gguf(tmp_path / "tiny.gguf", cfg, random_params(cfg), **change))


@pytest.mark.slow
def test_smollm2_from_gguf(tmp_path):
  try:
    resolve_model_path("smollm2-135m")
  except ValueError as error:
    pytest.skip(str(error))
  cfg, params, tokenizer = load_any("smollm2-135m")
  assert (cfg.num_layers, cfg.width, cfg.vocab_size) == (30, 576, 49152)
  assert (cfg.num_heads, cfg.num_kv_heads) == (9, 3)
  assert (cfg.rope_theta, cfg.norm_epsilon, cfg.tie_embeddings) == (100000.0, 1e-5, True)
  assert convert.main(["--source", "smollm2-135m", "--target", str(tmp_path / "hf")]) == 0
  again_cfg, again, again_tokenizer = load_any(tmp_path / "hf")
  assert again_cfg == cfg
  assert_same(again, params)
  text = "Hello  world! 2024 + 15 = 2039.\n\n\tdef f(x): return x, naïve 日本 ½"
  for each in (tokenizer, again_tokenizer):
    ids = each(text).input_ids
    assert each.decode(ids) == text
    assert [t for t in each.convert_ids_to_tokens(ids) if t.strip("Ġ").isdigit()] == list("2024152039")
    assert each("<|im_start|><|im_end|>").input_ids == [1, 2] == [each.bos_token_id, each.eos_token_id]
    assert each.decode([1, 19, 2], skip_special_tokens=True) == each.decode([19])
    messages = [{"role": "user", "content": "Hi"}]
    chat = each.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
  assert special_ids(tmp_path / "hf") == (1, (2,))

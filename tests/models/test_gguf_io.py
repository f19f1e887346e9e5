"""GGUF import: the parameters that were written, q and k rows back in order, tokenizer and chat template."""

import dataclasses

import gguf
import jax
import numpy as np
import pytest
from families import CONFIGS, assert_same, random_params

from grpo_jax.models.gguf_io import load_gguf, unpermute
from grpo_jax.models.gguf_tokenizer import gguf_tokenizer, sentencepiece_merges
from grpo_jax.models.hf_config import to_hf
from grpo_jax.models.hf_io import load_hf, save_hf
from grpo_jax.models.hf_names import GGUF
from grpo_jax.models.load import load_any, resolve_model_path
from grpo_jax.models.rope import RopeScaling, rope_frequencies
from grpo_jax.models.tensors import places
from grpo_jax.text.special import special_ids
from grpo_jax.text.tokenizer import load_tokenizer, wrap_tokenizer
from grpo_jax.tools import convert

WORDS = ["<|end|>", "a", "b", "1", "2", "Ġ", "ab", "Ġab", "x"]
ARCHITECTURES = {"gemma3_text": "gemma3"}  # model_type → GGUF architecture, where they differ


def permute(rows, heads):
  """What llama.cpp's converter does to q and k: halves side by side → interleaved."""
  return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def write_gguf(file, cfg, params, arch="llama", pre="smollm", tensors=(), **extra):
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
  if max(cfg.windows):
    writer.add_sliding_window(max(cfg.windows))
  if cfg.attention_cap:
    writer.add_attn_logit_softcapping(cfg.attention_cap)
  if cfg.logit_cap:
    writer.add_final_logit_softcapping(cfg.logit_cap)
  for key, value in extra.items():
    (writer.add_string if isinstance(value, str) else writer.add_float32)(f"{arch}.{key.replace('__', '.')}", value)
  writer.add_tokenizer_model("gpt2")
  writer.add_tokenizer_pre(pre)
  unused = [f"<unused{i}>" for i in range(cfg.vocab_size - len(WORDS))]
  writer.add_token_list(WORDS + unused)
  kinds = [gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(WORDS) - 1)
  writer.add_token_types(kinds + [gguf.TokenType.UNUSED] * len(unused))
  writer.add_token_merges(["a b", "Ġ ab"])
  writer.add_eos_token_id(0)
  writer.add_eot_token_id(8)
  writer.add_chat_template("{{ messages[0]['content'] }}")
  heads = {"q": cfg.num_heads, "k": cfg.num_kv_heads}
  for name, (path, layer, transposed, *_) in places(cfg, GGUF).items():
    tensor = params[path[0]] if layer is None else params["layers"][path[1]][layer]
    tensor = np.ascontiguousarray(tensor.T if transposed else tensor)
    if arch == "llama" and path[-1] in heads:
      tensor = permute(tensor, heads[path[-1]])
    writer.add_tensor(name, tensor + np.float32(1) if cfg.norm_offset and path[-1].endswith("norm") else tensor)
  for name, tensor in tensors:
    writer.add_tensor(name, tensor)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return file


def quarters(params):
  """Norm weights rounded to 1/4, so that adding 1 and taking it off again is exact."""
  def rounded(path, leaf):
    return np.round(4 * leaf) / 4 if path[-1].key.endswith("norm") else leaf

  return jax.tree_util.tree_map_with_path(rounded, params)


def stored(name):
  """A config as a GGUF file can say it, its parameters, and what the file holds beside them."""
  cfg, params, extra = CONFIGS[name], random_params(CONFIGS[name]), {}
  if cfg.norm_offset:  # in the file 1 is added to norms
    params = quarters(params)
  if name.startswith("gemma"):
    cfg = dataclasses.replace(
      cfg, query_scalar=None, layer_windows=(3, 0, 3) if name == "gemma2" else (3, 3, 3),
      window_rope_theta=cfg.window_rope_theta and 10000.0)
  if cfg.rope_scaling is not None and cfg.rope_scaling.kind == "linear":
    extra = {"rope__scaling__type": "linear", "rope__scaling__factor": cfg.rope_scaling.factor}
  return cfg, params, extra


@pytest.mark.parametrize("name", ["llama", "llama_untied", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_gguf_loads_the_same_parameters(name, tmp_path):
  cfg, params, extra = stored(name)
  arch = name.split("_")[0]
  pre = "smollm" if arch == "llama" else "qwen2"
  loaded_cfg, loaded, tokenizer = load_any(write_gguf(tmp_path / "tiny.gguf", cfg, params, arch, pre, **extra))
  assert loaded_cfg == cfg
  assert_same(loaded, params)
  assert tokenizer.convert_ids_to_tokens(tokenizer("ab 12 ab<|end|>").input_ids) == [
    "ab", "Ġ", "1", "2", "Ġab", "<|end|>"]
  assert (tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, None)
  assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_stop_ids_and_chat_template_of_a_gguf_survive_conversion(tmp_path):
  cfg, params, _ = stored("llama")
  _, _, backend = load_any(write_gguf(tmp_path / "tiny.gguf", cfg, params))
  assert wrap_tokenizer(backend).stop_ids == (0, 8)  # end of text, end of turn
  path = save_hf(tmp_path / "hf", cfg, params, tokenizer=backend)
  assert special_ids(path) == (None, (0, 8))
  again = load_tokenizer(path)
  assert again.stop_ids == (0, 8)
  assert again.encode_prompt([{"role": "user", "content": "ab 1"}]) == [6, 5, 3]


def test_gguf_of_llama3_says_its_rope_scaling_as_divisors(tmp_path):
  scaling = RopeScaling(
    "llama3", 32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
  cfg = dataclasses.replace(CONFIGS["llama"], rope_theta=5e5, rope_scaling=scaling, head_width=8)
  params = random_params(cfg)
  plain, scaled = (rope_frequencies(5e5, s, 8, np.float64)[0] for s in (None, scaling))
  divisors = (plain / scaled).astype(np.float32)
  assert divisors[0] == 1 < divisors[2] < divisors[3] == 32
  file = write_gguf(tmp_path / "tiny.gguf", cfg, params, tensors=[("rope_freqs.weight", divisors)])
  loaded_cfg, loaded, _ = load_any(file)
  assert loaded_cfg == cfg
  assert_same(loaded, params)
  write_gguf(file, cfg, params, tensors=[("rope_freqs.weight", divisors[::-1].copy())])
  with pytest.raises(ValueError, match=r"rope_freqs\.weight is not the frequency scaling of Llama"):
    load_any(file)


SPM = {  # token, score, kind; a vocabulary as SentencePiece writes it
  "<unk>": (0, 2), "<bos>": (0, 3), "<turn>": (0, 3), "  ": (-1000, 4), "<0xC3>": (0, 6), "<0xA9>": (0, 6),
  "▁": (-9, 1), "a": (-9, 1), "b": (-9, 1), "c": (-9, 1), "ab": (-2, 1), "bc": (-1, 1), "abc": (-3, 1), "▁a": (-4, 1),
}


def spm_tokenizer(**changes):
  tokens = list(SPM)
  metadata = {
    "general.architecture": "gemma3", "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.scores": [float(score) for score, _ in SPM.values()],
    "tokenizer.ggml.token_type": [kind for _, kind in SPM.values()],
    "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.add_space_prefix": False}
  return gguf_tokenizer(metadata | {f"tokenizer.ggml.{key}": value for key, value in changes.items()})


@pytest.mark.parametrize("text, tokens", [
  ("abc", ["abc"]),  # bc first, then a and bc
  ("ab bc", ["ab", "▁", "bc"]),
  (" ab", ["▁", "ab"]),  # ab has the better score than ▁a
  ("c  a", ["c", "▁▁", "a"]),  # two spaces are one token, stored as they look
  ("é", ["<0xC3>", "<0xA9>"]),
  ("a<turn>b", ["a", "<turn>", "b"]),
])
def test_sentencepiece_vocabularies(text, tokens):
  tokenizer = spm_tokenizer()
  assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == ["<bos>", *tokens]
  assert tokenizer.decode(tokenizer(text).input_ids[1:]) == text


def test_sentencepiece_with_a_space_before_the_first_word():
  tokenizer = spm_tokenizer(add_space_prefix=True)
  assert tokenizer.convert_ids_to_tokens(tokenizer("a b").input_ids) == ["<bos>", "▁a", "▁", "b"]
  assert tokenizer.decode(tokenizer("a b").input_ids, skip_special_tokens=True) == "a b"


def test_sentencepiece_merges_by_hand():
  merges = sentencepiece_merges(["a", "b", "ab", "ba", "aba"], [-5.0, -6.0, -1.0, -2.0, -3.0])
  assert merges == [("a", "b"), ("b", "a"), ("ab", "a"), ("a", "ba")]


def test_unpermute_by_hand():
  rows = np.array([0, 10, 1, 11, 2, 12, 3, 13])[:, None]  # two heads of width 4, halves interleaved
  assert unpermute(rows, 2)[:, 0].tolist() == [0, 1, 10, 11, 2, 3, 12, 13]


@pytest.mark.parametrize("change, words", [
  ({"pre": "tekken"}, "'tekken' is not supported; known are smollm, qwen2"),
  ({"arch": "gemma4"}, "'gemma4' is not supported; known are llama, qwen2, qwen3, gemma2, gemma3"),
  ({"rope__scaling__type": "yarn"}, "rope.scaling.type = 'yarn'"),
  ({"rope__scaling__type": "linear"}, "lacks llama.rope.scaling.factor"),
  ({"attention__sliding_window": 8.0}, "attention.sliding_window = 8.0"),
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


@pytest.mark.slow
def test_gemma3_from_gguf(tmp_path):
  try:
    resolve_model_path("gemma3-270m")
  except ValueError as error:
    pytest.skip(str(error))
  cfg, params, tokenizer = load_any("gemma3-270m")
  assert (cfg.num_layers, cfg.width, cfg.vocab_size, cfg.num_heads, cfg.num_kv_heads) == (18, 640, 262144, 4, 1)
  assert cfg.layer_windows == ((512,) * 5 + (0,)) * 3
  assert (cfg.rope_of(0), cfg.rope_of(512)) == ((1e6, None), (1e4, None))
  again_cfg, again = load_hf(save_hf(tmp_path / "hf", cfg, params, tokenizer=tokenizer))
  assert again_cfg == cfg and to_hf(cfg)["model_type"] == "gemma3_text"
  assert_same(again, params)
  again_tokenizer = load_tokenizer(tmp_path / "hf")
  assert again_tokenizer.stop_ids == (1,)
  text = "Hello  world! 2024 + 15 = 2039.\n\n\tdef f(x): return x, naïve 日本 ½"
  for each in (tokenizer, again_tokenizer.backend):
    ids = each(text).input_ids
    assert ids[:5] == [2, 9259, 138, 12392, 236888] and each.decode(ids[1:]) == text
    assert each("<start_of_turn>user\nHi<end_of_turn>").input_ids == [2, 105, 2364, 107, 10979, 106]

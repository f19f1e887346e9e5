"""Named benchmarks are whole configs, and an unknown name lists the known ones."""

import json

import numpy as np
import pytest

from grpo_jax.config.defaults import default_config
from grpo_jax.data.sources import make_source
from grpo_jax.evaluation.benchmarks import DATA_VARIABLE, benchmark
from grpo_jax.evaluation.problems import Heldout
from grpo_jax.runs.evaluate import configured
from grpo_jax.types import Prompts


@pytest.fixture
def files(tmp_path, monkeypatch):
  """Stand-ins for the official files, in their format."""
  folder = tmp_path / "gsm8k"
  folder.mkdir()
  for name, rows in (("train", range(10, 20)), ("test", range(5))):
    lines = [json.dumps({"question": f"What is {i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"}) for i in rows]
    (folder / f"{name}.jsonl").write_text("\n".join(lines))
  monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))


@pytest.mark.parametrize("name", ["gsm8k", "gsm8k_chat", "reasoning_gym/chain_sum"])
def test_a_benchmark_is_a_config_with_problems(name, files):
  config = default_config()
  config.task, config.model.path = "eval", "somewhere"
  made = configured(config, name)
  source = make_source(made.data.to_dict(), "heldout")
  assert len(source) >= 5
  prompt = source[0].prompt
  if name == "gsm8k":
    assert prompt.count("####") == 4 and prompt.endswith("Answer:") and source[0].answer == "1"
  elif name == "gsm8k_chat":
    assert prompt[0]["content"].startswith("What is 0 + 1?")
  else:
    assert source[0].source == "chain_sum" and prompt.count("Question:") == 4


def test_unknown_names_and_missing_files_are_told(monkeypatch, tmp_path):
  with pytest.raises(ValueError, match=r"'gsm9k'; known are gsm8k, .*reasoning_gym/TASK"):
    benchmark("gsm9k")
  with pytest.raises(ValueError, match=r"known are"):
    benchmark("reasoning_gym/coin_flip")  # its scorer rewards a constant
  monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
  with pytest.raises(ValueError, match=r"gsm8k/train\.jsonl is not there"):
    benchmark("gsm8k")


def test_held_out_prompts_are_padded_no_more_than_they_need():
  tokens = np.arange(2 * 200).reshape(2, 200).astype(np.int32)
  mask = np.arange(200)[None] >= np.array([[120], [150]])
  short = Heldout([], Prompts(tokens, mask, np.arange(2)), (), 0).trimmed()
  assert short.prompts.tokens_BP.shape == (2, 128)
  np.testing.assert_array_equal(short.prompts.tokens_BP[short.prompts.mask_BP], tokens[mask])

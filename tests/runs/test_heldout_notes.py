"""What a run finds out about its held-out problems first: over-long ones, and ones that training has seen."""

import json

import pytest

from grpo_jax.config.defaults import default_config
from grpo_jax.data.order import Stream
from grpo_jax.data.sources import make_source
from grpo_jax.evaluation.problems import Heldout
from grpo_jax.runs.contamination import heldout_notes
from grpo_jax.runs.setup import draw_heldout
from grpo_jax.text.tokenizer import character_tokenizer


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
  """Ten training and eight held-out problems behind a template and a shot; one of each is the same, two are long."""
  folder = tmp_path_factory.mktemp("planted")
  train = [f"{i} + {i}" for i in range(10)]
  heldout = [*(f"{i} + {i + 1}" for i in range(5)), " 7+7.", "1" * 90, "2" * 90]
  for name, prompts in (("train", train), ("heldout", heldout)):
    rows = (json.dumps({"prompt": prompt, "answer": "0"}) + "\n" for prompt in prompts)
    (folder / f"{name}.jsonl").write_text("".join(rows))
  config = {"kind": "jsonl", "path": str(folder / "train.jsonl"), "heldout_path": str(folder / "heldout.jsonl"),
            "prompt_template": "Q: {prompt} A:", "shots": 1}
  stream = Stream(make_source(config, "heldout"), seed=0)
  tokenizer = character_tokenizer("0123456789+.QA: \n")
  return make_source(config, "train"), stream, Heldout.draw(stream, tokenizer, 60, 6)


def test_over_long_problems_are_counted_once_and_positions_name_the_others(parts):
  _, stream, heldout = parts
  seen = [stream[position] for position in heldout.positions]
  assert seen == heldout.examples and heldout.positions == tuple(sorted(set(heldout.positions)))
  assert heldout.dropped == sum(len(stream[p].prompt) > 60 for p in range(heldout.positions[-1]))


def test_a_duplicate_behind_a_template_is_refused_and_both_are_named(parts):
  with pytest.raises(ValueError) as error:
    heldout_notes("refuse", *parts)
  message = str(error.value)
  assert "1 held-out problems are training problems too" in message
  assert "held-out ' 7+7.' (heldout) is training '7 + 7' (train)" in message
  assert "contamination='refuse'" in message and "'warn'" in message


def test_warn_counts_and_off_does_not_look(parts, capsys):
  notes = heldout_notes("warn", *parts)
  assert notes == {"heldout/dropped": parts[2].dropped, "heldout/in_training": 1, "heldout/shares_words": 0}
  assert "WARNING contamination='warn': 1 held-out" in capsys.readouterr().out
  assert heldout_notes("off", *parts) == {"heldout/dropped": parts[2].dropped}


def test_a_small_data_set_is_evaluated_whole_which_one_line_says(tmp_path, capsys):
  rows = ({"question": f"{i} + {i}", "answer": str(2 * i)} for i in range(200))
  (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  config = default_config()
  config.data = {"kind": "jsonl", "path": str(tmp_path / "own.jsonl"), "heldout_fraction": 0.1,
                 "fields": {"prompt": "question", "answer": "answer"}}
  tokenizer = character_tokenizer("0123456789+ ")
  heldout, _ = draw_heldout(config, tokenizer)
  n = len(make_source(config.data.to_dict(), "heldout"))
  assert 10 < n < 40 and len(heldout.examples) == n and heldout.prompts.tokens_BP.shape == (n, 64)
  assert heldout.prompts.uids_B.tolist() == list(range(n))
  line = f"held-out: all {n} problems that fit are evaluated (evaluate.problems=512 is the most)\n"
  assert capsys.readouterr().out == line
  config.evaluate.problems = 5
  assert draw_heldout(config, tokenizer)[0].examples == heldout.examples[:5] and not capsys.readouterr().out
  config.prompt_buckets = (2,)
  with pytest.raises(ValueError, match=r"prompt_buckets=2 leaves none of the \d+ held-out"):
    draw_heldout(config, tokenizer)

"""One mechanism puts the problems of every source to the model: text, chat, worked examples."""

import json
import pathlib

import pytest

from grpo_jax.data.sources import bare, make_source

SAMPLE = pathlib.Path(__file__).parent.parent / "data" / "gsm8k_sample.jsonl"
GSM8K = {"kind": "jsonl", "path": str(SAMPLE), "fields": {"prompt": "question"}, "answer_after": "####",
         "heldout_fraction": 0.3}
ASK = "Question: {prompt}\nAnswer:"


def prompts(source):
  return [source[i].prompt for i in range(len(source))]


def test_chat_by_hand(tmp_path):
  path = tmp_path / "x.jsonl"
  path.write_text(json.dumps({"prompt": "1+{prompt}?", "answer": "2"}) + "\n")
  config = {"kind": "jsonl", "path": str(path), "chat_template": {"user": "Q: {prompt} {x}", "system": "Be brief."}}
  shots = [{"prompt": "2+2?", "solution": " 4\n"}]
  system, asked = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q: 1+{prompt}? {x}"}
  assert make_source(config, "train")[0].prompt == (system, asked)
  turns = ({"role": "user", "content": "Q: 2+2? {x}"}, {"role": "assistant", "content": "4"})
  assert make_source({**config, "shots": shots}, "train")[0].prompt == (system, *turns, asked)
  config = {"kind": "jsonl", "path": str(path), "prompt_template": "<{prompt}>", "shots": shots}
  assert make_source(config, "train")[0].prompt == "<2+2?> 4\n\n<1+{prompt}?>"
  assert make_source({**config, "shot_template": "{prompt}{solution};"}, "train")[0].prompt == "<2+2?>4;<1+{prompt}?>"


def test_four_shots_of_the_training_split_and_never_the_problem_itself():
  problems = {split: make_source(GSM8K, split) for split in ("train", "heldout")}
  solutions = {e.prompt: e.solution for e in map(problems["train"].__getitem__, range(len(problems["train"])))}
  shown = set()
  for split in ("train", "heldout"):
    source = make_source({**GSM8K, "prompt_template": ASK, "shots": 4}, split)
    for i in range(len(source)):
      *shots, last = source[i].prompt.split("Question: ")[1:]
      problem = problems[split][i].prompt
      assert last == f"{problem}\nAnswer:" and len(shots) == 4
      assert shots == [f"{q}\nAnswer: {solutions[q]}\n\n" for q in (shot.split("\nAnswer:")[0] for shot in shots)]
      assert not any(shot.startswith(problem) for shot in shots)
      shown |= {shot.split("\nAnswer:")[0] for shot in shots}
    assert source[0].answer == problems[split][0].answer and prompts(bare(source)) == prompts(problems[split])
  assert len(shown) == 5  # four, and the one that stands in for a shot that is itself asked


def test_every_kind_takes_them_and_a_mixture_passes_them_on(tmp_path):
  columns = {"kind": "columns", "data_dir": str(tmp_path), "train_size": 30, "heldout_size": 5, "slip": 1.0}
  config = {"kind": "mixture", "sources": {"a": columns, "b": GSM8K}, "weights": {"a": 1, "b": 1}, "shots": 1,
            "chat_template": {"user": "{prompt}"}}
  mixture = make_source(config, "heldout")
  first, last = mixture[0].prompt, mixture[len(mixture) - 1].prompt
  assert [m["role"] for m in first] == [m["role"] for m in last] == ["user", "assistant", "user"]
  assert eval(first[0]["content"].rstrip("=")) == int(first[1]["content"].split("]")[1])  # right, where teachers slip
  assert "####" in last[1]["content"]


@pytest.mark.parametrize("options, words", [
  ({"chat_template": {"system": "x"}}, "must have user, may have system, nothing else"),
  ({"chat_template": {"user": "x"}}, "chat_template.user='x' must contain {prompt}"),
  ({"chat_template": {"user": "{prompt}"}, "prompt_template": ASK}, "must be '' with a chat_template"),
  ({"shots": -1}, "shots=-1 must not be negative"),
  ({"shots": 100}, "shots=100 must be fewer than the distinct training problems, of which there are"),
  ({"shots": [{"prompt": "x"}]}, "must each have prompt and solution"),
  ({"shots": 1, "shot_template": "{prompt}"}, "shot_template='{prompt}' must contain {solution}"),
])
def test_templates_that_cannot_work(options, words):
  with pytest.raises(ValueError) as error:
    make_source({**GSM8K, **options}, "train")
  assert words in str(error.value)


def test_a_template_refuses_prompts_that_are_messages_already(tmp_path):
  path = tmp_path / "x.jsonl"
  path.write_text(json.dumps({"prompt": [{"role": "user", "content": "?"}], "answer": "2"}) + "\n")
  with pytest.raises(ValueError, match="is chat messages already, must be text"):
    make_source({"kind": "jsonl", "path": str(path), "prompt_template": ASK}, "train")

"""Samples on the terminal are text that a person reads."""

import json

from grpo_jax.config.defaults import default_config
from grpo_jax.runs.printed import COMPLETION_CHARACTERS, PROMPT_CHARACTERS, printable, sample_text
from grpo_jax.runs.report import write_report

CHAT = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is\n3 + 4?"})


def test_chat_messages_scores_and_gold_answer_are_rendered_over_several_lines():
  text = sample_text(CHAT, "3 + 4 = 7\nSo \\boxed{7}", "7", {"correct": 1.0, "short": 0.25}, right=True, length=12,
                     truncated=False)
  assert text == """\
    right (correct 1, short 0.25; 12 tokens)
      prompt:      system: Be brief.
                   user: What is
                   3 + 4?
      completion:  3 + 4 = 7
                   So \\boxed{7}
      gold answer: 7"""


def test_the_end_of_a_long_prompt_and_both_ends_of_a_long_completion_are_shown():
  prompt = "x" * 1000 + "the question?"
  completion = "begins" + "y" * 5000 + "ends"
  text = sample_text(prompt, completion, "", {"correct": 0.0}, right=False, length=99, truncated=True)
  assert "the question?" in text and "begins" in text and text.endswith("ends")
  assert f"[… {1013 - PROMPT_CHARACTERS:,} characters]" in text and "wrong (correct 0; 99 tokens, cut)" in text
  assert f"[… {5010 - COMPLETION_CHARACTERS:,} characters …]" in text and "gold answer" not in text
  assert "(empty)" in sample_text("p", "", "7", {}, right=False, length=1, truncated=False)


def test_a_completion_cannot_steer_the_terminal():
  text = printable("a\x1b[2J\r\x00‮\ud800é漢\n\tb")
  assert text == "a\\x1b[2J\\r\\x00\\u202e\\ud800é漢\n\tb"
  text.encode()


def test_the_last_lines_of_a_run_name_the_files_that_it_made(tmp_path, capsys):
  stage = tmp_path / "rl"
  (stage / "checkpoints" / "2").mkdir(parents=True)
  row = {"problems": 4, "greedy": 0.5, "length": 3.0}
  (stage / "metrics.jsonl").write_text("".join(json.dumps({"step": s, "kind": "eval", **row}) + "\n" for s in (0, 2)))
  (tmp_path / "config.json").write_text(json.dumps({"config": default_config().to_dict(), "identity": {}}))
  write_report(tmp_path, default_config())
  lines = capsys.readouterr().out.splitlines()
  named = [line.split()[0] for line in lines[lines.index("files:") + 1 : -1]]
  made = ("report.html", "learning_curve.png", "summary.json", "rl/metrics.jsonl", "rl/checkpoints")
  assert named == [str(tmp_path / name) for name in made] and lines[-1] == f"run is done: {tmp_path}"

"""Samples on the terminal are text that a person reads."""

from grpo_jax.runs.printed import COMPLETION_CHARACTERS, PROMPT_CHARACTERS, printable, sample_text

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

"""The README is true: its files exist, the path of one prompt is short, its commands name what is there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def path_files():
  section = README.split("## The path of one prompt")[1].split("\n## ")[0]
  return re.findall(r"^\| \d+ \| `([\w/.]+)`", section, re.MULTILINE)


def test_the_path_of_one_prompt_is_at_most_900_lines():
  files = path_files()
  assert len(files) >= 10
  lines = {name: len((ROOT / name).read_text().splitlines()) for name in files}
  assert sum(lines.values()) <= 900, lines


def test_the_path_has_every_station_from_prompts_to_checkpoint():
  names = " ".join(path_files())
  for station in ("runs/rl.py", "prompts", "generate", "decoder", "rewards", "logps", "advantages", "kl", "surrogates",
                  "reductions", "policy_loss", "policy_step", "checkpoint"):
    assert station in names


def test_files_and_configs_named_in_the_readme_exist():
  for name in re.findall(r"`?((?:configs|docs|grpo_jax|benchmarks)/[\w/.]+\.(?:py|md))", README):
    assert (ROOT / name).exists(), name


def test_make_targets_of_the_readme_exist():
  targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
  assert set(re.findall(r"\bmake (\w+)", README)) - {"it"} <= targets

"""docs/extending.md: each addition is a diff of at most three files, and applies."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
DIFFS = dict(re.findall(r"^## (.*?)\n.*?```diff\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_has_three_additions():
  assert len(DIFFS) == 3 and PAGE.count("```diff") == 3


@pytest.mark.parametrize("name", DIFFS)
def test_an_addition_touches_three_files_at_most_and_applies(name, tmp_path):
  files = re.findall(r"^\+\+\+ b/(.*)$", DIFFS[name], re.MULTILINE)
  assert 1 <= len(files) <= 3
  for file in files:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes((ROOT / file).read_bytes())
  (tmp_path / "change.diff").write_text(DIFFS[name])
  done = subprocess.run(["git", "apply", "change.diff"], cwd=tmp_path, capture_output=True, text=True)
  assert done.returncode == 0, f"docs/extending.md, {name}: {done.stderr}"
  for file in files:
    source = (tmp_path / file).read_text()
    assert source != (ROOT / file).read_text()
    compile(source, file, "exec")

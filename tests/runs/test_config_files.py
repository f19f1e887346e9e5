"""Config files that are missing, fail or return something else: one sentence, and a traceback of the user's code."""

import pytest
from absl import flags

from grpo_jax.main import parse
from grpo_jax.sweeps.spec import load

SCHEMA = "from grpo_jax.config.defaults import default_config\n\n\ndef get_config():\n  c = default_config()\n"
MISTAKES = {  # text of the file → what is said, and whether the traceback of the file's own code follows
  "empty": ("", "has no function get_config", False),
  "other name": ("def config():\n  pass\n", "no function get_config", False),
  "a number": ("get_config = 3\n", "get_config must be a function", False),
  "two arguments": ("def get_config(a, b):\n  pass\n", "get_config must be a function", False),
  "syntax": ("def get_config(:\n", "mine.py line 1 is not Python (invalid syntax)", False),
  "indent": ("def get_config():\n  a = 1\n   b = 2\n", "mine.py line 3 is not Python", False),
  "binary": ("a\0b", "is a binary file", False),
  "returns nothing": ("def get_config():\n  pass\n", "returns None", False),
  "returns a dict": ("def get_config():\n  return {'a': 1}\n", "returns {'a': 1}, must return a config", False),
  "returns a text": ("def get_config():\n  return 'x'\n", "must return a config", False),
  "returns another config": (
    "import ml_collections as m\ndef get_config():\n  return m.ConfigDict({'a': 1})\n", "config without", False),
  "a section is a number": (
    SCHEMA + "  with c.unlocked():\n    del c.train\n    c.train = 3\n  return c\n",
    "train=3 must be a section", False),
  "a value of another type": (
    SCHEMA + "  c.train.iterations = 'many'\n  return c\n", "mine.py line 6: TypeError", False),
  "raises": ("raise RuntimeError('boom')\n", "mine.py line 1: RuntimeError: boom", True),
  "raises inside": ("def get_config():\n  return 1 / 0\n", "mine.py line 2: ZeroDivisionError: division by zero", True),
  "raises ValueError": ("def get_config():\n  return int('x')\n", "mine.py line 2: ValueError: invalid literal", True),
  "raises TypeError": ("def get_config():\n  return 1 + 'x'\n", "mine.py line 2: TypeError: unsupported", True),
  "raises KeyError": ("def get_config():\n  return {}['a']\n", "mine.py line 2: KeyError", True),
  "raises OSError": ("def get_config():\n  open('/nowhere/x')\n", "mine.py line 2: FileNotFoundError", True),
  "raises deep": ("def f():\n  f()\n\n\ndef get_config():\n  f()\n", "mine.py line 2: RecursionError", True),
  "imports what is not there": ("import not_there\n", "mine.py line 1: ModuleNotFoundError", True),
  "names what is not there": ("def get_config():\n  return x\n", "mine.py line 2: NameError", True),
  "asserts": ("def get_config():\n  assert False, 'no'\n", "mine.py line 2: AssertionError: no", True),
}


@pytest.fixture
def said():
  """What a command line ends in."""
  def ended(*argv) -> str:
    with pytest.raises(SystemExit) as caught:
      parse(["main", *map(str, argv)])
    return str(caught.value.code)

  yield ended
  flags.FLAGS.unparse_flags()


@pytest.mark.parametrize("text, words, traced", MISTAKES.values(), ids=MISTAKES)
@pytest.mark.filterwarnings("ignore")
def test_mistakes_of_a_config_file(tmp_path, said, text, words, traced):
  file = tmp_path / "mine.py"
  file.write_text(text)
  sentence, *below = said(f"--config={file}").splitlines()
  assert sentence.startswith("error: ") and words in sentence and "mine.py" in sentence, sentence
  assert bool(below) == traced and (not traced or below[0].startswith("Traceback")), below
  assert not any("absl" in line or "ml_collections" in line for line in below)  # the user's own frames alone


def test_files_that_are_not_there(tmp_path, said):
  assert "nothing.py does not exist; name a Python file" in said("--config", tmp_path / "nothing.py")
  assert "is a folder" in said(f"--config={tmp_path}:tiny")


@pytest.mark.parametrize("text, words, traced", [
  ("def get_sweep():\n  return 1 / 0\n", "mine.py line 2: ZeroDivisionError", True),
  ("def get_sweep(:\n", "mine.py line 1 is not Python", False), ("", "has no get_sweep", False),
  ("get_sweep = 3\n", "get_sweep", False)])
def test_mistakes_of_a_sweep_file(tmp_path, text, words, traced):
  file = tmp_path / "mine.py"
  file.write_text(text)
  with pytest.raises(ValueError) as caught:
    load(str(file), "get_sweep")
  assert words in str(caught.value).splitlines()[0] and ("Traceback" in str(caught.value)) == traced

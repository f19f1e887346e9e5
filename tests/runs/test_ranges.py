"""Every number of the config is held to a range before anything compiles; all mistakes are told at once."""

import math
import subprocess
import sys
import time
from numbers import Real

import pytest

from grpo_jax.algorithms.spec import RANGES as ROW_RANGES, make_spec
from grpo_jax.config.defaults import default_config
from grpo_jax.config.identity import flat
from grpo_jax.config.ranges import RANGES, TEXTS
from grpo_jax.runs.validate import validate

USUAL = flat(default_config().to_dict())
ALL = RANGES | ROW_RANGES
NONSENSE = (math.nan, math.inf, -math.inf, -1, 0, 1e30, 1.5, True, 10**12, "3")


def config(changes=()):
  """A valid config but for the changes, which may be of any type."""
  c = default_config().to_dict()
  c["rewards"]["components"] = {"correct": {"rule": "numeric", "weight": 1.0}}
  c = type(default_config())(c)
  for key, value in dict(changes).items():
    *sections, name = key.split(".")
    section = c
    for part in sections:
      section = section[part]
    with section.ignore_type():
      section[name] = value
  return c


def test_every_number_has_a_range_that_holds_its_default():
  numbers = {key for key, value in USUAL.items() if isinstance(value, Real) and not isinstance(value, bool)}
  lengths = {"prompt_buckets", "completion_buckets", "sampling.group_sizes"}
  assert numbers | lengths == set(RANGES)
  assert {key for key in ROW_RANGES if key not in USUAL} == set()


@pytest.mark.parametrize("key", sorted(ALL))
def test_nonsense_is_one_sentence_or_a_value_in_the_range(key):
  refused = 0
  for value in NONSENSE:
    value = (value,) if key in ("prompt_buckets", "completion_buckets", "sampling.group_sizes") else value
    try:
      validate(config({key: value}))
    except ValueError as error:
      refused += 1
      assert key.split(".")[-1] in str(error) and "\n" not in str(error), error
  assert refused >= 6, "nan, infinities, 1e30, True and a text are never right"


@pytest.mark.parametrize("cells", [
  {"dual_clip": 0.5}, {"epsilon_low": math.nan}, {"beta": -1}, {"kl_horizon": 0}, {"gamma": 1.1}, {"cov_fraction": 2},
  {"sampler_low": 4.0}, {"cov_low": 6.0}, {"pass_k": 1}, {"pass_k": 2.5}, {"ratio_cap": math.inf}, {"mix": -0.1},
])
def test_a_row_refuses_nonsense(cells):
  with pytest.raises(ValueError, match=f"^algorithm.{next(iter(cells))}=.* must be "):
    make_spec("grpo", **cells)


def test_all_mistakes_at_once():
  wrong = {"seed": -1, "optimizer.learning_rate": 1e20, "sampling.group_size": 10**8, "task": "rll",
           "algorithm.beta": math.nan, "mesh.sampler": "no"}
  with pytest.raises(ValueError) as error:
    validate(config(wrong))
  lines = str(error.value).splitlines()
  assert lines[0] == "the config has 6 mistakes:" and len(lines) == 7
  assert all(any(key + "=" in line for line in lines) for key in wrong)


def test_numbers_in_free_parts_are_finite():
  with pytest.raises(ValueError, match=r"rewards\.components\.correct\.weight=nan"):
    validate(config({"rewards.components": {"correct": {"rule": "numeric", "weight": math.nan}}}))


def test_a_misspelt_key_is_answered_without_jax():
  asked = "import sys; sys.argv = ['main', '--config=tests/runs/tiny_run.py', '--config.trian.iterations=3']; " \
          "import grpo_jax.main as m\ntry: m.parse(sys.argv)\nfinally: print('jax' in sys.modules)"
  started = time.perf_counter()
  done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
  assert "'trian' is not a key of the schema" in done.stderr and done.stdout.strip() == "False", done
  assert time.perf_counter() - started < 20  # on an idle machine well below 1


@pytest.mark.parametrize("key", sorted(key for key, value in USUAL.items() if value is not None))
def test_no_value_at_all_is_refused(key):
  with pytest.raises(ValueError, match=rf"(?m)(^|^  \d+\. ){key}=None must have a value; leave it out"):
    validate(config({key: None}))


@pytest.mark.parametrize("key", TEXTS)
def test_lists_of_text_hold_text(key):
  with pytest.raises(ValueError, match=rf"^{key}=\[0\] must be a list of text"):
    validate(config({key: (0,)}))

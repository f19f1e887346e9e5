"""One flipped bit in a run's folder: no reader ever returns other weights than were saved."""

import functools
import pathlib
import random
import shutil

import jax
import numpy as np
import pytest
import tiny_run

from grpo_jax.models.load import load_any
from grpo_jax.runs.claim import claim
from grpo_jax.runs.model import load_run
from grpo_jax.runs.parts import RLParts
from grpo_jax.runs.saved import Saved, read_step
from grpo_jax.runs.setup import make_setup, pretrained
from grpo_jax.tools import convert

FLIPS = 200


def config_of(task: str):
  c = tiny_run.get_config()
  with c.unlocked():
    c.task = task
  return c


@pytest.fixture(scope="module")
def run(tmp_path_factory, one_device):
  """(folder, the state at each of two checkpoints, a fresh state) of a run without SFT."""
  workdir, config = tmp_path_factory.mktemp("flips") / "run", config_of("rl")
  claim(workdir, config)
  fresh = RLParts.of(make_setup(config)).fresh_state()
  states = {}
  saved = Saved(workdir / "rl" / "checkpoints", keep=2)
  saved.warm_up(fresh)
  for step in (2, 4):
    states[step] = jax.tree.map(lambda a: a + np.asarray(step, a.dtype), fresh)  # noqa: B023
    saved.save(step, states[step])
  saved.close()
  return workdir, states, fresh


def resumed(workdir, fresh, _):
  saved = Saved(workdir / "rl" / "checkpoints", keep=2)
  saved.warm_up(fresh)
  step, state = saved.newest(fresh)
  saved.close()
  return step, state.params


def as_model_path(workdir, fresh, _):
  config = config_of("eval")
  config.model.path = str(workdir)
  return 4, pretrained(make_setup(config))


def converted(workdir, fresh, out):
  assert convert.main(["--source", str(workdir), "--target", str(out)]) == 0, "refused"
  return 4, load_any(out)[1]


READERS = {
  "resume": resumed,
  "replay": lambda workdir, fresh, _: (4, read_step(workdir / "rl" / "checkpoints", 4, fresh).params),
  "sample": lambda workdir, fresh, _: (4, load_run(str(workdir)).weights()),
  "model.path and eval": as_model_path,
  "convert": converted,
}


def flipped(file: pathlib.Path, rng: random.Random) -> None:
  raw = bytearray(file.read_bytes())
  raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
  file.write_bytes(raw)


def wrong_loads(run, tmp_path, flips: int, seed: int) -> tuple[list[str], int]:
  """Readers and files of flips after which other weights came back, and how many flips were noticed."""
  workdir, states, fresh = run
  rng, wrong, noticed = random.Random(seed), [], 0
  files = [f.relative_to(workdir) for f in sorted(workdir.rglob("*")) if f.is_file() and f.stat().st_size]
  files = [f for f in files if "/2/" not in str(f)]
  data = [f for f in files if "/d/" in str(f)]
  for i in range(flips):
    name, file = list(READERS)[i % len(READERS)], rng.choice(data if i % 2 else files)
    copy = shutil.copytree(workdir, tmp_path / str(i))
    flipped(copy / file, rng)
    try:
      step, params = READERS[name](copy, fresh, tmp_path / f"{i}.out")
    except (ValueError, AssertionError, OSError):
      noticed += 1
    else:
      same = jax.tree.map(lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)), params, states[step].params)
      noticed += step == 2
      if not jax.tree.all(same):
        wrong.append(f"{name}: {file}")
    shutil.rmtree(copy)
  return wrong, noticed


def test_whole_folders_are_read_alike_by_all(run, tmp_path):
  workdir, states, fresh = run
  for name, reader in READERS.items():
    step, params = reader(workdir, fresh, tmp_path / name)
    jax.tree.map(functools.partial(np.testing.assert_array_equal, err_msg=name), params, states[step].params)


def test_fifteen_flips_give_no_other_weights(run, tmp_path):
  wrong, noticed = wrong_loads(run, tmp_path, 15, seed=1)
  assert not wrong and noticed


def test_a_converted_checkpoint_is_checked_too(run, tmp_path):
  workdir, states, _ = run
  whole, rng = tmp_path / "whole", random.Random(3)
  assert convert.main(["--source", str(workdir), "--target", str(whole), "--to", "checkpoint"]) == 0
  jax.tree.map(np.testing.assert_array_equal, load_any(whole)[1], states[4].params)
  files = [f.relative_to(whole) for f in sorted(whole.rglob("*")) if f.is_file() and f.stat().st_size]
  for i in range(10):
    copy = shutil.copytree(whole, tmp_path / str(i))
    flipped(copy / rng.choice(files), rng)
    with pytest.raises(ValueError):
      load_any(copy)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_hundred_flips_give_no_other_weights(run, tmp_path):
  wrong, noticed = wrong_loads(run, tmp_path, FLIPS, seed=2)
  print(f"{FLIPS} flips: {noticed} noticed, {len(wrong)} wrong loads")
  assert not wrong

"""Checkpoints that were damaged after they were written are found out, and the one before is used."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.runs.saved import Saved
from grpo_jax.training.state import new_state


def state_at(step):
  params = jax.tree.map(lambda a: jnp.asarray(a) + step, tiny.params(tiny.config(num_layers=1)))
  return new_state(params, 0, reference=False).replace(step=jnp.int32(step))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Two checkpoints."""
  path = tmp_path_factory.mktemp("saved") / "checkpoints"
  saved = Saved(path, keep=2)
  saved.warm_up(state_at(0))
  for step in (3, 6):
    saved.save(step, state_at(step))
    saved.wait()
  saved.close()
  return path


def reopened(path):
  saved = Saved(path, keep=2)
  saved.warm_up(state_at(0))
  found = saved.newest(state_at(0))
  saved.close()
  return found


def equals(state, step):
  jax.tree.map(np.testing.assert_array_equal, state, state_at(step))


def test_whole_checkpoints_give_the_newest(folder, tmp_path):
  path = shutil.copytree(folder, tmp_path / "c")
  step, state = reopened(path)
  assert step == 6
  equals(state, 6)


def test_one_flipped_byte_anywhere_gives_the_one_before_or_changes_nothing(folder, tmp_path, capsys):
  files = sorted(f.relative_to(folder) for f in (folder / "6").rglob("*") if f.is_file() and f.stat().st_size)
  data = [f for f in files if "/d/" in str(f)]
  assert data  # the arrays are in there
  rng, before = np.random.default_rng(0), 0
  for k, file in enumerate([*files, *data * 3]):
    path = shutil.copytree(folder, tmp_path / str(k))
    raw = bytearray((path / file).read_bytes())
    raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    (path / file).write_bytes(raw)
    step, state = reopened(path)
    equals(state, step)  # never a wrong state
    before += step == 3
    if step == 3:
      assert (path / "6.damaged").is_dir() and not (path / "6").exists()
      assert "checkpoint 6 in" in capsys.readouterr().err
  assert before >= len(data) // 2  # a byte that nothing reads changes nothing


def test_a_half_written_checkpoint_is_not_seen(folder, tmp_path):
  path = shutil.copytree(folder, tmp_path / "c")
  shutil.rmtree(path / "6" / "default" / "d", ignore_errors=True)
  step, state = reopened(path)
  assert step == 3
  equals(state, 3)


def test_nothing_whole_is_an_error_that_says_what_to_do(folder, tmp_path):
  path = shutil.copytree(folder, tmp_path / "c")
  for step in ("3", "6"):
    shutil.rmtree(path / step / "default")
  with pytest.raises(ValueError, match="no checkpoint that is whole; remove the folder"):
    reopened(path)

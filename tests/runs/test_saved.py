"""Checkpoints that were damaged after they were written are found out, and the one before is used."""

import errno
import json
import shutil

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.runs import faults
from grpo_jax.runs.faults import NotFinite, NothingWhole
from grpo_jax.runs.saved import Saved, read_params, read_step
from grpo_jax.training.state import TrainState, new_state


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


@flax.struct.dataclass
class OneMore(TrainState):
  """The state of a later version of the code: one more field."""

  momentum: jax.Array | None = None


def upgraded(state):
  fields = {name: getattr(state, name) for name in TrainState.__dataclass_fields__}
  return OneMore(**fields, momentum=jnp.zeros(3))


def names(path):
  return sorted(str(f.relative_to(path)) for f in path.rglob("*"))


def opened(path, state, broken=None):
  """What `newest` raises with `broken` in place of orbax's reader; the folder stays as it was, to the last byte."""
  before = {f: f.read_bytes() for f in path.rglob("*") if f.is_file()}
  saved = Saved(path, keep=2)
  saved.warm_up(state)
  if broken:
    saved.checkpoints.restore = broken
  try:
    with pytest.raises((ValueError, OSError, MemoryError)) as caught:
      saved.newest(state)
  finally:
    saved.close()
  assert {f: f.read_bytes() for f in path.rglob("*") if f.is_file()} == before
  return caught.value


def failing(error):
  def restore(*_):
    raise error
  return restore


@pytest.mark.parametrize("direction", ["upgrade", "downgrade", "shape", "state version", "orbax"])
def test_another_version_of_the_state_is_named_and_nothing_is_touched(direction, folder, tmp_path, monkeypatch):
  path, state, broken = tmp_path / "c", state_at(0), None
  if direction == "downgrade":
    saved = Saved(path, keep=2)
    saved.warm_up(upgraded(state))
    saved.save(3, upgraded(state_at(3)))
    saved.close()
  else:
    shutil.copytree(folder, path)
  if direction == "upgrade":
    state = upgraded(state)
  elif direction == "shape":
    state = state.replace(data_state={"position": jnp.zeros(4, jnp.int32)})
  elif direction == "state version":
    monkeypatch.setattr(faults, "STATE_VERSION", 2)
  elif direction == "orbax":
    monkeypatch.setattr(faults.ocp, "__version__", "9.9")
    broken = failing(ValueError("unknown format"))
  text = str(opened(path, state, broken))
  word = {"shape": "data_state.position is int32[] in it and int32[4]", "orbax": "written with orbax",
          "state version": "has version 1 of the state", "upgrade": "momentum is no such leaf in it",
          "downgrade": "momentum is float32[3] in it and no such leaf"}[direction]
  assert word in text and "nothing was changed" in text


@pytest.mark.parametrize("error, kind", [
  (OSError(errno.EIO, "Input/output error"), OSError), (PermissionError(errno.EACCES, "Permission denied"), OSError),
  (ValueError(f"UNKNOWN: {'Error opening driver: ' * 30}[OS error 5: EIO Input/output error]"), OSError),
  (TimeoutError("timed out"), OSError),
  (MemoryError(), MemoryError), (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), MemoryError),
])
def test_faults_of_storage_and_memory_are_raised_and_nothing_is_touched(error, kind, folder, tmp_path):
  path = shutil.copytree(folder, tmp_path / "c")
  found = opened(path, state_at(0), failing(error))
  assert isinstance(found, kind) and "checkpoint 6 in" in str(found) and "nothing was changed" in str(found)


def test_where_every_checkpoint_is_damaged_none_is_renamed(folder, tmp_path):
  path = shutil.copytree(folder, tmp_path / "c")
  for step in ("3", "6"):
    shutil.rmtree(path / step / "default" / "d", ignore_errors=True)
  assert isinstance(opened(path, state_at(0)), NothingWhole)


@pytest.mark.parametrize("read", [
  lambda path: opened(path, state_at(0)), lambda path: failure(read_step, path, 500, state_at(0)),
  lambda path: failure(read_params, path, 500)])
def test_a_renamed_folder_is_noticed_by_all(read, folder, tmp_path):
  path = shutil.copytree(folder, tmp_path / "c")
  (path / "6").rename(path / "500")
  assert "is checkpoint 6 under another name" in str(read(path))


def failure(function, *arguments):
  with pytest.raises(ValueError) as caught:
    function(*arguments)
  return caught.value


def test_the_best_checkpoint_stays_the_best_after_a_restart(tmp_path):
  for part in ({1: 0.9, 2: 0.1}, {3: 0.1, 4: 0.1, 5: 0.1}):
    saved = Saved(tmp_path / "c", keep=2)
    saved.warm_up(state_at(0))
    for step, greedy in part.items():
      saved.save(step, state_at(step), greedy)
    saved.close()
  assert [p for p in names(tmp_path / "c") if p.isdigit()] == ["1", "4", "5"]


@pytest.mark.parametrize("part", ["params", "opt_state"])
def test_a_state_that_is_not_finite_is_not_saved(part, tmp_path):
  saved, state = Saved(tmp_path / "c", keep=2), state_at(2)
  saved.warm_up(state)
  saved.save(1, state)
  leaves, tree = jax.tree.flatten(getattr(state, part))
  floats = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
  leaves[floats[0]] = leaves[floats[0]].at[(0,) * leaves[floats[0]].ndim].set(jnp.inf)
  with pytest.raises(NotFinite, match=f"step 2 holds numbers that are not finite in {part}"):
    saved.save(2, state.replace(**{part: jax.tree.unflatten(tree, leaves)}))
  saved.close()
  assert [p for p in names(tmp_path / "c") if p.isdigit()] == ["1"]


def test_parameters_of_a_checkpoint_of_earlier_code_are_checked_too(folder, tmp_path):
  """Without a record, the order of the leaves is the state's."""
  path = shutil.copytree(folder, tmp_path / "c")
  record = path / "6" / "_CHECKPOINT_METADATA"
  record.write_text(json.dumps(json.loads(record.read_text()) | {"custom_metadata": {}}))
  params, _ = read_params(path, 6)
  jax.tree.map(np.testing.assert_array_equal, params, state_at(6).params)
  assert reopened(path)[0] == 6

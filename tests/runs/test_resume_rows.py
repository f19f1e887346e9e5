"""What algorithm rows and curricula keep in the state survives a kill bit for bit."""

import random
import signal
import time

import numpy as np
from killed import killed_run, leaves, rows, run


def killed_and_whole(tmp_path, config):
  """Training rows of an uninterrupted run and its last state, after checking that a killed one ends the same."""
  run(tmp_path / "whole", config)
  assert killed_run(tmp_path / "killed", random.Random(time.time_ns()).randint(4, 8), config) == -signal.SIGKILL
  run(tmp_path / "killed", config)
  assert rows(tmp_path / "killed", "rl") == rows(tmp_path / "whole", "rl")
  got, want = (leaves(tmp_path / name, "rl") for name in ("killed", "whole"))
  assert got == want
  return [r for r in rows(tmp_path / "whole", "rl") if r["kind"] == "train"], want


def test_critic_adaptive_beta_dynamic_sampling_and_curriculum_survive_a_kill(tmp_path):
  train, state = killed_and_whole(tmp_path, "tiny_rows.py:critic")
  assert {"['algorithm_state']['beta']", "['critic']['params']['value_head']"} <= set(state)
  assert len({r["update/beta"] for r in train}) == 5 and max(r["data/rollouts"] for r in train) == 2
  position = np.frombuffer(state["['data_state']['position']"], np.int32)[0]
  np.testing.assert_allclose(position, sum(8 * r["data/rollouts"] / (1 - r["data/skipped"]) for r in train))
  rates = np.frombuffer(state["['data_state']['pass_rates']"], np.float32)
  assert rates.shape == (24,) and ((rates == -1) | ((rates >= 0) & (rates <= 1))).all() and (rates >= 0).sum() > 8
  assert train[0]["data/skipped"] == 0 < train[-1]["data/skipped"]


def test_dynamic_group_size_survives_a_kill(tmp_path):
  train, state = killed_and_whole(tmp_path, "tiny_rows.py:groups")
  assert "['algorithm_state']['pass_rate']" in state
  assert len({r["groups/size"] for r in train}) > 1

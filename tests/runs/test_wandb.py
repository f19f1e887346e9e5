"""Weights & Biases: one run per stage over all restarts, and one sentence where the package is missing."""

import importlib.util
import os
import sys
import types

import pytest
from test_bad_input import TINY, ended

from grpo_jax.metrics import MetricsLog
from grpo_jax.wandb_run import require_wandb


class Service:
  """Stands for W&B: remembers each run's rows by id, as a server does, and continues a run that it knows."""

  def __init__(self):
    self.runs, self.starts = {}, []
    self.module = types.ModuleType("wandb")
    self.module.Error, self.module.init = type("Error", (Exception,), {}), self.init

  def init(self, *, id, resume, **options):
    assert resume == "allow"
    self.starts.append((id, options["name"], options["group"]))
    rows = self.runs.setdefault(id, {})

    def log(numbers, step):
      assert step >= max(rows, default=0)  # the server drops what comes from before
      rows.setdefault(step, {}).update(numbers)

    return types.SimpleNamespace(step=max(rows, default=-1) + 1, log=log, finish=lambda: None)


@pytest.fixture
def service(monkeypatch):
  service = Service()
  monkeypatch.setitem(sys.modules, "wandb", service.module)
  return service


def trained(directory, resumed: int, to: int):
  """A start of a stage that resumes after a step and logs up to another; it is never closed, as if killed."""
  directory.mkdir(parents=True, exist_ok=True)
  log = MetricsLog(directory, tensorboard=False, wandb_project="p", config={})
  log.resume(resumed)
  for step in range(max(resumed, 0) + 1, to + 1):
    log.write(step, "train", {"loss": 10.0 * step})


def test_restarts_continue_one_run_and_stages_and_workdirs_have_their_own(service, tmp_path):
  trained(tmp_path / "a" / "sft", -1, 3)
  trained(tmp_path / "a" / "rl", -1, 3)
  trained(tmp_path / "a" / "rl", -1, 5)  # killed before its first checkpoint: from the start again
  trained(tmp_path / "a" / "rl", 4, 8)
  trained(tmp_path / "b" / "rl", -1, 1)
  (tmp_path / "a").rename(tmp_path / "moved")
  trained(tmp_path / "moved" / "rl", 8, 9)
  names = {name: id for id, name, _ in reversed(service.starts)}
  assert len(service.starts) == 6 and len(service.runs) == 3 and len(names) == 4
  assert names["a/rl"] == names["moved/rl"] and {group for _, _, group in service.starts} == {"a", "b", "moved"}
  assert service.runs[names["a/rl"]] == {step: {"train/loss": 10.0 * step} for step in range(1, 10)}


def test_a_refusal_of_the_service_is_one_sentence(service, tmp_path):
  def init(**options):
    raise service.module.Error("No API key configured.\nUse wandb login")

  service.module.init = init
  with pytest.raises(ValueError, match=r"^log\.wandb_project='p': W&B did not start \(No API key.*WANDB_MODE=offline"):
    trained(tmp_path / "rl", -1, 1)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_missing_package_is_one_sentence_before_anything_begins(tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
  (tmp_path / "wandb").mkdir()  # the logs of another run, which is no package
  line = ended(tmp_path, "--config.log.wandb_project=p", config=TINY)
  assert line.startswith("error: log.wandb_project='p' needs the wandb package, which is not installed; pip install")
  assert require_wandb("") is None

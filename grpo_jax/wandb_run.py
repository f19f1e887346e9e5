"""Weights & Biases: one run for each stage of a workdir, over all restarts."""

import importlib.util
import pathlib
import uuid


def require_wandb(project: str) -> None:
  """Raises ValueError where `log.wandb_project` asks for a package that is not installed; imports nothing."""
  found = importlib.util.find_spec("wandb") if project else None
  if project and (found is None or found.origin is None):  # without origin: a folder of logs that is called wandb
    raise ValueError(
      f"log.wandb_project={project!r} needs the wandb package, which is not installed; pip install wandb, or leave the "
      "project empty.")


def stage_id(directory: pathlib.Path) -> str:
  """The W&B run id of the stage in `directory`: made at its first start, then read from `wandb_id` beside its log."""
  path = pathlib.Path(directory) / "wandb_id"
  known = path.read_text().strip() if path.exists() else ""
  if not known:
    known = uuid.uuid4().hex[:12]
    path.write_text(known + "\n")
  return known


class WandbRun:
  """The W&B run of one stage; a restart of the stage continues it, online or offline (`wandb sync` joins the parts).

  Raises:
    ValueError: W&B refuses to start, e.g. for want of a login.
  """

  def __init__(self, directory: pathlib.Path, project: str, config: dict | None):
    import wandb

    directory = pathlib.Path(directory).absolute()
    workdir, stage = directory.parent.name, directory.name
    try:
      self._run = wandb.init(
        project=project, config=config, dir=directory, id=stage_id(directory), resume="allow", reinit="create_new",
        name=f"{workdir}/{stage}", group=workdir, job_type=stage)
    except wandb.Error as error:
      reason = str(error).strip().splitlines()
      raise ValueError(
        f"log.wandb_project={project!r}: W&B did not start ({reason[0] if reason else type(error).__name__}); log in "
        "with `wandb login`, set WANDB_MODE=offline, or leave the project empty.") from error

  def write(self, step: int, numbers: dict[str, float]) -> None:
    """Logs numbers of a step; steps that W&B has from before a restart are the same numbers, and left out."""
    if step >= self._run.step:
      self._run.log(numbers, step=step)

  def close(self) -> None:
    """Sends what is left and marks the run as finished."""
    self._run.finish()

"""The tasks of a run: which stages it has, and what each is. Texts of `config.task` are read here and nowhere else."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StageKind:
  """What a stage takes and leaves; its name is its folder in the workdir."""

  after_sft: bool = False  # whether an SFT stage may come before it
  samples: bool = False  # whether completions are sampled, and judged by the rewards
  pairs: bool = False  # whether it learns from preference pairs
  heldout: bool = True  # whether it is measured on held-out problems
  trains: bool = True
  policy: bool = True  # whether what it leaves is a policy


STAGES = {
  "eval": StageKind(samples=True, trains=False),
  "sft": StageKind(heldout=False),
  "rl": StageKind(after_sft=True, samples=True),
  "dpo": StageKind(after_sft=True, pairs=True),
  "reward_model": StageKind(after_sft=True, pairs=True, policy=False),
}
TASKS = tuple(prefix + name for name, kind in STAGES.items() for prefix in ("", *["sft_then_"] * kind.after_sft))


def stages_of(task: str) -> tuple[str, ...]:
  """The stages of a task in their order, `("sft", "rl")` of `sft_then_rl`; none of a text that is no task."""
  return tuple(task.split("_then_")) if task in TASKS else ()


def last_stage(task: str) -> str:
  """The stage whose end is the result of the run; empty where the text is no task."""
  return stages_of(task)[-1] if task in TASKS else ""


def kind_of(task: str) -> StageKind:
  """What the last stage of a task is."""
  return STAGES.get(last_stage(task), StageKind())

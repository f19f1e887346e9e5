"""Kept rollouts: one compact file per iteration, `WORKDIR/rl/rollouts/NNNNNN.npz`, that numpy alone can read.

Only tokens that count are in it: arrays over tokens are flat, in the order of prompts, members, tokens.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from dataclasses import dataclass

import numpy as np

FOLDER = pathlib.Path("rl", "rollouts")


@dataclass(frozen=True)
class KeptRollout:
  """One iteration: what was sampled, how it was rewarded, what it meant token by token, and the state after it."""

  step: int
  prompts_BP: np.ndarray  # ids, left-padded
  prompt_lengths_B: np.ndarray
  uids_B: np.ndarray
  sources_B: np.ndarray
  tokens_BGT: np.ndarray
  lengths_BG: np.ndarray
  truncated_BG: np.ndarray
  behavior_logps_BGT: np.ndarray
  advantages_BGT: np.ndarray  # `[B, G, 1]` where all tokens of a completion share one
  signals: dict[str, np.ndarray]  # fields of algorithms.table.Signals that rewards give; rewards_BG among them
  components: dict[str, np.ndarray]  # unweighted scores [B, n] of the n members that take part
  looks: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)  # [B, G, T] of training/look.py, rounded
  state: np.ndarray | None = None  # fingerprints [leaves, 2] of the state after it
  facts: dict = dataclasses.field(default_factory=dict)  # "code": a hash of the code that made it

  @property
  def mask_BGT(self) -> np.ndarray:
    """Tokens that count."""
    return np.arange(self.tokens_BGT.shape[-1]) < self.lengths_BG[..., None]

  @property
  def prompt_mask_BP(self) -> np.ndarray:
    """Tokens of the prompts."""
    P = self.prompts_BP.shape[1]
    return np.arange(P) >= P - self.prompt_lengths_B[:, None]

  def compared(self) -> dict[str, np.ndarray]:
    """What a replay has to give again, bit for bit, in the order in which it comes about; 0 where nothing counts."""
    over_tokens = lambda a: np.where(self.mask_BGT, a, 0)  # noqa: E731
    rewards = {name.removesuffix("_BG"): a for name, a in self.signals.items()}
    rewards |= {f"rewards of {name}": a for name, a in self.components.items()}
    advantages = self.advantages_BGT
    return {
      "prompts": np.where(self.prompt_mask_BP, self.prompts_BP, 0), "uids": self.uids_B, "lengths": self.lengths_BG,
      "tokens": over_tokens(self.tokens_BGT), "truncated": self.truncated_BG,
      "log-probs": over_tokens(self.behavior_logps_BGT), **rewards,
      "advantages": over_tokens(advantages) if advantages.shape[-1] > 1 else advantages}

  def hashes(self) -> dict[str, str]:
    """SHA-256 of each of `compared`, of its shape and its numbers in their widest type."""
    wide = {"i": "<i8", "u": "<i8", "b": "<i8", "f": "<f4"}
    return {name: hashlib.sha256(repr(a.shape).encode() + a.astype(wide[a.dtype.kind]).tobytes()).hexdigest()
            for name, a in self.compared().items()}


def rollout_file(workdir: pathlib.Path, step: int) -> pathlib.Path:
  """Where an iteration is kept."""
  return pathlib.Path(workdir) / FOLDER / f"{step:06}.npz"


def kept_steps(workdir: pathlib.Path) -> list[int]:
  """The iterations that a run kept."""
  return sorted(int(path.stem) for path in (pathlib.Path(workdir) / FOLDER).glob("*.npz") if path.stem.isdigit())


def _smallest(ids: np.ndarray) -> np.ndarray:
  return ids.astype(np.min_scalar_type(int(ids.max(initial=0))))


def write_rollout(path: pathlib.Path, kept: KeptRollout) -> None:
  """Writes the file whole or not at all; an earlier one of this iteration is replaced."""
  path.parent.mkdir(parents=True, exist_ok=True)
  mask, flat = kept.mask_BGT, {}
  for field in ("uids_B", "sources_B", "truncated_BG", "state"):
    flat[field] = getattr(kept, field)
  flat["prompts"], flat["prompt_lengths_B"] = kept.prompts_BP[kept.prompt_mask_BP], kept.prompt_lengths_B
  flat["tokens"], flat["lengths_BG"] = kept.tokens_BGT[mask], kept.lengths_BG
  for name in ("prompts", "tokens", "prompt_lengths_B", "lengths_BG"):
    flat[name] = _smallest(flat[name])
  flat["behavior_logps"] = kept.behavior_logps_BGT[mask]
  shared = kept.advantages_BGT.shape[-1] == 1
  flat["advantages"] = kept.advantages_BGT if shared else kept.advantages_BGT[mask]
  flat |= {f"signals.{name}": a for name, a in kept.signals.items()}
  flat |= {f"components.{name}": a for name, a in kept.components.items()}
  flat |= {f"looks.{name}": a[mask].astype(np.int8 if name == "clip" else np.float16) for name, a in kept.looks.items()}
  facts = kept.facts | {"P": kept.prompts_BP.shape[1], "T": kept.tokens_BGT.shape[-1], "hashes": kept.hashes()}
  temporary = path.with_suffix(".tmp")
  with temporary.open("wb") as file:
    np.savez_compressed(file, step=kept.step, facts=json.dumps(facts), **flat)
  os.replace(temporary, path)


def read_rollout(path: pathlib.Path) -> KeptRollout:
  """A kept iteration.

  Raises:
    ValueError: the file cannot be read, or what is in it has other hashes than were recorded.
  """
  try:
    with np.load(path) as file:
      flat = dict(file)
  except Exception as error:  # zipfile, zlib and numpy each have their own for bytes that make no sense
    raise ValueError(f"{path} cannot be read ({error}); remove it, or run the iteration again.") from error
  facts, lengths = json.loads(str(flat["facts"])), flat["lengths_BG"].astype(np.int32)
  mask = np.arange(facts["T"]) < lengths[..., None]
  prompt_lengths = flat["prompt_lengths_B"].astype(np.int32)
  prompt_mask = np.arange(facts["P"]) >= facts["P"] - prompt_lengths[:, None]

  def spread(values, where, dtype=None):
    whole = np.zeros(where.shape, dtype or values.dtype)
    whole[where] = values
    return whole

  def named(prefix):
    return {name.removeprefix(prefix): a for name, a in flat.items() if name.startswith(prefix)}

  advantages = flat["advantages"]
  kept = KeptRollout(
    int(flat["step"]), spread(flat["prompts"], prompt_mask, np.int32), prompt_lengths, flat["uids_B"],
    flat["sources_B"], spread(flat["tokens"], mask, np.int32), lengths, flat["truncated_BG"],
    spread(flat["behavior_logps"], mask), advantages if advantages.ndim == 3 else spread(advantages, mask),
    named("signals."), named("components."), {k: spread(a, mask) for k, a in named("looks.").items()},
    flat["state"], facts)
  wrong = [name for name, digest in kept.hashes().items() if facts["hashes"].get(name) != digest]
  if wrong:
    raise ValueError(f"{path} is damaged: its {', '.join(wrong)} have other hashes than were recorded; remove it.")
  return kept

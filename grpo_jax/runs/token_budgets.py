"""How many tokens packed rows have: a few sizes are compiled, and the host takes the smallest that holds a rollout."""

import dataclasses
import math

import numpy as np
from ml_collections import ConfigDict

from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.algorithms.table import Signals
from grpo_jax.distributed.multihost import fetch
from grpo_jax.models.packing import split_of
from grpo_jax.training.dealing import Cut, fullest_row
from grpo_jax.types import Rollout


def cut_of(config: ConfigDict) -> Cut:
  """How the minibatches of RL are cut, with room for all tokens."""
  return Cut(*(config.train[field] for field in ("micro_prompts", "micro_members", "logit_chunk")))


def with_row(cut: Cut, share: float, B: int, G: int, T: int, mesh) -> Cut:
  """The cut of `[B, G, T]` whose rows hold this share of the tokens they have room for, rounded up; 1 is all."""
  b, g = cut.sizes(B, G)
  rows, parts = split_of(mesh, b, g)
  most = b * parts // rows * (g // parts) * T
  unit = 2 ** max(0, int(math.log2(most / 16)))  # so that rows are cut into blocks of any size
  row = math.ceil(share * most / min(unit, 128)) * min(unit, 128)
  return dataclasses.replace(cut, row=row if row < most else 0)


def shares(config: ConfigDict) -> tuple[float, ...]:
  """The sizes that are compiled, as shares of the padded length: those of `train.token_budgets`, and all."""
  return (*sorted(set(config.train.token_budgets)), 1.0)


def packed_key(key: tuple, share: float) -> tuple:
  """The key of a program for rows of this share of the padded tokens; of all of them, the key itself."""
  return key if share == 1 else (*key, share)


def share_of(lengths_BG: np.ndarray, T: int, config: ConfigDict, mesh, cut: Cut | None = None) -> float:
  """The smallest share whose rows hold completions of these lengths (tokens); `cut`: None is that of RL."""
  for share in shares(config):
    packed = with_row(cut or cut_of(config), share, *lengths_BG.shape, T, mesh)
    if not packed.row or fullest_row(lengths_BG, T, packed, mesh) <= packed.row:
      return share
  return 1.0


def learned_lengths(lengths_BG: np.ndarray, rollout: Rollout, signals: Signals, spec: AlgorithmSpec) -> np.ndarray:
  """Tokens of each completion in the mask of `make_experience`, which leaves some completions out."""
  if spec.truncated == "mask":
    lengths_BG = lengths_BG * ~fetch(rollout.truncated_BG)
  return lengths_BG if signals.present_BG is None else lengths_BG * signals.present_BG

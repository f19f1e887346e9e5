"""An algorithm is a row of a table: advantage × ratio × surrogate × KL × reduction.

Choices are static (another choice is another program); numbers are array leaves, so changing one compiles nothing.
To add a cell: write the function beside its relatives, add its name to table.py, name it in a preset here.
"""

import dataclasses

import numpy as np
from flax import struct

from grpo_jax.algorithms.preference import PAIR_LOSSES
from grpo_jax.algorithms.ratios import CORRECTIONS
from grpo_jax.algorithms.table import (
  ADVANTAGES,
  IGNORES_KL,
  KL,
  NEEDS_GREEDY,
  NEEDS_PICKED,
  NEEDS_STEPS,
  NEEDS_VALUES,
  RATIOS,
  REDUCTIONS,
  SURROGATES,
)
from grpo_jax.config.ranges import Range, problems


def choice(default, within: str = ""):
  """A static field; `within`: its range (config/ranges.py), where it is a number."""
  return struct.field(pytree_node=False, default=default, metadata={"range": within})


def number(default: float, within: str):
  """A field that is an array leaf, with its range."""
  return struct.field(default=default, metadata={"range": within})


@struct.dataclass
class AlgorithmSpec:
  """One row. See `PRESETS` for the named ones and docs/algorithms.md for the equations."""

  advantage: str = choice("group_normalized")
  ddof: int = choice(1)
  ratio: str = choice("token")
  surrogate: str = choice("clipped")
  kl: str = choice("k3")  # "off" runs no reference pass
  kl_place: str = choice("loss")  # or "reward"
  beta_control: str = choice("fixed")  # or "adaptive"
  reduction: str = choice("sequence_mean")
  truncated: str = choice("keep")  # completions without a stop token: keep | mask | penalize
  sampler_correction: str = choice("off")  # importance weights for the sampler–trainer gap
  pair_loss: str = choice("off")  # best against worst of each group, added to the loss
  shuffle_advantages: bool = choice(False)  # control: permute the advantages within each group
  pass_k: int = choice(4, "int [2, 65536]")  # of advantage "pass_at_k"
  beta: float = number(0.04, "[0, 1e3]")
  epsilon_low: float = number(0.2, "[0, 1e9]")
  epsilon_high: float = number(0.2, "[0, 1e9]")
  advantage_epsilon: float = number(1e-6, "[0, 1]")
  reduction_divisor: float = number(1.0, "(0, 1e9]")  # tokens, for reduction "constant"; a config's None is the longest
  kl_target: float = number(0.05, "(0, 1e3]")  # nats per token, for adaptive beta
  kl_horizon: float = number(10.0, "[1, 1e9]")  # updates
  dual_clip: float = number(3.0, "(1, 1e9]")  # surrogate "dual_clipped"
  ratio_cap: float = number(5.0, "(0, 1e9]")  # largest ratio of "capped" and "cispo"
  tau_positive: float = number(1.0, "(0, 1e3]")  # surrogate "sapo"
  tau_negative: float = number(1.05, "(0, 1e3]")
  cov_fraction: float = number(2e-3, "[0, 1]")  # of tokens for "kl_cov"; "clip_cov": SURROGATE_NUMBERS
  cov_low: float = number(1.0, "[-1e9, 1e9]")  # band of "clip_cov"
  cov_high: float = number(5.0, "[-1e9, 1e9]")
  cov_beta: float = number(1.0, "[0, 1e3]")  # penalty of "kl_cov"
  sampler_low: float = number(0.0, "[0, 1e9]")  # bounds of the sampler weights
  sampler_high: float = number(3.0, "(0, 1e9]")
  gamma: float = number(1.0, "[0, 1]")  # advantage "gae"
  gae_lambda: float = number(0.95, "[0, 1]")
  mix: float = number(0.5, "[0, 1]")  # sequence-level share of advantage "multi_scale"
  spread_floor: float = number(0.1, "[0, 1e3]")  # of the batch's spread, for advantage "group_floored"
  truncation_penalty: float = number(1.0, "[0, 1e6]")  # subtracted from the reward, for truncated "penalize"
  length_penalty: float = number(0.0, "[0, 1e6]")  # length / longest times the group's pass rate, off the reward
  pair_beta: float = number(0.1, "(0, 1e3]")  # of the pair loss
  pair_weight: float = number(1.0, "[0, 1e3]")


NUMBERS = {f.name: Range(f.metadata["range"]) for f in dataclasses.fields(AlgorithmSpec) if f.metadata.get("range")}
RANGES = {f"algorithm.{name}": within for name, within in NUMBERS.items()}  # as a config has them
ORDERED = (("sampler_low", "sampler_high"), ("cov_low", "cov_high"))  # ends of bands

CELLS = {
  "advantage": sorted(ADVANTAGES),
  "ddof": [0, 1],
  "ratio": sorted(RATIOS),
  "surrogate": sorted(SURROGATES),
  "kl": ["off", *sorted(KL), "exact"],
  "kl_place": ["loss", "reward"],
  "beta_control": ["fixed", "adaptive"],
  "reduction": sorted(REDUCTIONS),
  "truncated": ["keep", "mask", "penalize"],
  "sampler_correction": list(CORRECTIONS),
  "pair_loss": ["off", *PAIR_LOSSES],
}

# Numbers that a surrogate begins from where nothing else is said: the authors' (arXiv 2505.22617, section 4).
SURROGATE_NUMBERS = {"clip_cov": {"cov_fraction": 2e-4}}
NO_KL = {"kl": "off", "beta": 0.0}
PRESETS = {
  # DeepSeekMath (arXiv 2402.03300), equation 3 with the k3 term of equation 4, one update per rollout.
  "grpo": {},
  # The paper's own numbers, section 4.2: beta .04, and with the config's G 64, learning rate 1e-6, batch 1024.
  "deepseekmath": {"beta": 0.04, "epsilon_low": 0.2, "epsilon_high": 0.2},
  # Process supervision, section 4.1.3 of the same paper.
  "grpo_process": {"advantage": "process"},
  # EasyR1's default: dual clip 3, clip higher .3, token mean, KL .01.
  "grpo_dual_clip": {"surrogate": "dual_clipped", "dual_clip": 3.0, "epsilon_high": 0.3, "beta": 0.01,
                     "reduction": "token_mean"},
  # GRPO and DPO on the best and the worst completion of each group.
  "grpo_dpo": {"pair_loss": "sigmoid", "pair_weight": 0.1},
  # Understanding R1-Zero-like training (arXiv 2503.20783): no std, no length, no KL.
  "dr_grpo": {"advantage": "centered", "reduction": "constant", **NO_KL},
  # DAPO (arXiv 2503.14476): clip higher, token mean, no KL. A row is a loss: for the whole of DAPO add dynamic sampling
  # (train.resample_attempts, e.g. 5) and the soft overlong penalty (a component of kind soft_overlong in rewards).
  "dapo": {"epsilon_high": 0.28, "reduction": "token_mean", **NO_KL},
  # GSPO (arXiv 2507.18071): ratio and clip of whole completions.
  "gspo": {"ratio": "sequence", "epsilon_low": 3e-4, "epsilon_high": 4e-4, **NO_KL},
  # MiniMax-M1 (arXiv 2506.13585).
  "cispo": {"surrogate": "cispo", "ratio_cap": 5.0, "reduction": "token_mean", **NO_KL},
  # SAPO (arXiv 2511.20347).
  "sapo": {"surrogate": "sapo", **NO_KL},
  # RLOO (arXiv 2402.14740): whole completions as actions, KL in the reward; beta as TRL's RLOOConfig.
  "rloo": {"advantage": "leave_one_out", "ratio": "none", "surrogate": "plain", "kl": "k1", "kl_place": "reward",
           "reduction": "sequence_sum", "beta": 0.05},
  # Williams 1992.
  "reinforce": {"advantage": "none", "ratio": "none", "surrogate": "plain", "reduction": "sequence_sum", **NO_KL},
  # REINFORCE++ (arXiv 2501.03262): token-level KL in the reward, whitened over the batch, clipped.
  "reinforce_pp": {"advantage": "reinforce_pp", "kl": "k1", "kl_place": "reward", "reduction": "token_mean",
                   "beta": 0.01},
  # Its variant for several completions per prompt: whitened over tokens, k2 in the loss.
  "reinforce_pp_baseline": {"advantage": "group_then_batch", "kl": "k2", "reduction": "token_mean", "beta": 0.01},
  # ReMax (arXiv 2310.10505): reward of the greedy completion as baseline; beta as verl's example of it.
  "remax": {"advantage": "remax", "ratio": "none", "surrogate": "plain", "kl": "k1", "kl_place": "reward",
            "reduction": "sequence_sum", "beta": 0.001},
  # OPO (arXiv 2505.23585): exact on-policy, length-weighted baseline, no KL.
  "opo": {"advantage": "length_weighted", "ratio": "none", "surrogate": "plain", "reduction": "sequence_sum", **NO_KL},
  # PPO (arXiv 1707.06347) as in RLHF: critic, GAE, k1 in the reward; beta as TRL's PPOConfig.
  "ppo": {"advantage": "gae", "kl": "k1", "kl_place": "reward", "reduction": "token_mean", "beta": 0.05},
  # Rejection-sampling fine-tuning: the log-likelihood of the completions that were kept.
  "rejection": {"advantage": "kept", "ratio": "none", "surrogate": "log_prob", "reduction": "token_mean", **NO_KL},
}


def make_spec(preset: str = "grpo", **overrides) -> AlgorithmSpec:
  """The spec of a preset with single cells or numbers replaced. ValueError names a bad key and the known values."""
  if preset not in PRESETS:
    raise ValueError(f"algorithm.preset={preset!r} is unknown; choose one of {sorted(PRESETS)}.")
  cells = {**PRESETS[preset], **overrides}
  spec = AlgorithmSpec(**{**SURROGATE_NUMBERS.get(cells.get("surrogate"), {}), **cells})
  for sentence in problems({f"algorithm.{name}": getattr(spec, name) for name in NUMBERS}, RANGES).values():
    raise ValueError(sentence)
  for low, high in ORDERED:
    if getattr(spec, low) > getattr(spec, high):
      raise ValueError(f"algorithm.{low}={getattr(spec, low)!r} must be at most algorithm.{high}="
                       f"{getattr(spec, high)!r}; exchange or move them.")
  for cell, known in CELLS.items():
    if getattr(spec, cell) not in known:
      raise ValueError(f"algorithm.{cell}={getattr(spec, cell)!r} is unknown; choose one of {known}.")
  if spec.kl == "k1" and spec.kl_place == "loss":
    raise ValueError(
      "algorithm.kl='k1' has an expected on-policy gradient of zero in the loss, so it would penalize nothing; "
      "use 'k3' (the published GRPO), 'k2' (the KL's gradient at the visited states), kl_place='reward' or kl='off'."
    )
  if spec.kl_place == "reward" and spec.kl in ("exact", "ratio_k3"):
    raise ValueError(f"algorithm.kl={spec.kl!r} is a loss term; with kl_place='reward' use 'k1', 'k2' or 'k3'.")
  if spec.kl_place == "reward" and spec.kl != "off" and spec.advantage in IGNORES_KL:
    raise ValueError(f"algorithm.kl_place='reward' would be ignored by advantage={spec.advantage!r}; use 'loss'.")
  if spec.beta_control == "adaptive" and not float(spec.beta) > 0:
    raise ValueError(f"algorithm.beta={spec.beta!r} never moves under beta_control='adaptive'; start from more than 0.")
  if spec.beta_control == "adaptive" and spec.kl == "off":
    raise ValueError("algorithm.beta_control='adaptive' needs a KL to follow; set algorithm.kl, e.g. 'k3'.")
  if spec.pair_loss != "off" and (spec.kl in ("off", "exact") or spec.reduction == "token_mean"):
    raise ValueError(
      f"algorithm.pair_loss={spec.pair_loss!r} needs reference log-probabilities and a denominator that no length "
      "enters; set algorithm.kl (e.g. 'k3') and a reduction other than 'token_mean'."
    )
  return spec


def needs(spec: AlgorithmSpec) -> set[str]:
  """What the row asks of a run: greedy (a greedy completion per prompt), steps, values, picked, reference."""
  asks = {"greedy": spec.advantage in NEEDS_GREEDY, "steps": spec.advantage in NEEDS_STEPS,
          "values": spec.advantage in NEEDS_VALUES, "picked": spec.surrogate in NEEDS_PICKED,
          "reference": spec.kl != "off"}
  return {name for name, asked in asks.items() if asked}


def initial_state(spec: AlgorithmSpec, asks: set[str]) -> dict:
  """What the row keeps in the run's state: an adaptive beta; the pass rate that sizes groups, a half to begin with."""
  beta = {"beta": spec.beta} if spec.beta_control == "adaptive" else {}
  return beta | ({"pass_rate": np.float32(0.5)} if "present" in asks else {})


def with_state(spec: AlgorithmSpec, algorithm_state: dict) -> AlgorithmSpec:
  """The row with the numbers that adapt during a run."""
  return spec.replace(beta=algorithm_state["beta"]) if spec.beta_control == "adaptive" else spec

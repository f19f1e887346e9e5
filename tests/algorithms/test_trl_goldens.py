"""Losses, gradients, advantages and sampler weights of TRL 1.16.0 on fixed inputs (goldens/README.md)."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.ratios import sampler_weights
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.table import Signals, advantages

FOLDER = Path(__file__).parent / "goldens"
GOLDENS = dict(np.load(FOLDER / "trl.npz"))
CASES = {case.pop("name"): case for case in json.loads((FOLDER / "trl_cases.json").read_text())}
SHAPE = (6, 4, 12)  # B, G, T
REDUCTION = {"grpo": "sequence_mean", "sapo": "sequence_mean", "bnpo": "token_mean", "dapo": "token_mean",
             "cispo": "token_mean", "dr_grpo": "constant"}


def given(name, *shape):
  return GOLDENS[f"in/{name}"].reshape(shape or SHAPE)


def row_of(case):
  """TRL's options as a row of ours."""
  kind, cells = case["loss_type"], {"kl": "off", "reduction_divisor": float(case.get("max_completion_length", 16))}
  cells |= {"reduction": REDUCTION[kind], "ratio": case.get("importance_sampling_level", "token")}
  low = case.get("epsilon", 0.2)
  cells |= {"epsilon_low": low, "epsilon_high": case.get("epsilon_high", low)}
  if "beta" in case:
    cells |= {"beta": case["beta"], "kl": "ratio_k3" if case.get("use_bias_correction_kl") else "k3"}
  if "delta" in case:
    cells |= {"surrogate": "capped", "ratio_cap": case["delta"]}
  if kind == "cispo":
    cells |= {"surrogate": "cispo", "ratio_cap": case.get("epsilon_high", low)}
  if kind == "sapo":
    single = lambda tau: float(np.float32(tau))  # noqa: E731  torch.where makes its scalars float32
    cells |= {"surrogate": "sapo", "tau_positive": single(case.get("sapo_temperature_pos", 1.0)),
              "tau_negative": single(case.get("sapo_temperature_neg", 1.05))}
  if "is_ratio" in case:
    cells |= {"sampler_correction": "sequence_truncate" if case["is_ratio"] == "is_w_seq" else "token_truncate",
              "sampler_high": 1e9}
  return make_spec("grpo", **cells)


def sampler_logps(case, mask):
  """Log-probabilities of a sampler whose importance weights are the given ones."""
  if "is_ratio" not in case:
    return None
  if case["is_ratio"] == "is_w":
    return given("old_logp") - np.log(given("is_w"))
  per_token = np.log(given("is_w_seq", 6, 4, 1)) / np.maximum(mask.sum(-1, keepdims=True), 1)
  return given("old_logp") - per_token


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient(x64, name):
  case = CASES[name]
  spec, mask = row_of(case), given(case.get("mask", "mask")) > 0
  advantage = given("adv_tok") if case.get("adv") == "adv_tok" else given("adv_b", 6, 4, 1)
  old = None if "old" in case else given("old_logp")
  # TRL divides by accumulation steps, or, for dapo and cispo, by the tokens of the whole optimizer step.
  whole = case.get("num_items_in_batch") if case["loss_type"] in ("dapo", "cispo") else None

  def loss(logps):
    (numerator, denominator), _ = policy_loss(
      logps, mask, advantage, old, given("ref_logp") if spec.kl != "off" else None, spec,
      behavior_logps_BGT=sampler_logps(case, mask))
    if whole:
      return numerator / (whole * case["grad_accum"] / case["steps_per_generation"])
    return numerator / denominator / case.get("grad_accum", 1)

  value, gradient = jax.value_and_grad(loss)(given("logp"))
  np.testing.assert_allclose(value, GOLDENS[f"{name}/loss"], rtol=1e-9)
  assert tiny.gap(gradient.reshape(24, 12), GOLDENS[f"{name}/grad_logp"]) <= 1e-9


@pytest.mark.parametrize("case", ["1", "3", "3w", "nan"])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages(scale, case):
  weights = np.array([1.0, 0.5, 2.0]) if case in ("3w", "nan") else np.ones(3)
  scores = (GOLDENS["in/rewards3_nan" if case == "nan" else "in/rewards3"] * weights)[:, : 1 if case == "1" else 3]
  rewards_BG = np.nansum(scores, 1).astype(np.float32).reshape(SHAPE[:2])
  present_BG = ~np.isnan(scores).all(1).reshape(SHAPE[:2])  # TRL leaves an unscored completion out of its group
  cell = {"group": "group_normalized", "batch": "batch_normalized", "none": "centered"}[scale]
  spec = make_spec("grpo", advantage=cell, advantage_epsilon=1e-4)
  ours = advantages(Signals(rewards_BG, present_BG=present_BG), spec, None)[..., 0]
  theirs = np.where(present_BG, GOLDENS[f"adv/{scale}/{case}/advantages"].reshape(SHAPE[:2]), 0)
  assert tiny.gap(ours, theirs) <= 1e-5


@pytest.mark.parametrize("bounds, limits", [("default", (0.0, 3.0)), ("clip", (0.8, 1.25))])
@pytest.mark.parametrize("kind", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
def test_sampler_weights(x64, kind, bounds, limits):
  name = f"sampler_is/{kind}/{bounds}"
  mask = GOLDENS[f"{name}/completion_mask"].reshape(SHAPE) > 0
  ours = sampler_weights(kind, given("old_logp"), given("sampling_logp"), mask, *limits)
  theirs = GOLDENS[f"{name}/importance_sampling_ratio"].reshape(ours.shape)
  mask = mask if ours.shape[-1] > 1 else mask.any(-1, keepdims=True)
  assert tiny.gap(np.where(mask, ours, 0), np.where(mask, theirs, 0)) <= 1e-5

"""Losses, gradients and advantages of TRL 1.16.0 on fixed inputs (goldens/README.md)."""

from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.policy_loss import advantages, policy_loss
from grpo_jax.algorithms.spec import make_spec

GOLDENS = dict(np.load(Path(__file__).parent / "goldens" / "trl.npz"))
SHAPE = (6, 4, 12)  # B, G, T
REDUCTION = {"grpo": "sequence_mean", "bnpo": "token_mean", "dapo": "token_mean", "dr_grpo": "constant"}
K3 = {"kl": "k3", "beta": 0.04}
CASES = {"base": {}, "eps_high": {"epsilon_high": 0.28}, "beta": K3, "on_policy": K3, "mask_holes": K3, "mask_rows": K3}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", REDUCTION)
def test_loss_and_gradient(x64, kind, case):
  spec = make_spec("grpo", reduction=REDUCTION[kind], **({"kl": "off", "reduction_divisor": 16.0} | CASES[case]))
  logps, old, ref = (GOLDENS[f"in/{name}"].reshape(SHAPE) for name in ("logp", "old_logp", "ref_logp"))
  mask = GOLDENS[f"in/{case if case.startswith('mask') else 'mask'}"].reshape(SHAPE) > 0
  advantages_BG = GOLDENS["in/adv_b"].reshape(SHAPE[:2])

  def loss(logps):
    (numerator, denominator), _ = policy_loss(
      logps, mask, advantages_BG, None if case == "on_policy" else old, ref if spec.kl == "k3" else None, spec)
    return numerator / denominator

  value, gradient = jax.value_and_grad(loss)(logps)
  golden = f"loss/{kind}/token/{case}"
  np.testing.assert_allclose(value, GOLDENS[f"{golden}/loss"], rtol=1e-9)
  assert tiny.gap(gradient.reshape(24, 12), GOLDENS[f"{golden}/grad_logp"]) <= 1e-9


@pytest.mark.parametrize("case", ["1", "3", "3w", "nan"])
@pytest.mark.parametrize("scale", ["group", "none"])
def test_advantages(scale, case):
  weights = np.array([1.0, 0.5, 2.0]) if case in ("3w", "nan") else np.ones(3)
  scores = (GOLDENS["in/rewards3_nan" if case == "nan" else "in/rewards3"] * weights)[:, : 1 if case == "1" else 3]
  rewards_BG = np.nansum(scores, 1).astype(np.float32).reshape(SHAPE[:2])
  scored = ~np.isnan(scores).all(1).reshape(SHAPE[:2]).any(1)  # TRL leaves an unscored completion out of its group
  cell = {"group": "group_normalized", "none": "centered"}[scale]
  ours = advantages(rewards_BG, make_spec("grpo", advantage=cell, advantage_epsilon=1e-4), None)
  theirs = GOLDENS[f"adv/{scale}/{case}/advantages"].reshape(SHAPE[:2])
  assert scored.sum() >= 5 and tiny.gap(ours[scored], theirs[scored]) <= 1e-5

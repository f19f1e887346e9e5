"""Losses on pairs: a chosen and a rejected completion, or their scores."""

import jax
import jax.numpy as jnp

from grpo_jax.algorithms.reductions import selected_sum


def pair_loss(margin, *, beta, kind: str = "sigmoid", label_smoothing=0.0):
  """Loss of one pair from its margin (log p - log ref of the chosen) - (the same of the rejected), in nats.

  sigmoid: -(1 - e) log σ(beta m) - e log σ(-beta m), DPO (arXiv 2305.18290) with label smoothing e (cDPO);
  ipo: (m - 1 / (2 beta))² (arXiv 2310.12036, equation 17); hinge: max(0, 1 - beta m) (SLiC). Log-probabilities are
  those of whole completions, sums over tokens, in all three, as in the papers; TRL's ipo takes means over tokens.
  At margin 0, sigmoid is log 2 = .6931472.
  """
  if kind == "ipo":
    return jnp.square(margin - 1 / (2 * beta))
  if kind == "hinge":
    return jax.nn.relu(1 - beta * margin)
  smooth = label_smoothing
  return -(1 - smooth) * jax.nn.log_sigmoid(beta * margin) - smooth * jax.nn.log_sigmoid(-beta * margin)


def bradley_terry(chosen, rejected):
  """-log σ(chosen - rejected), from scores; scores 2 against 0: P = .8807971, loss .1269280 (Christiano 2017)."""
  return -jax.nn.log_sigmoid(chosen - rejected)


def group_pairs(log_ratio_BGT, mask_BGT, roles_BG, spec):
  """DPO loss of each group's best against its worst completion, `[B]`, 0 where there is no such pair."""
  margins_BG = selected_sum(log_ratio_BGT, mask_BGT, -1)
  active = jnp.any(roles_BG != 0, 1)
  loss_B = pair_loss(jnp.sum(roles_BG * margins_BG, 1), beta=spec.pair_beta, kind=spec.pair_loss)
  return jnp.where(active, loss_B, 0), active


PAIR_LOSSES = ("sigmoid", "ipo", "hinge")

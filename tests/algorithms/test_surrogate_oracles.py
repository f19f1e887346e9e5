"""Every ratio, surrogate, KL and reduction through the loss, against a float64 oracle with gradients by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.ratios import CORRECTIONS
from grpo_jax.algorithms.selection import covariances, pick
from grpo_jax.algorithms.spec import PRESETS, make_spec
from grpo_jax.algorithms.table import RATIOS, REDUCTIONS, SURROGATES

B, G, T = 3, 4, 7
NUMBERS = {"beta": 0.3, "epsilon_low": 0.2, "epsilon_high": 0.28, "reduction_divisor": 11.0, "dual_clip": 1.5,
           "ratio_cap": 1.2, "tau_positive": 1.0, "tau_negative": 1.3, "cov_beta": 0.7, "sampler_low": 0.7,
           "sampler_high": 1.3}
KLS = ["off", "k2", "k3", "abs", "ratio_k3"]


def inputs(dtype=np.float64, nan=False):
  """Ragged arrays, one completion empty: logps, mask, advantages `[B, G, T]`, old, ref, behavior, picked, roles."""
  rng = np.random.default_rng(0)
  lengths = rng.integers(1, T + 1, (B, G))
  lengths[1, 2] = 0
  mask = np.arange(T)[None, None] < lengths[..., None]
  logps = rng.normal(-2, 1, (B, G, T))
  near = lambda spread: logps + rng.normal(0, spread, logps.shape)  # noqa: E731
  arrays = [logps, rng.normal(0, 1, (B, G, T)), near(0.3), near(0.5), near(0.4)]
  arrays = [np.where(mask, a, np.nan if nan else 0).astype(dtype) for a in arrays]
  roles = np.array([[1, -1, 0, 0], [0, 0, 0, 0], [0, 1, 0, -1]], dtype)
  return (arrays[0], mask, *arrays[1:], mask & (rng.random(mask.shape) < 0.3), roles)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def surrogate(name, r, a, logp, picked, s):
  """Value, slope with respect to the ratio, and slope with respect to logp besides."""
  low, high = 1 - s["epsilon_low"], 1 + s["epsilon_high"]
  cut = (a > 0 and r > high) or (a < 0 and r < low)
  value, slope = (min(max(r, low), high) * a, 0.0) if cut else (r * a, a)
  if name == "clipped":
    return value, slope, 0.0
  if name == "dual_clipped":
    return (s["dual_clip"] * a, 0.0, 0.0) if a < 0 and value < s["dual_clip"] * a else (value, slope, 0.0)
  if name == "capped":
    own = (s["ratio_cap"] * a, 0.0) if r > s["ratio_cap"] else (r * a, a)
    clip = (min(max(r, low), high) * a, a if low < r < high else 0.0)
    return (*(own if own[0] <= clip[0] else clip), 0.0)
  if name == "plain":
    return r * a, a, 0.0
  if name == "log_prob":
    return a * logp, 0.0, a
  if name == "cispo":
    w = min(r, s["ratio_cap"])
    return w * a * logp, 0.0, w * a
  if name == "sapo":
    tau = s["tau_positive"] if a > 0 else s["tau_negative"]
    gate = sigmoid(tau * (r - 1))
    return 4 / tau * gate * a, 4 * gate * (1 - gate) * a, 0.0
  if name == "clip_cov":
    return value, 0.0 if picked else slope, 0.0
  if name == "kl_cov":
    away = s["cov_beta"] * abs(np.log(r)) if picked else 0
    return r * a - away, a - (s["cov_beta"] * np.sign(np.log(r)) / r if picked else 0), 0.0
  raise AssertionError(f"no oracle for {name}")


def oracle(arrays, spec, given):
  logps, mask, advantages, old, ref, behavior, picked, roles = arrays
  s = {name: getattr(spec, name) for name in NUMBERS}
  old = old if given else logps
  denominator = {"token_mean": mask.sum(), "constant": B * G * s["reduction_divisor"]}.get(spec.reduction, B * G)
  total, gradient = 0.0, np.zeros(logps.shape)
  for b, g in itertools.product(range(B), range(G)):
    n = mask[b, g].sum()
    mean = np.exp((logps - old)[b, g, :n].mean()) if n else 1.0
    weight = 1 / denominator / (n if spec.reduction == "sequence_mean" else 1) if n else 0
    for t in range(n):
      r = {"token": np.exp(logps[b, g, t] - old[b, g, t]), "none": 1.0}.get(spec.ratio, mean)
      value, slope, direct = surrogate(spec.surrogate, r, advantages[b, g, t], logps[b, g, t], picked[b, g, t], s)
      w = 1.0
      if spec.sampler_correction != "off":
        level, action = spec.sampler_correction.split("_")
        gap = (old - behavior)[b, g]
        w = np.exp(gap[t] if level == "token" else gap[:n].sum())
        inside = s["sampler_low"] <= w <= s["sampler_high"]
        w = min(max(w, s["sampler_low"]), s["sampler_high"]) if action == "truncate" else w * inside
      d = logps[b, g, t] - ref[b, g, t]
      k3, by_ratio = np.exp(-d) - 1 + d, 0.0
      kl, kl_slope = {"off": (0, 0), "k2": (d * d / 2, d), "k3": (k3, 1 - np.exp(-d)), "abs": (abs(d), np.sign(d)),
                      "ratio_k3": (r * k3, r * (1 - np.exp(-d)))}[spec.kl]
      by_ratio = k3 if spec.kl == "ratio_k3" else 0.0
      total += weight * (s["beta"] * kl - w * value)
      gradient[b, g, t] += weight * (s["beta"] * kl_slope - w * direct)
      through = weight * (s["beta"] * by_ratio - w * slope) * r  # d ratio / d logp = ratio, or ratio / n for each token
      if spec.ratio == "sequence":
        gradient[b, g, :n] += through / n
      else:
        gradient[b, g, t] += through
  if spec.pair_loss != "off":
    margins = np.where(mask, logps - ref, 0).sum(-1)
    for b in range(B):
      if roles[b].any():
        z = spec.pair_beta * (roles[b] * margins[b]).sum()
        total += spec.pair_weight * -np.log(sigmoid(z)) / B
        gradient[b] -= spec.pair_weight * spec.pair_beta * sigmoid(-z) / B * roles[b][:, None] * mask[b]
  return total, gradient


def value_and_gradient(arrays, spec, given, divided=True):
  logps, mask, advantages, old, ref, behavior, picked, roles = arrays

  def loss(x):
    (numerator, denominator), _ = policy_loss(
      x, mask, advantages, old if given else None, ref, spec, behavior_logps_BGT=behavior, picked_BGT=picked,
      roles_BG=roles)
    return (numerator / denominator, None) if divided else (numerator, denominator)

  (value, denominator), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(logps))
  return (value, gradient) if divided else (value, denominator, gradient)


ROWS = [{"ratio": ratio, "surrogate": name} for ratio in RATIOS for name in SURROGATES]
ROWS += [{"kl": kl, "reduction": reduction, "ratio": ratio} for kl in KLS for reduction in REDUCTIONS
         for ratio in ("token", "sequence")]
ROWS += [{"sampler_correction": kind} for kind in CORRECTIONS[1:]]
ROWS += [{"pair_loss": "sigmoid", "kl": "k3", "reduction": r} for r in ("sequence_mean", "constant", "sequence_sum")]


def specs():
  for cells in ROWS:
    yield make_spec("grpo", **({"kl": "off"} | NUMBERS | cells))


def test_against_the_oracle_in_float64(x64):
  for spec, given in itertools.product(specs(), (True, False)):
    got = value_and_gradient(inputs(), spec, given)
    assert tiny.gap(got, oracle(inputs(), spec, given)) <= 1e-9, (spec, given)


def test_against_the_oracle_in_float32():
  for spec, given in itertools.product(specs(), (True, False)):
    got = value_and_gradient(inputs(np.float32), spec, given)
    assert got[1].dtype == np.float32
    assert tiny.gap(got, oracle(inputs(), spec, given)) <= 1e-5, (spec, given)


def test_padding_may_hold_nan():
  for spec in specs():
    clean, dirty = (value_and_gradient(inputs(np.float32, nan=nan), spec, True) for nan in (False, True))
    jax.tree.map(np.testing.assert_array_equal, dirty, clean)


DUAL = [(-1.0, 5.0, -3.0, 0.0), (-1.0, 2.0, -2.0, -1.0), (1.0, 1.4, 1.2, 0.0)]


@pytest.mark.parametrize("advantage, ratio, objective, slope", DUAL)
def test_dual_clip_known_answers(advantage, ratio, objective, slope):
  from grpo_jax.algorithms.gates import dual_clipped

  f = lambda r: dual_clipped(r, advantage, epsilon_low=0.2, epsilon_high=0.2, bound=3.0)  # noqa: E731
  np.testing.assert_allclose(jax.value_and_grad(f)(ratio), (objective, slope), atol=1e-6)


def test_covariances_and_picks():
  logps, mask, advantages, *_ = inputs()
  x, a = logps[mask], advantages[mask]
  want = (x - x.mean()) * (a - a.mean())
  with jax.enable_x64(True):
    np.testing.assert_allclose(np.asarray(covariances(logps, advantages, mask))[mask], want, rtol=1e-9)
  spec = make_spec("grpo", surrogate="kl_cov", cov_fraction=0.1, cov_low=0.0, cov_high=1.0)
  chosen = np.asarray(pick("kl_cov", logps, advantages, mask, spec, None))
  n = int(np.ceil(np.float32(0.1) * mask.sum()))
  assert chosen.sum() == n and not chosen[~mask].any()
  assert want[chosen[mask]].min() >= np.sort(want)[-n]
  banded = np.asarray(pick("clip_cov", logps, advantages, mask, spec, jax.random.key(0)))
  assert banded.sum() == min(n, ((want > 0) & (want < 1)).sum())
  assert (want[banded[mask]] > 0).all() and (want[banded[mask]] < 1).all()


def test_stacked_specs_are_separate_runs():
  arrays, betas, lows = inputs(np.float32), np.array([0.0, 0.1, 1.0], np.float32), np.array([0.1, 0.2, 0.3], np.float32)
  one = lambda beta, low: value_and_gradient(arrays, make_spec("grpo").replace(beta=beta, epsilon_low=low), True)  # noqa: E731
  stacked = jax.vmap(one)(betas, lows)
  for i in range(3):
    assert tiny.gap(jax.tree.map(lambda a: a[i], stacked), one(betas[i], lows[i])) <= 1e-6  # noqa: B023


def of_parts(arrays, spec, cuts):
  """Loss and gradient with numerators and denominators summed over parts of the batch."""
  numbers = [value_and_gradient([a[cut] for a in arrays], spec, True, divided=False) for cut in cuts]
  denominator = sum(n[1] for n in numbers)
  gradient = np.zeros(arrays[0].shape)
  for cut, (_, _, part) in zip(cuts, numbers, strict=True):
    gradient[cut] = part / denominator
  return sum(n[0] for n in numbers) / denominator, gradient


def test_any_cut_of_the_batch_gives_the_same_loss_and_gradient(x64):
  every = list(specs())
  for spec in every[:-7:4] + every[-7:]:  # every fourth of the grid, and all corrections and pair losses
    whole = value_and_gradient(inputs(), spec, True)
    prompts = [np.s_[:1], np.s_[1:]]
    members = [np.s_[:, :2], np.s_[:, 2:]]
    for cuts in [prompts] if spec.pair_loss != "off" else [prompts, members]:
      assert tiny.gap(of_parts(inputs(), spec, cuts), whole) <= 1e-9, spec


@pytest.mark.parametrize("preset", PRESETS)
def test_the_mesh_changes_neither_loss_nor_gradient(x64, preset):
  spec = make_spec(preset)
  arrays = [np.concatenate([a] * 3)[:8] for a in inputs()]
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()).reshape(4, 2), ("b", "g"))
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("b", "g"))
  f = jax.jit(lambda *arrays: value_and_gradient(arrays, spec, True))
  assert tiny.gap(f(*jax.device_put(arrays, rows)), f(*arrays)) <= 1e-9

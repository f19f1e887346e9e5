"""Every advantage against a float64 oracle in plain loops, on ragged masks, and known answers."""

import itertools

import jax
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms import baselines, token_advantages
from grpo_jax.algorithms.baselines import best_and_worst, kept, leave_one_out, pass_at_k
from grpo_jax.algorithms.filters import penalized
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.table import ADVANTAGES, TAKES_PRESENT, Signals, advantages
from grpo_jax.algorithms.token_advantages import gae

B, G, T = 4, 5, 6


def signals(dtype=np.float64, nan=False):
  """Ragged signals with one group without spread and one member of one token."""
  rng = np.random.default_rng(0)
  lengths = rng.integers(1, T + 1, (B, G))
  mask = np.arange(T)[None, None] < lengths[..., None]
  rewards = rng.choice([0.0, 0.25, 1.0, 2.0], (B, G))
  rewards[1] = 0.1
  ends = mask & (rng.random(mask.shape) < 0.5)
  ends[np.arange(B)[:, None], np.arange(G)[None], lengths - 1] = True
  pad = lambda a: np.where(mask, a, np.nan if nan else 0).astype(dtype)  # noqa: E731
  kl, steps, values = (pad(rng.normal(0, 1, mask.shape)) for _ in range(3))
  return Signals(rewards.astype(dtype), mask, greedy_B=rng.random(B).astype(dtype), kl_BGT=kl,
                 step_rewards_BGT=steps, step_ends_BGT=ends, values_BGT=values)


def std(values, ddof=0):
  values = np.asarray(values, np.float64)
  return np.sqrt(((values - values.mean()) ** 2).sum() / (len(values) - ddof))


def oracle(name, s: Signals, spec):
  """`[B, G, T]` (or its broadcast) where the mask is true; loops over groups, members and tokens."""
  mask, out = s.mask_BGT, np.zeros((B, G, T))
  r = np.array([[s.rewards_BG[b, g] - s.kl_BGT[b, g][mask[b, g]].sum() for g in range(G)] for b in range(B)])
  all_std = std(r.ravel())
  centered = np.array([r[b] - r[b].mean() if r[b].max() > r[b].min() else 0 * r[b] for b in range(B)])
  flat = [r[b].max() == r[b].min() for b in range(B)]
  token = []  # whitened over tokens at the end
  for b, g in itertools.product(range(B), range(G)):
    others = [r[b, h] for h in range(G) if h != g]
    tokens, raw = range(mask[b, g].sum()), s.rewards_BG[b, g]
    if name == "group_normalized":
      value = 0 if flat[b] else centered[b, g] / (std(r[b], 1) + spec.advantage_epsilon)
    elif name == "group_floored":
      value = 0 if flat[b] else centered[b, g] / (max(std(r[b], 1), spec.spread_floor * all_std) + 1e-6)
    elif name == "centered":
      value = centered[b, g]
    elif name == "leave_one_out":
      value = 0 if flat[b] else r[b, g] - np.mean(others)
    elif name == "batch_normalized":
      value = centered[b, g] / (std(r.ravel(), 1) + spec.advantage_epsilon)
    elif name == "group_then_batch":  # whitened over tokens, as verl and OpenRLHF do
      value, token = centered[b, g], [*token, *[centered[b, g]] * len(tokens)]
    elif name == "remax":
      value = r[b, g] - s.greedy_B[b]
    elif name == "length_weighted":
      lengths = mask[b].sum(-1)
      value = 0 if flat[b] else r[b, g] - (lengths * r[b]).sum() / lengths.sum()
    elif name == "shrunken":
      rest = [h for h in range(B) if h != b]
      means = np.array([r[h].mean() for h in rest])
      noise = np.mean([std(r[h], 1) ** 2 / (G - 1) for h in rest])
      between = means.var(ddof=1)
      w = noise / max(max(between - noise, 0) + noise, 1e-12)
      value = r[b, g] - (1 - w) * np.mean(others) - w * means.mean()
    elif name == "pass_at_k":
      sets = list(itertools.combinations(range(G), spec.pass_k))
      gain = [max(r[b, list(i)]) - max(r[b, [j for j in i if j != g]]) for i in sets if g in i]
      value = G * sum(gain) / len(sets)
    elif name == "with_signal_scaled":
      value = centered[b, g] * B / (B - sum(flat))
    elif name == "none":
      value = r[b, g]
    elif name == "best_and_worst":
      value = 0 if flat[b] else float(g == np.argmax(r[b])) - float(g == np.argmin(r[b]))
    elif name == "kept":
      group = s.rewards_BG[b]
      value = float(raw >= 1 and group.max() > group.min())
    elif name in ("process", "multi_scale"):
      steps = np.concatenate([s.step_rewards_BGT[b, h][s.step_ends_BGT[b, h]] for h in range(G)])
      normal = lambda x: (x - steps.mean()) / (std(steps, 1) + spec.advantage_epsilon)  # noqa: E731, B023
      value = [sum(normal(s.step_rewards_BGT[b, g, u]) for u in range(t, T) if s.step_ends_BGT[b, g, u])
               for t in range(T)]
      if name == "multi_scale":
        whole = 0 if flat[b] else centered[b, g] / (std(r[b], 1) + spec.advantage_epsilon)
        value = [spec.mix * whole + (1 - spec.mix) * v for v in value]
    elif name in ("reinforce_pp", "gae"):
      n, value = len(tokens), np.zeros(T)
      for t in tokens:
        if name == "reinforce_pp":
          value[t] = raw - sum(s.kl_BGT[b, g, u] for u in range(t, n))
        else:
          for u in range(t, n):
            reward = (raw if u == n - 1 else 0) - s.kl_BGT[b, g, u]
            after = s.values_BGT[b, g, u + 1] if u + 1 < n else 0
            delta = reward + spec.gamma * after - s.values_BGT[b, g, u]
            value[t] += (spec.gamma * spec.gae_lambda) ** (u - t) * delta
      token += [value[t] for t in tokens]
    else:
      raise AssertionError(f"no oracle for {name}")
    out[b, g] = value
  if token:
    out = (out - np.mean(token)) / np.sqrt(std(token) ** 2 + 1e-8)
  return np.where(mask, out, 0)


def compute(name, s, spec):
  return np.where(s.mask_BGT, advantages(s, spec, None), 0)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_against_the_oracle(name):
  spec = make_spec("grpo", advantage=name, gamma=0.9, gae_lambda=0.8, mix=0.3, pass_k=3, spread_floor=0.9)
  want = oracle(name, signals(), spec)
  with jax.enable_x64(True):
    assert tiny.gap(compute(name, signals(), spec), want) <= 1e-9
  assert tiny.gap(compute(name, signals(np.float32), spec), want) <= 1e-5


@pytest.mark.parametrize("name", ADVANTAGES)
def test_padding_may_hold_nan(name):
  spec = make_spec("grpo", advantage=name)
  np.testing.assert_array_equal(
    compute(name, signals(np.float32, nan=True), spec), compute(name, signals(np.float32), spec))


@pytest.mark.parametrize("name", ADVANTAGES)
def test_the_order_of_a_group_does_not_matter(name):
  spec, s, order = make_spec("grpo", advantage=name), signals(np.float32), np.array([3, 0, 4, 1, 2])
  if name == "best_and_worst":  # the first of equals is taken
    s = s.replace(rewards_BG=s.rewards_BG + np.arange(B * G, dtype=np.float32).reshape(B, G) / 64)
  moved = jax.tree.map(lambda a: a[:, order] if a.ndim > 1 else a, s)
  assert tiny.gap(compute(name, moved, spec), compute(name, s, spec)[:, order]) <= 1e-5


@pytest.mark.parametrize("name", ADVANTAGES)
def test_jit_is_eager(name):
  spec, s = make_spec("grpo", advantage=name), signals(np.float32)
  jitted = np.where(s.mask_BGT, jax.jit(lambda s: advantages(s, spec, None))(s), 0)
  assert tiny.gap(jitted, compute(name, s, spec)) <= 1e-5


@pytest.mark.parametrize("name", sorted(TAKES_PRESENT))
def test_absent_members_count_for_nothing(name):
  spec, s = make_spec("grpo", advantage=name), signals(np.float32).replace(kl_BGT=None)
  present = np.ones((B, G), bool)
  present[:, 3:] = False
  got = advantages(s.replace(present_BG=present, rewards_BG=np.where(present, s.rewards_BG, 99)), spec, None)
  alone = advantages(s.replace(rewards_BG=s.rewards_BG[:, :3], mask_BGT=s.mask_BGT[:, :3]), spec, None)
  assert tiny.gap(got[:, :3], alone) <= 1e-5
  np.testing.assert_array_equal(got[:, 3:], 0)


# Rows whose flat group is not 0 beside others with signal: no group at all, or (group_then_batch) whitened over tokens.
OWN_RULES = {"group_then_batch", "none", "remax", "reinforce_pp", "gae", "shrunken", "process", "multi_scale"}


@pytest.mark.parametrize("name", sorted(set(ADVANTAGES) - OWN_RULES))
def test_groups_without_spread_are_exactly_zero(name):
  s = signals(np.float32).replace(kl_BGT=None)
  value = advantages(s, make_spec("grpo", advantage=name), None)
  np.testing.assert_array_equal(value[1], np.zeros_like(value[1]))


def test_steps_without_spread_are_exactly_zero():
  s = signals(np.float32)
  same = s.replace(step_rewards_BGT=np.full(s.mask_BGT.shape, 0.1, np.float32))
  assert not np.any(advantages(same, make_spec("grpo_process"), None))


@pytest.mark.parametrize("lam, want", [(0.0, (0.1, 0.1, 0.3)), (0.95, (0.46575, 0.385, 0.3)), (1.0, (0.5, 0.4, 0.3))])
def test_gae_known_answers(lam, want):
  arrays = [np.array([[a]], np.float32) for a in ((0, 0, 1), (0.5, 0.6, 0.7))]
  got = gae(*arrays, np.ones((1, 1, 3), bool), gamma=1.0, lam=lam)
  np.testing.assert_allclose(got[0, 0], want, atol=1e-6)


def test_rloo_known_answers():
  rewards = np.array([[1, 0, 0, 1, 1, 0, 1, 0]], np.float32)
  np.testing.assert_allclose(leave_one_out(rewards), np.where(rewards == 1, 0.5714286, -0.5714286), atol=1e-6)


def test_remax_is_zero_for_the_greedy_completion():
  s = Signals(np.array([[60.0, 80.0]], np.float32), np.ones((1, 2, 1), bool), greedy_B=np.array([60.0], np.float32))
  np.testing.assert_array_equal(advantages(s, make_spec("remax"), None)[0, :, 0], [0, 20])


def test_pass_at_all_rewards_the_only_right_one():
  rewards = np.array([[0, 1, 0, 0]], np.float32)
  np.testing.assert_allclose(pass_at_k(rewards, 4), 4 * rewards, atol=1e-6)
  np.testing.assert_allclose(pass_at_k(np.array([[0, 1, 1, 0]], np.float32), 4), 0, atol=1e-6)


def test_rejection_keeps_right_completions_of_mixed_groups():
  rewards = np.array([[1, 0, 1], [1, 1, 1], [0, 0, 0]], np.float32)
  np.testing.assert_array_equal(kept(rewards), [[1, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_best_and_worst_roles():
  np.testing.assert_array_equal(best_and_worst(np.array([[0.5, 1, 0], [1, 1, 1]])), [[0, 1, -1], [0, 0, 0]])


def test_penalties():
  spec = make_spec("grpo", truncated="penalize", truncation_penalty=0.5, length_penalty=0.1)
  rewards, truncated = np.array([[1.0, 0.0]], np.float32), np.array([[False, True]])
  got = penalized(rewards, np.array([[4, 8]]), truncated, 8, spec)
  np.testing.assert_allclose(got, [[1 - 0.1 * 0.5 * 0.5, -0.5 - 0.1 * 0.5]], atol=1e-6)


def test_every_public_advantage_is_in_the_table():
  assert {"group_then_batch", "leave_one_out"} <= set(ADVANTAGES)
  assert callable(baselines.whitened) and callable(token_advantages.returns_to_go)

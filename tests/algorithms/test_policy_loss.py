"""The policy loss against a float64 oracle in plain loops, and its invariances."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from grpo_jax.algorithms.policy_loss import policy_loss
from grpo_jax.algorithms.spec import make_spec
from grpo_jax.algorithms.table import REDUCTIONS

B, G, T = 3, 4, 7
ROWS = list(itertools.product(sorted(REDUCTIONS), ["off", "k2", "k3"], [True, False]))
NUMBERS = {"beta": 0.3, "epsilon_low": 0.2, "epsilon_high": 0.28, "reduction_divisor": 11.0}


def inputs(dtype=np.float64):
  """Ragged log-probabilities around each other, one empty completion: logps, mask, advantages, old, ref."""
  rng = np.random.default_rng(0)
  lengths = rng.integers(1, T + 1, (B, G))
  lengths[1, 2] = 0
  mask = np.arange(T)[None, None] < lengths[..., None]
  logps = rng.normal(-2, 1, (B, G, T))
  old, ref = logps + rng.normal(0, 0.3, logps.shape), logps + rng.normal(0, 0.5, logps.shape)
  return [a.astype(dtype) if a.dtype != bool else a for a in (logps, mask, rng.normal(0, 1, (B, G)), old, ref)]


def oracle(logps, mask, advantages, old, ref, spec):
  """Loss and gradient, token by token, the gradient derived by hand."""
  gradient, total = np.zeros(logps.shape), 0.0
  denominator = {"token_mean": mask.sum(), "sequence_mean": B * G, "sequence_sum": B * G,
                 "constant": B * G * spec.reduction_divisor}
  for b, g, t in np.argwhere(mask):
    a, ratio = advantages[b, g], np.exp(logps[b, g, t] - old[b, g, t])
    low, high = 1 - spec.epsilon_low, 1 + spec.epsilon_high
    value, slope = ratio * a, ratio * a
    if (a > 0 and ratio > high) or (a < 0 and ratio < low):
      value, slope = min(max(ratio, low), high) * a, 0.0
    d = logps[b, g, t] - ref[b, g, t]
    kl, kl_slope = {"off": (0, 0), "k2": (d * d / 2, d), "k3": (np.exp(-d) - 1 + d, 1 - np.exp(-d))}[spec.kl]
    weight = 1 / denominator[spec.reduction]
    weight = weight / mask[b, g].sum() if spec.reduction == "sequence_mean" else weight
    total += weight * (spec.beta * kl - value)
    gradient[b, g, t] = weight * (spec.beta * kl_slope - slope)
  return total, gradient


def loss(logps, mask, advantages, old, ref, spec):
  (numerator, denominator), _ = policy_loss(logps, mask, advantages, old, ref, spec)
  return numerator / denominator


def check_against_oracle(dtype, tolerance):
  for reduction, kl, given in ROWS:
    spec = make_spec("grpo", reduction=reduction, kl=kl, **NUMBERS)
    logps, mask, advantages, old, ref = inputs()
    want = oracle(logps, mask, advantages, old if given else logps, ref, spec)
    logps, mask, advantages, old, ref = inputs(dtype)
    got = jax.value_and_grad(loss)(
      jnp.asarray(logps), mask, advantages, old if given else None, ref if kl != "off" else None, spec)
    assert got[1].dtype == dtype
    assert tiny.gap(got, want) <= tolerance, (reduction, kl, given)


def test_against_the_oracle_in_float64(x64):
  check_against_oracle(np.float64, 1e-9)


def test_against_the_oracle_in_float32():
  check_against_oracle(np.float32, 1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_padding_may_hold_nan(reduction):
  spec = make_spec("grpo", reduction=reduction, **NUMBERS)
  logps, mask, advantages, old, ref = inputs(np.float32)

  def of(logps, advantages, old, ref):
    def scalar(x):
      (numerator, denominator), metrics = policy_loss(x, mask, advantages, old, ref, spec)
      return numerator / denominator, metrics

    return jax.value_and_grad(scalar, has_aux=True)(logps)

  dirty = [np.where(mask, a, np.nan) for a in (logps, old, ref)]
  empty = np.where(mask.any(-1), advantages, np.nan)  # of a completion without a token
  jax.tree.map(np.testing.assert_array_equal, of(dirty[0], empty, *dirty[1:]), of(logps, advantages, old, ref))


def test_the_order_of_a_group_does_not_matter():
  spec, arrays = make_spec("grpo", **NUMBERS), inputs(np.float32)
  order = np.array([2, 0, 3, 1])
  value, gradient = jax.value_and_grad(loss)(*arrays, spec)
  moved, moved_gradient = jax.value_and_grad(loss)(*(a[:, order] for a in arrays), spec)
  assert tiny.gap((moved, moved_gradient), (value, gradient[:, order])) <= 1e-6


def test_jit_is_eager():
  spec, arrays = make_spec("grpo", **NUMBERS), inputs(np.float32)
  assert tiny.gap(jax.jit(policy_loss)(*arrays, spec), policy_loss(*arrays, spec)) <= 1e-6


def test_numbers_do_not_recompile_and_choices_do():
  traced, arrays = [], inputs(np.float32)
  compiled = jax.jit(lambda *args: (traced.append(1), loss(*args))[1])
  values = {float(compiled(*arrays, make_spec("grpo", beta=b, epsilon_low=e))) for b in (0.0, 0.1) for e in (0.1, 0.2)}
  assert len(values) == 4
  assert len(traced) == 1
  compiled(*arrays, make_spec("grpo", kl="k2"))
  assert len(traced) == 2


def test_a_stack_of_specs_is_their_separate_runs():
  arrays = inputs(np.float32)
  numbers = ((0.0, 0.1), (0.04, 0.2), (1.0, 0.3))
  specs = [make_spec("grpo", beta=beta, epsilon_low=e, epsilon_high=2 * e) for beta, e in numbers]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *specs)
  together = jax.vmap(jax.value_and_grad(loss), (None,) * 5 + (0,))(*arrays, stacked)
  separate = [jax.value_and_grad(loss)(*arrays, spec) for spec in specs]
  for i, one in enumerate(separate):
    assert tiny.gap(jax.tree.map(lambda a, i=i: a[i], together), one) <= 1e-6


def test_no_gradient_flows_into_the_advantages():
  gradient = jax.grad(loss, 2)(*inputs(np.float32), make_spec("grpo", **NUMBERS))
  np.testing.assert_array_equal(gradient, np.zeros((B, G)))


def test_on_policy_the_ratio_is_one_and_the_gradient_is_reinforce():
  spec = make_spec("grpo", kl="off", reduction="token_mean")
  logps, mask, advantages, _, _ = inputs(np.float32)
  value, gradient = jax.value_and_grad(loss)(logps, mask, advantages, None, None, spec)
  want = np.where(mask, -advantages[..., None] / mask.sum(), 0)
  assert tiny.gap(gradient, want) <= 1e-6
  np.testing.assert_allclose(value, want.sum(), rtol=1e-5)

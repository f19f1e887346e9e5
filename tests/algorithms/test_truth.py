"""The gradient-truth lab: which rows are unbiased for what, and the KL table of docs/truth.md."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from grpo_jax.algorithms.spec import PRESETS
from grpo_jax.tools import truth

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "truth.md"


@pytest.mark.parametrize("row", truth.UNBIASED)
def test_unbiased_rows(x64, row):
  measured = truth.measure(row)
  assert measured["objective"] == truth.UNBIASED[row][0]
  assert measured["bias"] <= 1e-9
  np.testing.assert_allclose(measured["scale"], truth.UNBIASED[row][1], rtol=1e-9)


@pytest.mark.parametrize("row", ["grpo", "opo", "advantage=length_weighted", "advantage=group_normalized"])
def test_biased_rows_point_uphill_and_are_biased(x64, row):
  measured = truth.measure(row)
  assert measured["bias"] > 1e-3
  assert measured["cosine"] > 0.5


def test_a_baseline_takes_out_what_all_rewards_share(x64):
  world = truth.make_world(1)
  shifted = dataclasses.replace(world, rewards=world.rewards + 3)
  for row, same in (("advantage=leave_one_out", True), ("reinforce", False)):
    (mean, noise), (moved, louder) = (truth.gradient_moments(truth.spec_of(row), w, 3) for w in (world, shifted))
    np.testing.assert_allclose(moved, mean, atol=1e-12)
    assert np.isclose(louder, noise) if same else louder > 5 * noise


KL_ROWS = {
  "exact KL(P ‖ Q)": (0.0989382, -0.0938848, -0.0050534),
  "k1": (0, 0, 0),
  "k2": (0.0989382, -0.0938848, -0.0050534),
  "k3": (0.1, -0.1, 0),
  "ratio_k3": (0.0989382, -0.0938848, -0.0050534),
  "k1 in the reward": (0.0989382, -0.0938848, -0.0050534),
}


@pytest.mark.parametrize("name", KL_ROWS)
def test_kl_gradients(x64, name):
  np.testing.assert_allclose(truth.kl_gradients()[name], KL_ROWS[name], atol=1e-6)


def test_kl_values(x64):
  values = truth.kl_values()
  np.testing.assert_allclose([values["k1"], values["k3"], values["ratio_k3"]], 0.0252672, atol=1e-6)
  np.testing.assert_allclose(values["k2"], 0.0248624, atol=1e-6)


def test_over_whole_completions_only_k1_in_the_reward_is_exact(x64):
  biases = truth.whole_kl_biases()
  assert biases.pop(truth.TO_GO) <= 1e-12
  assert min(biases.values()) > 0.05
  np.testing.assert_allclose(biases["k2"], biases["exact at each visited state"], rtol=1e-9)
  assert all(f"| {name} | {bias:.4f} |" in DOCUMENT.read_text() for name, bias in biases.items())


def test_the_document_is_what_the_lab_computes(x64):
  text = DOCUMENT.read_text()
  for name, gradient in truth.kl_gradients().items():
    assert f"| {name} | ({', '.join(f'{v:.7f}' for v in gradient + 0.0)}) |" in text
  for row in (*PRESETS, *truth.CELL_ROWS):
    assert f"| {row} |" in text
  measured = truth.measure("rloo")
  assert f"| rloo | 1, 4 | E[r] - beta KL | {measured['scale']:.4f} |" in text


def test_probabilities_of_completions_sum_to_one(x64):
  world = truth.make_world(2)
  p = np.exp(np.asarray(truth.completion_logps(world.logits))).prod(-1)
  np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
  assert jax.tree.all(jax.tree.map(lambda a: np.isfinite(a).all(), truth.exact_values(world)))

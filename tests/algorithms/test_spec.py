"""Rows of the table: presets, refusals, and which fields are choices and which numbers."""

import jax
import pytest

from grpo_jax.algorithms.spec import CELLS, PRESETS, make_spec


def test_grpo_as_published():
  spec = make_spec("grpo")
  cells = (spec.advantage, spec.ddof, spec.ratio, spec.surrogate, spec.kl, spec.reduction)
  assert cells == ("group_normalized", 1, "token", "clipped", "k3", "sequence_mean")
  assert (spec.beta, spec.epsilon_low, spec.epsilon_high) == (0.04, 0.2, 0.2)


def test_dr_grpo_as_published():
  spec = make_spec("dr_grpo")
  assert (spec.advantage, spec.kl, spec.reduction) == ("centered", "off", "constant")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_replaced_cell_is_the_only_change(preset):
  spec = make_spec(preset, epsilon_high=0.28)
  assert spec == make_spec(preset).replace(epsilon_high=0.28)


def test_an_unknown_preset_lists_the_known_ones():
  with pytest.raises(ValueError, match=r"algorithm\.preset='gpro'.*dr_grpo.*grpo"):
    make_spec("gpro")


@pytest.mark.parametrize("cell", CELLS)
def test_an_unknown_cell_lists_the_known_ones(cell):
  with pytest.raises(ValueError) as error:
    make_spec("grpo", **{cell: "nonsense"})
  assert f"algorithm.{cell}='nonsense'" in str(error.value)
  assert all(repr(known) in str(error.value) for known in CELLS[cell])


def test_k1_is_refused_in_the_loss_with_what_to_use():
  with pytest.raises(ValueError, match=r"algorithm\.kl='k1'.*zero.*k3.*k2.*off"):
    make_spec("grpo", kl="k1")


def test_numbers_are_leaves_and_choices_are_not():
  spec = make_spec("grpo", beta=0.5)
  assert jax.tree.structure(spec) == jax.tree.structure(make_spec("grpo"))
  assert 0.5 in jax.tree.leaves(spec)
  assert jax.tree.structure(spec) != jax.tree.structure(make_spec("grpo", kl="k2"))
  assert jax.tree.structure(spec) != jax.tree.structure(make_spec("grpo", ddof=0))


REFUSED = [
  ({"kl": "exact", "kl_place": "reward"}, "kl_place='reward'"),
  ({"kl": "off", "beta_control": "adaptive"}, "needs a KL"),
  ({"kl": "off", "pair_loss": "sigmoid"}, "pair_loss='sigmoid' needs"),
  ({"reduction": "token_mean", "pair_loss": "sigmoid"}, "no length"),
  ({"advantage": "pass_at_k", "pass_k": 1}, "whole number in .2, 65536"),
  ({"advantage": "process", "kl_place": "reward"}, "would be ignored by advantage='process'"),
  ({"advantage": "multi_scale", "kl": "k1", "kl_place": "reward"}, "use 'loss'"),
  ({"beta_control": "adaptive", "beta": 0.0}, "never moves"),
  ({"reduction": "constant", "reduction_divisor": 0.0}, r"reduction_divisor=0.0 must be a finite number in \(0"),
]


@pytest.mark.parametrize("cells, words", REFUSED)
def test_rows_that_contradict_themselves_are_refused(cells, words):
  with pytest.raises(ValueError, match=words):
    make_spec("grpo", **cells)


def test_k1_is_allowed_in_the_reward():
  assert make_spec("grpo", kl="k1", kl_place="reward").kl == "k1"

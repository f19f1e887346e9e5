"""Meshes and partition rules: what they cover, what they refuse, and that they change no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from families import FAMILIES
from jax.sharding import PartitionSpec as P

from grpo_jax.algorithms.spec import make_spec
from grpo_jax.distributed.mesh import axes_of, make_mesh, put, state_shardings
from grpo_jax.models.config import param_shapes
from grpo_jax.training.accumulate import Cut
from grpo_jax.training.optimizer import OptimizerSpec
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import new_state


def abstract(cfg):
  is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
  return jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, "float32"), param_shapes(cfg), is_leaf=is_shape)


def test_eight_devices_are_faked():
  assert jax.device_count() == 8


@pytest.mark.parametrize("asked, sizes", [
  ({}, (8, 1, 1, 1)), ({"data": 2, "fsdp": -1, "tensor": 2}, (2, 2, 1, 2)), ({"data": 1, "tensor": -1}, (1, 1, 1, 8)),
  ({"data": 2, "fsdp": 2, "sequence": -1}, (2, 2, 2, 1)),
])
def test_one_axis_takes_what_is_left(asked, sizes):
  assert tuple(make_mesh(**asked).shape.values()) == sizes


@pytest.mark.parametrize("asked, words", [
  ({"data": 3}, r"mesh\.data=3.*8 devices.*product"),
  ({"data": 2, "fsdp": 2, "tensor": 1}, r"mesh\.fsdp=2.*8 devices"),
  ({"data": 16}, "8 devices"),
  ({"data": -1, "fsdp": -1}, "at most one"),
  ({"data": 0}, "positive"),
  ({"tensor": -2}, "positive"),
])
def test_an_impossible_mesh_says_why(asked, words):
  with pytest.raises(ValueError, match=words):
    make_mesh(**asked)


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_cover_every_parameter_and_split_every_matrix(family):
  cfg = tiny.config(**FAMILIES[family])
  shardings = state_shardings(make_mesh(2, 2, 2), abstract(cfg))
  for path, sharding in jax.tree_util.tree_leaves_with_path(shardings):
    name = path[-1].key
    want = set() if name.endswith("norm") else {"tensor"} if name.endswith("bias") else {"fsdp", "tensor"}
    assert {axis for axis in sharding.spec if axis} == want, name
  layers = shardings["layers"]
  assert layers["q"].spec == P(None, "fsdp", "tensor") and layers["o"].spec == P(None, "tensor", "fsdp")


def test_moments_and_reference_live_where_their_parameter_does():
  params = tiny.params(tiny.config())
  state = state_shardings(make_mesh(2, 2, 2), jax.eval_shape(lambda p: new_state(p, 0, reference=True), params))
  assert state.opt_state.mu == state.opt_state.nu == state.ref_params == state.params
  assert state.step.spec == P()


def test_an_indivisible_parameter_names_path_shape_and_sizes_that_work():
  cfg = tiny.config(vocab_size=25)
  with pytest.raises(ValueError, match=r"embed of shape \(25, 16\).*mesh\.tensor=2.*divide 25: \[1, 5\]"):
    state_shardings(make_mesh(2, 2, 2), abstract(cfg))


def test_an_unknown_parameter_asks_for_a_rule():
  with pytest.raises(ValueError, match=r"layers/router.*rule"):
    state_shardings(make_mesh(), {"layers": {"router": jax.ShapeDtypeStruct((2, 8, 4), "float32")}})


def stepped(mesh, cut, B=8, G=2, T=6):
  """Gradient (the first moment with b1 = 0), parameters and metrics of a policy step on a stored rollout on a mesh."""
  cfg = tiny.config(num_layers=1)
  lengths = ((3, 5, 1, 4, 2, 5, 3, 1) * 2)[:B]
  batch = tiny.experience(tiny.prompts(lengths), G=G, T=T)
  state = new_state(jax.tree.map(jnp.asarray, tiny.params(cfg)), 0, reference=False)
  state = jax.device_put(state, state_shardings(mesh, state))
  step = jax.jit(policy_step, static_argnames=("cfg", "cut"))
  optimizer = OptimizerSpec(b1=0.0, clip_norm=1e9, learning_rate=1e-3)
  with jax.set_mesh(mesh):
    after, metrics = step(state, put(mesh, batch), make_spec("grpo"), optimizer, 1.0, cfg=cfg, cut=cut)
  return after.opt_state.mu, after.params, {name: total / count for name, (total, count) in metrics.items()}


@pytest.fixture(scope="module")
def on_one_device():
  return jax.device_get(stepped(make_mesh(1, devices=jax.devices()[:1]), Cut()))


MESHES = {"data": (8, 1, 1, 1), "fsdp": (1, 8, 1, 1), "all": (2, 2, 2, 1), "tensor": (1, 2, 4, 1),
          "sequence": (2, 2, 1, 2), "long": (1, 2, 2, 2)}


@pytest.mark.parametrize("sizes", MESHES.values(), ids=MESHES)
def test_the_mesh_changes_no_gradient(on_one_device, sizes):
  gradient, *rest = stepped(make_mesh(*sizes), Cut())
  assert len(gradient["layers"]["q"].sharding.device_set) == 8
  assert tiny.gap((gradient, *rest), on_one_device) <= 1e-5


@pytest.mark.parametrize("sizes, cut", [
  ((2, 2, 2), Cut(prompts=4, members=1)), ((1, 2, 2, 2), Cut(prompts=4, row=24))])
def test_microbatches_and_packed_rows_on_a_mesh_change_no_gradient(on_one_device, sizes, cut):
  assert tiny.gap(stepped(make_mesh(*sizes), cut), on_one_device) <= 1e-5


@pytest.mark.parametrize("sizes, row", [((2, 4, 1), 0), ((4, 2, 1), 11), ((1, 8, 1), 0)])
def test_few_prompts_of_large_groups_are_split_by_members(sizes, row):
  one = jax.device_get(stepped(make_mesh(1, devices=jax.devices()[:1]), Cut(), B=2, G=8))
  mesh = make_mesh(*sizes)
  tokens = put(mesh, tiny.experience(tiny.prompts((3, 5)), G=8)).tokens_BGT
  assert len({str(shard.index) for shard in tokens.addressable_shards}) == 8  # every device has tokens of its own
  assert tiny.gap(stepped(mesh, Cut(row=row), B=2, G=8), one) <= 1e-5


@pytest.mark.parametrize("sizes, B, prompts, members", [
  ((4, 2, 1), 8, ("data", "fsdp"), ()), ((4, 2, 1), 4, ("data",), ("fsdp",)), ((4, 2, 1), 2, ("fsdp",), ("data",)),
  ((4, 2, 1), 3, (), ("data", "fsdp")), ((1, 1, 8), 3, ("data", "fsdp"), ()),
])
def test_axes_of_prompts_and_members(sizes, B, prompts, members):
  assert axes_of(make_mesh(*sizes), B) == (prompts, members)


def test_batches_are_split_by_the_letters_of_their_names():
  mesh = make_mesh(2, 2, 1, 2)
  rollout = put(mesh, tiny.experience(tiny.prompts((3, 5, 1, 4)), G=2, T=6))
  assert rollout.tokens_BGT.sharding.spec == P(("data", "fsdp"), (), ("sequence",))
  assert rollout.prompts.tokens_BP.sharding.spec == P(("data", "fsdp"), ())
  assert rollout.prompts.uids_B.sharding.spec == P(("data", "fsdp"))
  alone = put(mesh, {"rows": np.zeros((8, 3)), "number": np.float32(1)})
  assert alone["rows"].addressable_shards[0].data.shape == (2, 3)
  assert alone["number"].sharding.is_fully_replicated

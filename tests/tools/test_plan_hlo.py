"""Collectives read from compiled programs whose counts and bytes are known by hand, on 8 fake devices."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from grpo_jax.sampling.loop import LATER
from grpo_jax.tools.hlo import _groups, _instruction, _trips, collectives

PROGRAMS = """
import dataclasses, json
import jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from grpo_jax.tools.hlo import collectives

mesh = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
put = lambda shape, spec: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))

def read(function, *args):
  text = jax.jit(function).lower(*args).compile().as_text()
  return [dataclasses.asdict(c) for c in collectives(text, dict(mesh.shape))]

def gathers(w, x):  # 5 layers, each of whose [16, 32] matrices is gathered over fsdp
  def layer(x, w):
    whole = jax.shard_map(lambda p: jax.lax.all_gather(p, "fsdp", tiled=True), mesh=mesh, in_specs=P("fsdp"),
                          out_specs=P(), check_vma=False)(w)
    return jnp.tanh(x @ whole @ whole.T), None
  return jax.lax.scan(layer, x, w)[0]

def sums(x):
  return jax.shard_map(lambda p: jax.lax.psum(p, "data"), mesh=mesh, in_specs=P("data"), out_specs=P())(x)

def scatters(x):
  return jax.shard_map(lambda p: jax.lax.psum_scatter(p, "fsdp", tiled=True), mesh=mesh, in_specs=P(),
                       out_specs=P("fsdp"), check_vma=False)(x)

def moves(x):
  shift = lambda p: jax.lax.ppermute(p, "fsdp", [(i, (i + 1) % 4) for i in range(4)])
  return jax.shard_map(shift, mesh=mesh, in_specs=P("fsdp"), out_specs=P("fsdp"))(x)

def until(x):  # a while loop: its bound is the count
  step = lambda c: (c[0] + 1, sums(jnp.sin(c[1])) * jnp.ones((2, 1)))  # sums [1, 50], and asks for one number of it
  return jax.lax.while_loop(lambda c: (c[0] < 7) & (c[1][0, 0] < 9), step, (0, x))[1]

print(json.dumps({
  "gathers": read(gathers, put((5, 16, 32), P(None, "fsdp")), put((8, 16), P("data"))),
  "sums": read(sums, put((6, 100), P("data"))),
  "scatters": read(scatters, put((16, 10), P())),
  "moves": read(moves, put((8, 10), P("fsdp"))),
  "until": read(until, put((2, 50), P("data"))),
  "nothing": read(jnp.sin, put((8, 8), P("data"))),
}))
"""


@pytest.fixture(scope="module")
def found():
  """The collectives of PROGRAMS, from a process that has 8 CPU devices."""
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
  done = subprocess.run([sys.executable, "-c", PROGRAMS], env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout.splitlines()[-1])


def row(kind, axes, count, size, wire):
  return {"kind": kind, "axes": axes, "count": count, "bytes": size, "wire_bytes": wire, "between_slices": False}


def test_a_gather_in_a_scan_counts_its_trips(found):
  size = 5 * 4 * 16 * 32  # five layers, float32
  assert found["gathers"] == [row("all-gather", ["fsdp"], 5, size, size * 3 // 4)]


def test_a_sum_is_sent_twice(found):
  assert found["sums"] == [row("all-reduce", ["data"], 1, 4 * 3 * 100, 4 * 3 * 100)]


def test_a_scatter_counts_its_operand_and_a_permute_what_it_moves(found):
  assert found["scatters"] == [row("reduce-scatter", ["fsdp"], 1, 4 * 16 * 10, 4 * 16 * 10 * 3 // 4)]
  assert found["moves"] == [row("collective-permute", ["fsdp"], 1, 4 * 2 * 10, 4 * 2 * 10)]


def test_a_while_loop_counts_up_to_its_bound(found):
  assert [(c["kind"], c["count"], c["bytes"]) for c in found["until"]] == [("all-reduce", 7 + 7, 7 * 4 * (50 + 1))]


def test_a_program_of_one_device_each_has_none(found):
  assert found["nothing"] == []


@pytest.mark.parametrize("text, groups", [
  ("replica_groups={{0,1},{2,3}}, x=1", [[0, 1], [2, 3]]),
  ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
  ("replica_groups=[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
  ("replica_groups=mesh['a'=2,'b'=2] {'b'}", [[0, 1], [2, 3]]),
  ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
  ("replica_groups=mesh['a'=4] {'a':(2)2}", [[0, 1], [2, 3]]),
  ("replica_groups=mesh['a'=4] {'a':(1)2}", [[0, 2], [1, 3]]),
  ("replica_groups=mesh['a'=2,'b'=1,'c'=2], device_ids=([2,2]T(1,0)) {'a'}, x", [[0, 1], [2, 3]]),
  ("replica_groups=mesh['a'=2,'b'=2], device_ids=(3,2,1,0) {'b'}, x", [[3, 2], [1, 0]]),
  ("replica_groups={}", [[0, 1, 2, 3]]),
  ("source_target_pairs={{0,1},{2,3}}", [[0, 1], [2, 3]]),
])
def test_groups_in_every_notation(text, groups):
  np.testing.assert_array_equal(_groups(text, (2, 2)), groups)


def test_groups_in_an_unknown_notation_are_an_error():
  with pytest.raises(ValueError, match="not known"):
    _groups("replica_groups=tree<2>", (2, 2))


def test_a_noted_trip_count_wins_over_the_condition():
  noted = 'backend_config={"known_trip_count":{"n":"9"}}'
  loop = _instruction(f"  %w = (s32[], f32[2]{{0}}) while(%t), condition=%c, body=%b, {noted}")
  assert _trips(loop, {"c": [_instruction("  %k = s32[] constant(4)")]}) == 9
  bare = _instruction("  %w = (s32[], f32[2]{0}) while(%t), condition=%c, body=%b")
  name = f'metadata={{op_name="jit(f)/vmap({LATER})/while"}}'
  later = _instruction(f"  %w = (s32[]) while(%t), condition=%c, body=%b, {name}")
  bound, least = (_instruction(f"  %k = s32[]{{:T(128)}} constant({n})") for n in (4, 2**31 - 1))
  assert _trips(bare, {"c": [bound]}) == _trips(bare, {"c": [bound, least]}) == 4  # a minimum begins with the largest
  assert _trips(later, {"c": [bound]}) == 0


TPU = """
%all-reduce-scatter.1 (input: bf16[16,256]) -> bf16[2,256] {
  %input = bf16[16,256]{1,0} parameter(0)
  %all-reduce.1 = bf16[16,256]{1,0:T(8,128)(2,1)} all-reduce(%input), replica_groups=[2,4]<=[8], to_apply=%add
  ROOT %slice = bf16[2,256]{1,0} dynamic-slice(%all-reduce.1, %a, %b), dynamic_slice_sizes={2,256}
}

ENTRY %main (p: bf16[16,256]) -> bf16[2,256] {
  %p = bf16[16,256]{1,0} parameter(0)
  %start = (bf16[7,64]{1,0}, bf16[7,64]{1,0}, u32[]{:S(2)}) collective-permute-start(%p), source_target_pairs={{0,4}}
  %gather = (bf16[4,64]{1,0}, bf16[16,64]{1,0}) all-gather-start(%p), replica_groups=[2,4]<=[8], dimensions={0}
  %send = (f32[64,8]{1,0:T(8,128)}, u32[], token[]) send(%p, %t), _xla_megascale_transfer_type="ALL_REDUCE"
  ROOT %fusion = bf16[2,256]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1
}
"""


def test_fused_and_asynchronous_forms_of_tpus():
  *found, slow = sorted(collectives(TPU, {"data": 2, "fsdp": 4}), key=lambda c: c.between_slices)
  assert (slow.kind, slow.axes, slow.wire_bytes) == ("all-reduce", ("data",), 4 * 64 * 8)
  found = {c.kind: (c.axes, c.count, c.bytes) for c in found}
  assert found == {"reduce-scatter": (("fsdp",), 1, 2 * 16 * 256), "collective-permute": (("data",), 1, 2 * 7 * 64),
                   "all-gather": (("fsdp",), 1, 2 * 16 * 64)}


def test_a_collective_in_three_fusions_is_one():
  """An asynchronous gather on a TPU: its start, what runs beside it and its end all hold it, with one channel."""
  inside = "%{0} (p: bf16[4,64]) -> bf16[16,64] {{\n  %g = bf16[16,64]{{1,0}} all-gather(%p), channel_id=7, " \
           "replica_groups=[2,4]<=[8], dimensions={{0}}\n}}\n"
  call = "  %{0}.1 = bf16[16,64]{{1,0}} fusion(%p), kind=kCustom, calls=%{0}\n"
  names = ("begin", "beside", "end")
  other = "  %h = bf16[16,64]{1,0} all-gather(%p), channel_id=8, replica_groups=[2,4]<=[8], dimensions={0}\n"
  text = "".join(map(inside.format, names)) + "ENTRY %main (p: bf16[4,64]) -> bf16[16,64] {\n"
  (found,) = collectives(text + "".join(map(call.format, names)) + other + "}\n", {"data": 2, "fsdp": 4})
  assert (found.kind, found.axes, found.count, found.bytes) == ("all-gather", ("fsdp",), 2, 2 * 2 * 16 * 64)

"""A plan as markdown and as JSON."""

import dataclasses
import importlib.metadata
import os

from grpo_jax.tools.plan_chips import Topology
from grpo_jax.tools.plan_estimate import (
  batch_arithmetic,
  estimate,
  fits,
  headroom,
  seconds_per_iteration,
  times_per_iteration,
)
from grpo_jax.tools.plan_programs import GIB, Plan

GB = 1e9
NOTE = (
  "Peak: the compiler's, per {unit}, arguments included. Beside it: the rest of the state. FLOPs: matrix products of "
  "the whole program, over all {unit}s, each loop times its turns, decoding to the last token. Sent: over the network, "
  "per {unit}, as rings. **Seconds are an estimate, not a timing**: the longest of FLOPs, HBM traffic (modelled) and "
  "network at the chip's published peaks, which no program reaches. A compile proves that a program lowers, splits and "
  "fits; it proves nothing about its numbers or its speed."
)


def as_dict(plan: Plan, topology: Topology) -> dict:
  """Everything that the table shows, for JSON."""
  chip, mesh = topology.chip, plan.setup.mesh
  programs = []
  for program in plan.programs:
    seconds = estimate(plan, program, chip)
    programs.append(dataclasses.asdict(program) | {
      "headroom": headroom(program, chip), "times_per_iteration": times_per_iteration(plan).get(program.kind, 0),
      "estimate": dataclasses.asdict(seconds) | {"seconds": seconds.seconds, "bound": seconds.bound},
    })
  return {
    "topology": dataclasses.asdict(topology), "chip": dataclasses.asdict(chip), "mesh": dict(mesh.shape),
    "chips": plan.devices // chip.per_chip, "fits": fits(plan, chip), "versions": versions(),
    "state_bytes_per_device": plan.state_bytes, "batch": batch_of(plan), "programs": programs,
    "estimated_seconds_per_iteration": seconds_per_iteration(plan, chip),
    "compile_seconds": sum(p.seconds_to_compile for p in plan.programs), "config": plan.config.to_dict(),
  }


def batch_of(plan: Plan) -> dict:
  """The batch arithmetic on the mesh of a plan."""
  return batch_arithmetic(plan.config, plan.setup.mesh.shape["data"] * plan.setup.mesh.shape["fsdp"])


def versions() -> dict[str, str]:
  """Versions that the executables depend on, and the compiler's effort where it is not the usual one."""
  found = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "libtpu")}
  effort = os.environ.get("JAX_EXEC_TIME_OPTIMIZATION_EFFORT")
  return found | ({"exec_time_optimization_effort": effort} if effort else {})


def _program_rows(plan: Plan, chip):
  for p in plan.programs:
    seconds = estimate(plan, p, chip)
    room = headroom(p, chip) / GIB
    yield (p.name, f"{p.peak / GIB:.2f}", f"{p.beside / GIB:.2f}", "refused" if p.error else f"{room:.2f}",
           f"{p.flops / 1e12:.4g}", f"{sum(c.wire_bytes for c in p.collectives) / GB:.3g}",
           f"{seconds.compute:.3g} / {seconds.memory:.3g} / {seconds.network:.3g}",
           f"{times_per_iteration(plan).get(p.kind, 0)} × {seconds.seconds:.3g} ({seconds.bound})",
           f"{p.seconds_to_compile:.0f}")


def _collective_rows(plan: Plan):
  for p in plan.programs:
    for c in p.collectives:
      if c.bytes >= 1e6:  # counters and norms say nothing
        yield (p.name, c.kind, ", ".join(c.axes) + (" (between slices)" if c.between_slices else ""), f"{c.count:,}",
               f"{c.bytes / GB:.3g}", f"{c.wire_bytes / GB:.3g}")


def _table(titles, rows) -> list[str]:
  lines = [titles, ["---"] * len(titles), *rows]
  return ["| " + " | ".join(line) + " |" for line in lines]


def markdown(plan: Plan, topology: Topology, title: str, command: str, remarks=()) -> str:
  """The plan as a page: sizes, programs, collectives, batch; `remarks` are lines above them."""
  chip, mesh, cfg = topology.chip, plan.setup.mesh, plan.setup.cfg
  unit = "chip" if chip.per_chip == 1 else "half chip"
  shape = " × ".join(f"{axis} {n}" for axis, n in mesh.shape.items() if n > 1)
  state = f"state {plan.state_bytes / GIB:.2f} GiB per {unit}"
  built = ", ".join(f"{name} {version}" for name, version in versions().items())
  called = ", ".join(f"{p.kernels} in {p.name}" for p in plan.programs if p.kernels)
  kernels = f" (Pallas kernels: {called})" if called else ""
  titles = ["program", "peak GiB", "beside it GiB", "head-room GiB", "TFLOPs", "sent GB",
            "compute / HBM / network s", "per iteration × s", "compiled in s"]
  lines = [f"# {title}", "", f"```bash\n{command}\n```", "", *remarks, *([""] if remarks else []),
           f"{plan.devices // chip.per_chip} chips ({chip.name}, {chip.usable_gib} GiB usable), mesh {shape}, sampler "
           f"`{plan.config.mesh.sampler}`, attention `{cfg.attention}`{kernels}; {cfg.num_layers} layers × "
           f"{cfg.width}, {state}. {built}; nothing was run.", "",
           f"**{'It fits.' if fits(plan, chip) else 'It does not fit.'}** Estimated seconds per iteration at the "
           f"published peaks: {seconds_per_iteration(plan, chip):.3g}.", "",
           *_table(titles, _program_rows(plan, chip)), "", NOTE.format(unit=unit), "",
           "Collectives of at least 1 MB, per run of the program:", "",
           *_table(["program", "kind", "over", "count", "GB", "sent GB"], _collective_rows(plan)), "",
           "Batch: " + ", ".join(f"{name} {n:,g}" for name, n in batch_of(plan).items()) + "."]
  refusals = [f"- `{p.name}`: {p.error}" for p in plan.programs if p.error]
  return "\n".join([*lines, *(["", "The compiler refused:", "", *refusals] if refusals else [])]) + "\n"

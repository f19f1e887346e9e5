"""What to change in a run that does not fit, and which split of the devices is best: found by compiling."""

from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

from grpo_jax.runs.model import load_model
from grpo_jax.runs.parts import RLParts
from grpo_jax.tools.plan_chips import Chip
from grpo_jax.tools.plan_estimate import SCORING, STEPPING, fits, headroom, seconds_per_iteration
from grpo_jax.tools.plan_programs import GIB, SAMPLERS, Plan, abstract_setup, compile_plan, local_bytes

SEARCHED = ("cast", "sample", *SCORING, *STEPPING)


def changed(config: ConfigDict, changes: dict) -> ConfigDict:
  """A copy of a config with other values, by dotted key."""
  copy = ConfigDict(config.to_dict())
  copy.update_from_flattened_dict(changes)
  return copy.lock()


def _smaller(n: int) -> int | None:
  """The largest proper divisor."""
  return next((d for d in range(n // 2, 0, -1) if n % d == 0), None)


def _half(n: int) -> int | None:
  return n // 2 if n > 1 and n % 2 == 0 else None


def _micro_prompts(config, mesh, cfg):
  rows = _smaller(config.train.micro_prompts or config.train.minibatch_prompts or config.train.prompts)
  return rows and {"train.micro_prompts": rows}


def _micro_members(config, mesh, cfg):
  members = _smaller(config.train.micro_members or config.sampling.group_size)
  return members and {"train.micro_members": members}


def _remat(config, mesh, cfg):
  return None if config.model.remat else {"model.remat": True}


def _logit_chunk(config, mesh, cfg):
  chunk = _half(config.train.logit_chunk or max(config.completion_buckets))
  return chunk and {"train.logit_chunk": chunk}


def _fsdp(config, mesh, cfg):
  data = _half(mesh["data"])
  return data and {"mesh.data": data, "mesh.fsdp": 2 * mesh["fsdp"]}


def _tensor(config, mesh, cfg):
  tensor = 2 * mesh["tensor"]
  donor = next((axis for axis in ("fsdp", "data") if _half(mesh[axis])), None)  # the state stays as it is split
  if donor is None or cfg.num_kv_heads % tensor:
    return None
  return {f"mesh.{donor}": mesh[donor] // 2, "mesh.tensor": tensor}


def _sampler(config, mesh, cfg):
  return {"mesh.sampler": "same"} if config.mesh.sampler == "gathered" else None


# In this order: first what costs little speed, then what moves more over the network. Each: the next value of a knob
# or None, and the kinds of programs that it can make smaller.
KNOBS: tuple[tuple[Callable, tuple[str, ...]], ...] = (
  (_micro_prompts, SCORING + STEPPING),
  (_micro_members, SCORING + STEPPING),
  (_remat, STEPPING),
  (_logit_chunk, SCORING + STEPPING),
  (_fsdp, ()),  # () is all
  (_tensor, ()),
  (_sampler, (*SAMPLERS, "cast")),
)


def bring_in(plan: Plan, devices, chip: Chip, say=print) -> tuple[dict, Plan | None]:
  """Changes that make a plan fit, by trying `KNOBS` in their order, and the plan with them; None where none do.

  A knob is turned as long as the worst program gains by it; one that gains nothing is left as it was.
  """
  failing = {program.kind for program in plan.programs if program.error or headroom(program, chip) < 0}
  config, best, changes = plan.config, min(headroom(p, chip) for p in plan.programs), {}
  for knob, helps in KNOBS:
    while not helps or failing & set(helps):
      mesh = dict(abstract_setup(config, devices).mesh.shape)
      change = knob(config, mesh, plan.setup.cfg)
      if not change:
        break
      try:
        trial = compile_plan(changed(config, change), devices, failing)
      except ValueError as error:
        say(f"{change}: {error}")
        break
      room = min(headroom(p, chip) for p in trial.programs)
      say(f"{change}: head-room {room / GIB:.2f} GiB in {', '.join(sorted(failing))}")
      if fits(trial, chip):
        whole = compile_plan(changed(config, change), devices)
        if fits(whole, chip):
          return changes | change, whole
        failing |= {p.kind for p in whole.programs if headroom(p, chip) < 0}
        room = min(headroom(p, chip) for p in whole.programs)
      if room <= best:
        break
      config, best, changes = changed(config, change), room, changes | change
  return changes, None


def splits(devices: int, num_kv_heads: int) -> Iterator[dict]:
  """The (data, fsdp, tensor) in powers of two, tensor within the key/value heads; least network first."""
  powers = [2**i for i in range(devices.bit_length()) if devices % 2**i == 0]
  for tensor in powers:
    for fsdp in powers if num_kv_heads % tensor == 0 else ():
      if devices % (tensor * fsdp) == 0:
        yield {"mesh.data": devices // (tensor * fsdp), "mesh.fsdp": fsdp, "mesh.tensor": tensor, "mesh.sequence": 1}


def search(config: ConfigDict, devices, chip: Chip, say=print) -> list[tuple[float, dict, Plan]]:
  """Every split that is allowed, holds the state and fits, by estimated seconds per iteration, best first."""
  found = []
  for split in splits(len(devices), load_model(config).cfg.num_kv_heads):
    label = " × ".join(f"{key.removeprefix('mesh.')} {n}" for key, n in split.items() if n > 1)
    try:
      setup = abstract_setup(changed(config, split), devices)
    except ValueError as error:
      say(f"{label}: not allowed: {error}")
      continue
    held = local_bytes(RLParts.of(setup).fresh_state(abstract=True))
    if held > chip.usable_gib * GIB:
      say(f"{label}: left out, the state alone is {held / GIB:.1f} GiB per device")
      continue
    plan = compile_plan(setup.config, devices, SEARCHED)
    room, seconds = min(headroom(p, chip) for p in plan.programs), seconds_per_iteration(plan, chip)
    say(f"{label}: head-room {room / GIB:.2f} GiB, estimate {seconds:.2f} s per iteration")
    if fits(plan, chip):
      found.append((seconds, split, plan))
  return sorted(found, key=lambda entry: entry[0])

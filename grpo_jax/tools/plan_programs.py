"""The programs of an RL run compiled for devices that are not there, and what the compiler says of each."""

import copy
import math
import re
import time
from dataclasses import dataclass, field

import jax
from ml_collections import ConfigDict

from grpo_jax.config.stages import stages_of
from grpo_jax.distributed.mesh import make_mesh, without_fsdp
from grpo_jax.runs.model import load_model
from grpo_jax.runs.ops import Compile
from grpo_jax.runs.parts import RLParts
from grpo_jax.runs.setup import Setup
from grpo_jax.runs.validate import validate, validate_devices
from grpo_jax.runs.warm_up import compile_rl
from grpo_jax.tools.flops import jaxpr_flops
from grpo_jax.tools.hlo import Collective, collectives
from grpo_jax.types import Experience, Prompts, Rollout

GIB = 2**30
# Kinds of programs are the names of their functions; "answer" is `sample` for held-out evaluation.
SAMPLERS = ("sample", "answer")
OF_STATE = (  # these take part of the state
  "cast", "reference_of", "score", "critic_values", "policy_step", "value_step", "end_iteration", "look")


@dataclass
class Program:
  """What is known of one program. Bytes are per device; `error` is the compiler's when it refused."""

  name: str
  kind: str
  flops: int  # of all devices
  seconds_to_compile: float
  peak: int = 0  # bytes, its arguments among them; where the compiler refused, what it says was wanted
  beside: int = 0  # bytes of the state that are no arguments of it
  kernels: int = 0  # calls of Pallas kernels in the text of the program, those in loops once
  collectives: list[Collective] = field(default_factory=list)
  error: str = ""


@dataclass
class Plan:
  """A config on a topology: sizes that the estimates need, and the programs."""

  config: ConfigDict
  setup: Setup
  state_bytes: int  # per device: parameters, moments, reference, critic
  weight_bytes: int  # per device, of the policy whole along fsdp in the compute type: what a pass reads
  shard_bytes: int  # the same, split along fsdp as the state is
  programs: list[Program]

  @property
  def devices(self) -> int:
    """How many there are."""
    return self.setup.mesh.size


def local_bytes(tree) -> int:
  """Bytes per device of arrays or of shapes with shardings."""
  return sum(math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def wanted_bytes(refusal: str) -> int:
  """Bytes per device that a program would take, from the compiler's refusal: the first size it names, else a TiB."""
  number, unit = (re.search(r"([\d.]+)([KMGT])i?B?\b", refusal) or re.match("(1)(T)", "1T")).groups()
  return int(float(number) * 2 ** (10 * " KMGT".index(unit)))


def sizes_of(choices: dict, args) -> tuple[int, ...]:
  """Prompt tokens P, completion tokens T and completions G of a program; of a sampler P and G; none of others."""
  batch = next((a for a in args if isinstance(a, Prompts | Rollout | Experience)), None)
  if batch is None:
    return ()
  if isinstance(batch, Prompts):
    return batch.tokens_BP.shape[1], choices["asked"].group_size
  _, G, T = batch.tokens_BGT.shape
  return batch.prompts.tokens_BP.shape[1], choices.get("T", T), G


class Measure(Compile):
  """Programs that are measured in place of run. `kinds`: which to compile; None is all."""

  def __init__(self, mesh, state_bytes: int, turns: int, kinds=None, report=None):
    super().__init__(mesh)
    self.state_bytes, self.turns, self.kinds, self.report, self.found = state_bytes, turns, kinds, report, []

  def compiled(self, function, traced, args):
    """Compiles and reads the result; one that does not fit is a result too."""
    kind, asked = function.func.__name__, function.keywords.get("asked")
    kind = "answer" if asked and asked.stream else kind
    if self.kinds is not None and kind not in self.kinds:
      return
    name = " ".join(map(str, (kind, *sizes_of(function.keywords, args))))
    start, error, executable = time.perf_counter(), "", None
    try:
      executable = traced.lower().compile()
    except jax.errors.JaxRuntimeError as refused:
      if "RESOURCE_EXHAUSTED" not in str(refused):
        raise
      error = str(refused)
    flops = jaxpr_flops(traced.jaxpr.jaxpr, self.turns)
    own = local_bytes(args[0]) if kind in OF_STATE else 0
    program = Program(name, kind, flops, time.perf_counter() - start, beside=self.state_bytes - own)
    if executable:
      self._measure(program, executable, args)
    else:
      program.peak, program.error = wanted_bytes(error), " ".join(error.split())[:300]
    self.found.append(program)
    if self.report:
      self.report(program)

  def _measure(self, program: Program, executable, args):
    memory, held = executable.memory_analysis(), [a for a in jax.tree.leaves(args) if hasattr(a, "sharding")]
    program.peak = memory.peak_memory_in_bytes
    program.beside += max(0, local_bytes(held) - memory.argument_size_in_bytes)  # alive, though the program drops them
    text = executable.as_text()
    program.kernels = text.count('custom_call_target="tpu_custom_call"')
    program.collectives = collectives(text, dict(self.mesh.shape))


def abstract_setup(config: ConfigDict, devices) -> Setup:
  """What compiling needs of a run: sizes and tokenizer on a mesh of these devices; no weights and no data.

  Raises ValueError as the run itself would.
  """
  validate(config)
  config = copy.deepcopy(config)
  config.train.token_budgets = ()  # the most that an iteration may take
  if "rl" not in stages_of(config.task) or config.lora.rank:
    raise ValueError(f"task={config.task!r} with lora.rank={config.lora.rank} is not planned; plan a task that ends in "
                     "rl, with lora.rank=0.")
  m = config.mesh
  mesh = make_mesh(m.data, m.fsdp, m.tensor, m.sequence, devices=devices)
  validate_devices(config, mesh)
  model = load_model(config, devices[0].platform)
  return Setup(config, mesh, model.cfg, model.tokenizer, None, None, None, {}, {})


def compile_plan(config: ConfigDict, devices, kinds=None, report=None) -> Plan:
  """Compiles the run that `config` describes for `devices`, as `run_rl` does; `kinds`: which programs, None is all."""
  setup = abstract_setup(config, devices)
  parts = RLParts.of(setup)
  state = parts.fresh_state(abstract=True)
  programs = Measure(setup.mesh, local_bytes(state), max(config.completion_buckets), kinds, report)
  compile_rl(programs, parts, state)

  def computed(a, sharding):
    return jax.ShapeDtypeStruct(a.shape, setup.cfg.compute_dtype, sharding=sharding)

  split = local_bytes(jax.tree.map(lambda a: computed(a, a.sharding), state.params))
  whole = local_bytes(jax.tree.map(computed, state.params, without_fsdp(state.params)))
  return Plan(config, setup, local_bytes(state), whole, split, programs.found)

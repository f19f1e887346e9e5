"""Arithmetic of a plan: the batch, what fits, and a roofline of seconds. The roofline is an estimate, not a timing."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from grpo_jax.runs.parts import minibatches_of
from grpo_jax.runs.warm_up import calls_per_iteration
from grpo_jax.tools.plan_chips import Chip
from grpo_jax.tools.plan_programs import GIB, SAMPLERS, Plan, Program

STEPPING = ("policy_step", "value_step")
SCORING = ("reference_of", "score", "critic_values")
SCORE_PASSES = 4  # an unfused softmax goes over the scores: written, read for the maximum, turned into weights, read


def batch_arithmetic(config: ConfigDict, rows: int) -> dict[str, int | float]:
  """How a rollout becomes updates and microbatches on `rows` = data × fsdp devices that split them."""
  t, G = config.train, config.sampling.group_size
  minibatch = t.minibatch_prompts or t.prompts
  b, g = t.micro_prompts or minibatch, t.micro_members or G
  return {
    "prompts": t.prompts, "completions of each": G, "sequences per rollout": t.prompts * G,
    "prompts per update": minibatch, "updates per rollout": minibatches_of(config).updates,
    "sequences per update": minibatch * G, "sequences per device and update": minibatch * G / rows,
    "microbatches per update": (minibatch // b) * (G // g), "sequences per device and microbatch": b * g / rows,
    "most tokens per rollout": t.prompts * (max(config.prompt_buckets) + G * max(config.completion_buckets)),
  }


def headroom(program: Program, chip: Chip) -> float:
  """Bytes per device that are left while a program runs; negative for one that does not fit."""
  return chip.usable_gib * GIB - program.peak - program.beside


def fits(plan: Plan, chip: Chip) -> bool:
  """Whether every program compiled and leaves room."""
  return not any(program.error or headroom(program, chip) < 0 for program in plan.programs)


@dataclass(frozen=True)
class Estimate:
  """Seconds of one run of a program at the chip's published peaks, by what it waits for."""

  compute: float
  memory: float
  network: float

  @property
  def seconds(self) -> float:
    """The longest of the three: as if they overlapped perfectly."""
    return max(self.compute, self.memory, self.network)

  @property
  def bound(self) -> str:
    """Which of the three that is."""
    return max(("compute", "memory", "network"), key=lambda name: getattr(self, name))


def estimate(plan: Plan, program: Program, chip: Chip) -> Estimate:
  """The roofline: FLOPs / peak, bytes of `memory_traffic` / HBM bandwidth, wire bytes / network bandwidth."""
  network = sum(c.wire_bytes / (chip.dcn_bandwidth if c.between_slices else chip.ici_bandwidth)
                for c in program.collectives)
  compute = program.flops / plan.devices / chip.flops
  return Estimate(compute, memory_traffic(plan, program) / chip.hbm_bandwidth, network)


def memory_traffic(plan: Plan, program: Program) -> float:
  """Bytes that a program reads and writes in a device's HBM, at least; a model of it, not read from the program.

  Sampling, for each of T tokens: the weights, the whole cache (its T slots and the prefix) and the logits. Scoring, for
  each microbatch: the weights, and, where no kernel keeps them on the chip, the attention scores `SCORE_PASSES` times.
  An update three times that (forward, again, backward), gradients added up in float32, and 28 bytes of AdamW a
  parameter. Others: what they hold, once.
  """
  config, cfg, mesh = plan.config, plan.setup.cfg, plan.setup.mesh
  tensor, rows = mesh.shape["tensor"], mesh.shape["data"] * mesh.shape["fsdp"]
  if program.kind in SAMPLERS:
    _, P, G = program.name.split()
    B = config.train.prompts if program.kind == "sample" else config.evaluate.batch
    weights = plan.weight_bytes if config.mesh.sampler == "gathered" else plan.shard_bytes
    T, width = max(config.completion_buckets), 2 if cfg.compute_dtype == "bfloat16" else 4
    token = 2 * cfg.num_layers * cfg.num_kv_heads * cfg.head_width * width / tensor
    cache = token * (B * int(G) * T + B * int(P)) / rows
    return T * (weights + cache + 2 * 4 * B * int(G) * cfg.vocab_size / rows / tensor)
  if program.kind not in SCORING + STEPPING:
    return 2.0 * program.peak
  _, P, T, G = (program.name.split()[0], *map(int, program.name.split()[1:]))
  B = config.train.prompts
  sizes = batch_arithmetic(config, rows)
  micros, passes = B * G / (rows * sizes["sequences per device and microbatch"]), 1
  scores = 4 * cfg.num_layers * cfg.num_heads / tensor * B * G / rows * T * (T + P)
  if program.kind in STEPPING:
    scores, micros, passes = scores * sizes["prompts per update"] / B, sizes["microbatches per update"], 3
  unfused = SCORE_PASSES if cfg.attention == "xla" else 0
  traffic = passes * (micros * plan.weight_bytes + unfused * scores)
  if program.kind in STEPPING:
    parameters = plan.shard_bytes / (2 if cfg.compute_dtype == "bfloat16" else 4)
    traffic += parameters * (8 * micros + 28)
  return traffic


def times_per_iteration(plan: Plan) -> dict[str, int]:
  """How often each kind of program runs in an iteration; evaluation and end of run left out."""
  return {function.__name__: times for function, times in calls_per_iteration(plan.config, plan.setup.cfg).items()}


def seconds_per_iteration(plan: Plan, chip: Chip) -> float:
  """Sum of the estimates over an iteration with the largest buckets: a lower bound, rewards and hosts left out."""
  times, largest = times_per_iteration(plan), {}
  for program in plan.programs:
    seconds = times.get(program.kind, 0) * estimate(plan, program, chip).seconds
    largest[program.kind] = max(seconds, largest.get(program.kind, 0))
  return sum(largest.values())

"""Cross-field rules of a config, checked before anything compiles; and the specs that a config stands for."""

import math

from jax.sharding import Mesh
from ml_collections import ConfigDict

from grpo_jax.algorithms.preference import PAIR_LOSSES
from grpo_jax.algorithms.spec import RANGES as ROW_RANGES, AlgorithmSpec, make_spec, needs
from grpo_jax.algorithms.table import NEEDS_GROUP, NEEDS_STEPS, TAKES_PRESENT
from grpo_jax.config.defaults import default_config
from grpo_jax.config.identity import flat
from grpo_jax.config.ranges import RANGES, other_kinds, problems
from grpo_jax.config.stages import TASKS, kind_of, stages_of
from grpo_jax.distributed.mesh import ROW_AXES, axes_of
from grpo_jax.rewards.forms import FORMS
from grpo_jax.runs.model import lora_spec
from grpo_jax.training.optimizer import SCHEDULES, OptimizerSpec
from grpo_jax.training.preference_step import PreferenceSpec

DTYPES = ("float32", "bfloat16")
SAMPLERS = ("same", "gathered")


def _need(ok: bool, key: str, value, rule: str) -> list[str]:
  return [] if ok else [f"{key}={value!r} {rule}."]


def algorithm_spec(config: ConfigDict) -> AlgorithmSpec:
  """The row that `config.algorithm` names, with its replaced cells."""
  cells = {k: v for k, v in config.algorithm.items() if k != "preset" and v is not None}
  spec = make_spec(config.algorithm.preset, **cells)
  if config.algorithm.reduction_divisor is None:
    spec = spec.replace(reduction_divisor=float(max(config.completion_buckets)))
  return spec


def optimizer_spec(section: ConfigDict, total_steps: int) -> OptimizerSpec:
  """The optimizer numbers of `config.optimizer` or `config.sft_optimizer`."""
  return OptimizerSpec(total_steps=total_steps, **section.to_dict())


def preference_spec(config: ConfigDict) -> PreferenceSpec:
  """The numbers of `config.preference`."""
  p = config.preference
  return PreferenceSpec(kind=p.loss, beta=p.beta, label_smoothing=p.label_smoothing)


def has_curriculum(config: ConfigDict) -> bool:
  """Whether problems are passed over by their pass rates, and the state has a table of them."""
  return config.curriculum.low > 0 or config.curriculum.high < 1


def validate(config: ConfigDict) -> None:
  """Raises ValueError with all mistakes of the config: one sentence each, naming the key, the value, the rule, the fix.

  Numbers first, by their ranges; the rules between keys are then tried with the defaults in place of bad numbers.
  """
  usual = flat(default_config().to_dict())
  outside = other_kinds(flat(config.to_dict()), usual) | problems(_numbers(config), RANGES | ROW_RANGES)
  found = list(outside.values())
  tried = ConfigDict(config.to_dict(), type_safe=False)  # a bad number may be of another type
  tried.update_from_flattened_dict({key: usual[key] for key in outside if key in usual})
  for check in (_choices, _optimizers, _lora, _stages):
    said = []
    try:
      said.extend(check(tried))
    except ValueError as error:
      said.append(str(error))
    found += [sentence for sentence in said if not any(key in sentence for key in outside)]
  found = list(dict.fromkeys(found))
  if len(found) > 1:
    listed = "".join(f"\n  {i}. {sentence}" for i, sentence in enumerate(found, 1))
    raise ValueError(f"the config has {len(found)} mistakes:{listed}")
  if found:
    raise ValueError(found[0])


def _numbers(config) -> dict:
  """Flat key → value of what ranges are known of or what is a number in a free part (data, reward components)."""
  return {key: value for key, value in flat(config.to_dict()).items()
          if key in RANGES or key in ROW_RANGES or key.startswith(("data.", "rewards.components."))}


def _choices(config):
  yield from _need(bool(stages_of(config.task)), "task", config.task, f"is unknown; choose one of {TASKS}")
  for key in ("prompt_buckets", "completion_buckets"):
    sizes = config[key]
    good = 1 <= len(sizes) <= 2 and list(sizes) == sorted(set(sizes))
    yield from _need(good, key, sizes, "must be one or two increasing positive lengths; give such a tuple")
  sampler, known = config.mesh.sampler, ("refuse", "warn", "off")
  yield from _need(sampler in SAMPLERS, "mesh.sampler", sampler, f"is unknown; choose one of {SAMPLERS}")
  for key in ("data", "fsdp", "tensor", "sequence"):
    yield from _need(config.mesh[key] != 0, f"mesh.{key}", 0, "must be a count of devices, or -1 for what is left")
  asked = config.contamination
  yield from _need(asked in known, "contamination", asked, f"is unknown; choose one of {known}")


def _stages(config):
  stages, kind = stages_of(config.task), kind_of(config.task)
  if "sft" in stages:
    steps = config.sft.steps
    yield from _need(steps > 0, "sft.steps", steps, f"must be positive for task={config.task!r}; set it")
    yield from _divides(config, "sft.micro_batch", config.sft.micro_batch, "sft.batch", config.sft.batch)
  if "rl" in stages:
    yield from _rl(config)
  if kind.samples and (kind.trains or not config.evaluate.benchmarks):
    yield from _evaluation(config)
  yield from _need(
    kind.trains or config.model.path, "model.path", config.model.path,
    "must name what task='eval' evaluates: a Hugging Face directory, a .gguf file or the folder of a run")
  if kind.pairs:
    yield from _preference(config)


def _lora(config):
  lora = config.lora
  yield from _need(lora.base_dtype in DTYPES, "lora.base_dtype", lora.base_dtype, f"is unknown; choose one of {DTYPES}")
  if lora_spec(config) is None:
    return
  yield from _need(
    config.model.path, "lora.rank", lora.rank, "needs a pretrained model below the adapters; set model.path")
  scored = not kind_of(config.task).policy
  critic = "rl" in stages_of(config.task) and "values" in needs(algorithm_spec(config))
  yield from _need(
    not (scored or critic), "lora.rank", lora.rank, "must be 0 with a critic or a reward model, whose head and "
        "trunk are trained; choose another row or task")


def _preference(config):
  p = config.preference
  scored = not kind_of(config.task).policy
  yield from _need(not (scored and config.checkpoint.export), "checkpoint.export", True,
        "writes a policy, which a reward model is not; leave it False")
  yield from _need(p.steps > 0, "preference.steps", p.steps, f"must be positive for task={config.task!r}; set it")
  yield from _need(p.loss in PAIR_LOSSES, "preference.loss", p.loss, f"is unknown; choose one of {PAIR_LOSSES}")
  yield from _divides(config, "preference.micro_batch", p.micro_batch, "preference.batch", p.batch)


def _optimizers(config):
  for name in ("optimizer", "sft_optimizer", "critic_optimizer"):
    section = config[name]
    yield from _need(
      section.schedule in SCHEDULES, f"{name}.schedule", section.schedule, f"is unknown; choose one of {SCHEDULES}")


def _divides(config, key, part, whole_key, whole):
  yield from _need(not part or whole % part == 0, key, part, f"must divide {whole_key}={whole} (0 is all of it)")


def _rl(config):
  spec = algorithm_spec(config)
  G, B = config.sampling.group_size, config.train.prompts
  yield from _need(G >= 2 or spec.advantage not in NEEDS_GROUP, "sampling.group_size", G,
        f"must be at least 2 for algorithm.advantage={spec.advantage!r}, which compares members of a group")
  yield from _need(G >= 2 or spec.pair_loss == "off", "sampling.group_size", G, "must be at least 2 for a pair loss")
  asks, sizes = needs(spec), tuple(config.sampling.group_sizes)
  if sizes:
    yield from _need(sizes == tuple(sorted(set(sizes))), "sampling.group_sizes", sizes,
          "must be increasing sizes of at least 2; give e.g. (4, 8)")
    fits = spec.advantage in TAKES_PRESENT and spec.pair_loss == "off" and spec.length_penalty == 0
    yield from _need(fits, "sampling.group_sizes", sizes,
          f"needs an advantage of {sorted(TAKES_PRESENT)}, no pair loss and no length penalty; change the row")
  yield from _need("steps" not in asks or config.rewards.step_ends, "rewards.step_ends", config.rewards.step_ends,
        f"must name the characters that end a reasoning step for algorithm.advantage={spec.advantage!r}; set it")
  yield from _need(spec.advantage != "pass_at_k" or spec.pass_k <= G, "algorithm.pass_k", spec.pass_k,
        f"must be at most sampling.group_size={G}")
  yield from _need(
    spec.advantage != "shrunken" or B >= 3, "train.prompts", B, "must be at least 3 for advantage='shrunken'")
  yield from _need(
    spec.pair_loss == "off" or not config.train.micro_members, "train.micro_members", config.train.micro_members,
        "must be 0 with a pair loss, which compares members of a group")
  dtype = config.train.reference_dtype
  yield from _need(dtype in DTYPES, "train.reference_dtype", dtype, f"is unknown; choose one of {DTYPES}")
  yield from _divides(config, "train.minibatch_prompts", config.train.minibatch_prompts, "train.prompts", B)
  minibatch = config.train.minibatch_prompts or B
  yield from _divides(config, "train.micro_prompts", config.train.micro_prompts, "the minibatch of prompts", minibatch)
  for size in sizes or (G,):
    yield from _divides(config, "train.micro_members", config.train.micro_members, "the group size", size)
  for T in config.completion_buckets:
    yield from _divides(config, "train.logit_chunk", config.train.logit_chunk, "each of completion_buckets", T)
  low, high = config.curriculum.low, config.curriculum.high
  yield from _need(low < high, "curriculum.low", low, f"must lie in [0, curriculum.high={high}); lower it")
  if config.train.fused_iterations:
    yield from _on_device(config, "train.fused_iterations=0")
    yield from _need(not config.log.rollouts, "log.rollouts", config.log.rollouts,
          "must be 0 where iterations are fused, whose rollouts stay on the devices; or set train.fused_iterations=0")


def check_on_device(config: ConfigDict, otherwise: str) -> None:
  """Raises ValueError where an iteration of the config needs the host; `otherwise`: what the user may do instead."""
  for sentence in _on_device(config, otherwise):
    raise ValueError(sentence)


def _on_device(config, otherwise: str):
  for name, component in config.rewards.components.items():
    yield from _need(component.get("rule") in FORMS, f"rewards.components.{name}.rule", component.get("rule"),
          f"has no form on the device; choose one of {sorted(FORMS)} or {otherwise}")
  fix = f"for iterations without the host; set it so or {otherwise}"
  for key, alone in {"train.resample_attempts": 0, "sampling.group_sizes": (), "curriculum.low": 0.0,
                     "curriculum.high": 1.0, "mesh.sampler": "same"}.items():
    section, name = key.split(".")
    yield from _need(config[section][name] == alone, key, config[section][name], f"must be {alone!r} {fix}")
  for key in ("prompt_buckets", "completion_buckets"):
    yield from _need(len(config[key]) == 1, key, config[key], f"must be a single length {fix}")
  advantage = algorithm_spec(config).advantage
  yield from _need(advantage not in NEEDS_STEPS, "algorithm.advantage", advantage,
        f"scores the steps of texts on the host; choose another or {otherwise}")


def _evaluation(config):
  yield from _need(len(config.rewards.components) > 0, "rewards.components", {},
        "is empty; add one, e.g. {'correct': {'rule': 'numeric', 'weight': 1.0}}")
  e = config.evaluate
  yield from _need(e.component in config.rewards.components, "evaluate.component", e.component,
        f"is no reward component; choose one of {sorted(config.rewards.components)}")
  yield from _need(not e.verifier or e.verifier in config.rewards.components, "evaluate.verifier", e.verifier,
        f"is no reward component; choose one of {sorted(config.rewards.components)} (weight 0: not trained on)")
  yield from _need(
    e.verifier != e.component, "evaluate.verifier", e.verifier, "must be another component than evaluate.component")


def validate_devices(config: ConfigDict, mesh: Mesh) -> None:
  """Batches must split evenly over the devices of `data` and `fsdp`, prompts first, then members of the groups."""
  t, e = config.train, config.evaluate
  wholes = []  # (key of the rows, rows, key of the members, members)
  stages, kind = stages_of(config.task), kind_of(config.task)
  if "sft" in stages:
    wholes.append(("sft.batch", config.sft.micro_batch or config.sft.batch, "", 1))
  if "rl" in stages:
    B = t.minibatch_prompts or t.prompts
    for G in config.sampling.group_sizes or (config.sampling.group_size,):
      wholes.append(("train.prompts", t.prompts, "sampling.group_size", G))
      wholes.append(("train.micro_prompts", t.micro_prompts or B, "train.micro_members", t.micro_members or G))
  if kind.pairs:
    wholes.append(("preference.batch", config.preference.micro_batch or config.preference.batch, "", 2))
  if kind.heldout:
    wholes.append(("evaluate.batch", e.batch, "", 1 + e.samples))
  for key, rows, member_key, members in wholes:
    axes = axes_of(mesh, rows)[1]
    rest = math.prod(mesh.shape[axis] for axis in axes)
    devices = math.prod(mesh.shape[axis] for axis in ROW_AXES)
    fix = f", or {member_key}={members} of the {rest} that are left" if member_key else ""
    problem = f"must be a multiple of the {devices} devices of mesh.data × mesh.fsdp{fix}"
    for sentence in _need(members % rest == 0, key, rows, problem):
      raise ValueError(sentence)

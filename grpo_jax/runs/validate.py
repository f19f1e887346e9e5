"""Cross-field rules of a config, checked before anything compiles; and the specs that a config stands for."""

import math

from jax.sharding import Mesh
from ml_collections import ConfigDict

from grpo_jax.algorithms.preference import PAIR_LOSSES
from grpo_jax.algorithms.spec import AlgorithmSpec, make_spec, needs
from grpo_jax.algorithms.table import NEEDS_GROUP, NEEDS_STEPS, TAKES_PRESENT
from grpo_jax.distributed.mesh import ROW_AXES, axes_of
from grpo_jax.rewards.forms import FORMS
from grpo_jax.runs.model import lora_spec
from grpo_jax.training.optimizer import SCHEDULES, OptimizerSpec
from grpo_jax.training.preference_step import PreferenceSpec

TASKS = ("eval", "sft", "rl", "sft_then_rl", "dpo", "sft_then_dpo", "reward_model", "sft_then_reward_model")

DTYPES = ("float32", "bfloat16")
SAMPLERS = ("same", "gathered")


def _need(ok: bool, key: str, value, rule: str):
  if not ok:
    raise ValueError(f"{key}={value!r} {rule}.")


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


def updates_per_iteration(config: ConfigDict) -> int:
  """Optimizer updates that one rollout gives."""
  minibatch = config.train.minibatch_prompts or config.train.prompts
  return config.train.update_epochs * (config.train.prompts // minibatch)


def has_curriculum(config: ConfigDict) -> bool:
  """Whether problems are passed over by their pass rates, and the state has a table of them."""
  return config.curriculum.low > 0 or config.curriculum.high < 1


def validate(config: ConfigDict) -> None:
  """Raises ValueError with one sentence naming the key, the value, the rule and the fix."""
  _need(config.task in TASKS, "task", config.task, f"is unknown; choose one of {TASKS}")
  for key in ("prompt_buckets", "completion_buckets"):
    sizes = config[key]
    good = 1 <= len(sizes) <= 2 and all(isinstance(n, int) and n > 0 for n in sizes)
    good = good and list(sizes) == sorted(set(sizes))
    _need(good, key, sizes, "must be one or two increasing positive lengths; give such a tuple")
  _need(min(config.prompt_buckets) >= 2, "prompt_buckets", config.prompt_buckets, "must be at least 2 tokens")
  _need(config.mesh.sampler in SAMPLERS, "mesh.sampler", config.mesh.sampler, f"is unknown; choose one of {SAMPLERS}")
  known = ("refuse", "warn", "off")
  _need(config.contamination in known, "contamination", config.contamination, f"is unknown; choose one of {known}")
  _optimizers(config)
  _doctor(config)
  _lora(config)
  if config.task.startswith("sft"):
    _need(config.sft.steps > 0, "sft.steps", config.sft.steps, f"must be positive for task={config.task!r}; set it")
    _divides(config, "sft.micro_batch", config.sft.micro_batch, "sft.batch", config.sft.batch)
  if config.task.endswith("rl"):
    _rl(config)
  if config.task.endswith("rl") or (config.task == "eval" and not config.evaluate.benchmarks):
    _evaluation(config)
  _need(config.task != "eval" or config.model.path, "model.path", config.model.path,
        "must name what task='eval' evaluates: a Hugging Face directory, a .gguf file or the folder of a run")
  if config.task.endswith(("dpo", "reward_model")):
    _preference(config)


def _doctor(config):
  _need(config.doctor.window >= 1, "doctor.window", config.doctor.window, "must be at least 1 log line; raise it")
  for key, limit in config.doctor.items():
    _need(key in ("strict", "window") or limit >= 0, f"doctor.{key}", limit, "is a limit and must not be negative")


def _lora(config):
  lora = config.lora
  _need(isinstance(lora.rank, int) and lora.rank >= 0, "lora.rank", lora.rank, "must be a whole number, 0 for none")
  _need(lora.alpha > 0, "lora.alpha", lora.alpha, "must be positive")
  _need(lora.base_dtype in DTYPES, "lora.base_dtype", lora.base_dtype, f"is unknown; choose one of {DTYPES}")
  if lora_spec(config) is None:
    return
  _need(config.model.path, "lora.rank", lora.rank, "needs a pretrained model below the adapters; set model.path")
  scored = config.task.endswith("reward_model")
  critic = config.task.endswith("rl") and "values" in needs(algorithm_spec(config))
  _need(not (scored or critic), "lora.rank", lora.rank, "must be 0 with a critic or a reward model, whose head and "
        "trunk are trained; choose another row or task")


def _preference(config):
  p = config.preference
  scored = config.task.endswith("reward_model")
  _need(not (scored and config.checkpoint.export), "checkpoint.export", True,
        "writes a policy, which a reward model is not; leave it False")
  _need(p.steps > 0, "preference.steps", p.steps, f"must be positive for task={config.task!r}; set it")
  _need(p.loss in PAIR_LOSSES, "preference.loss", p.loss, f"is unknown; choose one of {PAIR_LOSSES}")
  _need(p.beta > 0, "preference.beta", p.beta, "must be positive")
  _need(0 <= p.label_smoothing < 0.5, "preference.label_smoothing", p.label_smoothing, "must be in [0, 0.5)")
  _divides(config, "preference.micro_batch", p.micro_batch, "preference.batch", p.batch)


def _optimizers(config):
  for name in ("optimizer", "sft_optimizer", "critic_optimizer"):
    section = config[name]
    _need(section.schedule in SCHEDULES, f"{name}.schedule", section.schedule, f"is unknown; choose one of {SCHEDULES}")
    _need(section.learning_rate >= 0, f"{name}.learning_rate", section.learning_rate, "must not be negative")
    _need(section.clip_norm > 0, f"{name}.clip_norm", section.clip_norm, "must be positive; use 1e9 for no clipping")


def _divides(config, key, part, whole_key, whole):
  _need(part >= 0 and (not part or whole % part == 0), key, part, f"must divide {whole_key}={whole} (0 is all of it)")


def _rl(config):
  spec = algorithm_spec(config)
  G, B = config.sampling.group_size, config.train.prompts
  _need(G >= 1, "sampling.group_size", G, "must be at least 1")
  _need(G >= 2 or spec.advantage not in NEEDS_GROUP, "sampling.group_size", G,
        f"must be at least 2 for algorithm.advantage={spec.advantage!r}, which compares members of a group")
  _need(G >= 2 or spec.pair_loss == "off", "sampling.group_size", G, "must be at least 2 for a pair loss")
  asks, sizes = needs(spec), tuple(config.sampling.group_sizes)
  if sizes:
    _need(sizes == tuple(sorted(set(sizes))) and sizes[0] >= 2, "sampling.group_sizes", sizes,
          "must be increasing sizes of at least 2; give e.g. (4, 8)")
    fits = spec.advantage in TAKES_PRESENT and spec.pair_loss == "off" and spec.length_penalty == 0
    _need(fits, "sampling.group_sizes", sizes,
          f"needs an advantage of {sorted(TAKES_PRESENT)}, no pair loss and no length penalty; change the row")
    _need(0 < config.sampling.group_signal < 1, "sampling.group_signal", config.sampling.group_signal,
          "must lie between 0 and 1")
  _need("steps" not in asks or config.rewards.step_ends, "rewards.step_ends", config.rewards.step_ends,
        f"must name the characters that end a reasoning step for algorithm.advantage={spec.advantage!r}; set it")
  _need(spec.advantage != "pass_at_k" or spec.pass_k <= G, "algorithm.pass_k", spec.pass_k,
        f"must be at most sampling.group_size={G}")
  _need(spec.advantage != "shrunken" or B >= 3, "train.prompts", B, "must be at least 3 for advantage='shrunken'")
  _need(spec.pair_loss == "off" or not config.train.micro_members, "train.micro_members", config.train.micro_members,
        "must be 0 with a pair loss, which compares members of a group")
  _need(config.sampling.temperature > 0, "sampling.temperature", config.sampling.temperature,
        "must be positive; greedy sampling is for evaluation only")
  least = {"iterations": 1, "prompts": 1, "update_epochs": 1, "refresh_reference_every": 0, "resample_attempts": 0,
           "fused_iterations": 0}
  for key, low in least.items():
    _need(config.train[key] >= low, f"train.{key}", config.train[key], f"must be at least {low}")
  _need(config.log.rollouts >= 0, "log.rollouts", config.log.rollouts, "must not be negative; 0 keeps none")
  dtype = config.train.reference_dtype
  _need(dtype in DTYPES, "train.reference_dtype", dtype, f"is unknown; choose one of {DTYPES}")
  _divides(config, "train.minibatch_prompts", config.train.minibatch_prompts, "train.prompts", B)
  minibatch = config.train.minibatch_prompts or B
  _divides(config, "train.micro_prompts", config.train.micro_prompts, "the minibatch of prompts", minibatch)
  for size in sizes or (G,):
    _divides(config, "train.micro_members", config.train.micro_members, "the group size", size)
  for T in config.completion_buckets:
    _divides(config, "train.logit_chunk", config.train.logit_chunk, "each of completion_buckets", T)
  _curriculum(config)
  if config.train.fused_iterations:
    check_on_device(config, "train.fused_iterations=0")
    _need(not config.log.rollouts, "log.rollouts", config.log.rollouts,
          "must be 0 where iterations are fused, whose rollouts stay on the devices; or set train.fused_iterations=0")


def check_on_device(config: ConfigDict, otherwise: str) -> None:
  """Raises ValueError where an iteration of the config needs the host; `otherwise`: what the user may do instead."""
  for name, component in config.rewards.components.items():
    _need(component.get("rule") in FORMS, f"rewards.components.{name}.rule", component.get("rule"),
          f"has no form on the device; choose one of {sorted(FORMS)} or {otherwise}")
  fix = f"for iterations without the host; set it so or {otherwise}"
  for key, alone in {"train.resample_attempts": 0, "sampling.group_sizes": (), "curriculum.low": 0.0,
                     "curriculum.high": 1.0, "mesh.sampler": "same"}.items():
    section, name = key.split(".")
    _need(config[section][name] == alone, key, config[section][name], f"must be {alone!r} {fix}")
  for key in ("prompt_buckets", "completion_buckets"):
    _need(len(config[key]) == 1, key, config[key], f"must be a single length {fix}")
  advantage = algorithm_spec(config).advantage
  _need(advantage not in NEEDS_STEPS, "algorithm.advantage", advantage,
        f"scores the steps of texts on the host; choose another or {otherwise}")


def _evaluation(config):
  _need(len(config.rewards.components) > 0, "rewards.components", {},
        "is empty; add one, e.g. {'correct': {'rule': 'numeric', 'weight': 1.0}}")
  e = config.evaluate
  _need(e.component in config.rewards.components, "evaluate.component", e.component,
        f"is no reward component; choose one of {sorted(config.rewards.components)}")
  for key in ("problems", "batch"):
    _need(e[key] >= 1, f"evaluate.{key}", e[key], "must be at least 1")
  _need(e.samples >= 0, "evaluate.samples", e.samples, "must not be negative")
  _need(e.temperature > 0, "evaluate.temperature", e.temperature, "must be positive; the greedy pass is always made")
  _need(0 < e.top_p <= 1, "evaluate.top_p", e.top_p, "must be in (0, 1]")
  _need(0 <= e.min_p < 1, "evaluate.min_p", e.min_p, "must be in [0, 1)")
  _need(e.top_k >= 0, "evaluate.top_k", e.top_k, "must not be negative")
  _need(not e.verifier or e.verifier in config.rewards.components, "evaluate.verifier", e.verifier,
        f"is no reward component; choose one of {sorted(config.rewards.components)} (weight 0: not trained on)")
  _need(e.verifier != e.component, "evaluate.verifier", e.verifier, "must be another component than evaluate.component")


def _curriculum(config):
  c = config.curriculum
  _need(0 <= c.low < c.high, "curriculum.low", c.low, f"must lie in [0, curriculum.high={c.high}); lower it")
  _need(c.high <= 1, "curriculum.high", c.high, "must be at most 1, which passes over nothing")
  _need(0 <= c.momentum < 1, "curriculum.momentum", c.momentum, "must lie in [0, 1); 0 is the last rollout alone")
  _need(0 <= c.revisit <= 1, "curriculum.revisit", c.revisit, "must be a share, in [0, 1]")
  _need(c.skips >= 1, "curriculum.skips", c.skips, "must be at least 1; set low 0 and high 1 for no curriculum")


def validate_devices(config: ConfigDict, mesh: Mesh) -> None:
  """Batches must split evenly over the devices of `data` and `fsdp`, prompts first, then members of the groups."""
  t, e = config.train, config.evaluate
  wholes = []  # (key of the rows, rows, key of the members, members)
  if config.task.startswith("sft"):
    wholes.append(("sft.batch", config.sft.micro_batch or config.sft.batch, "", 1))
  if config.task.endswith("rl"):
    B = t.minibatch_prompts or t.prompts
    for G in config.sampling.group_sizes or (config.sampling.group_size,):
      wholes.append(("train.prompts", t.prompts, "sampling.group_size", G))
      wholes.append(("train.micro_prompts", t.micro_prompts or B, "train.micro_members", t.micro_members or G))
  if config.task.endswith(("dpo", "reward_model")):
    wholes.append(("preference.batch", config.preference.micro_batch or config.preference.batch, "", 2))
  if config.task != "sft":
    wholes.append(("evaluate.batch", e.batch, "", 1 + e.samples))
  for key, rows, member_key, members in wholes:
    axes = axes_of(mesh, rows)[1]
    rest = math.prod(mesh.shape[axis] for axis in axes)
    devices = math.prod(mesh.shape[axis] for axis in ROW_AXES)
    fix = f", or {member_key}={members} of the {rest} that are left" if member_key else ""
    _need(members % rest == 0, key, rows, f"must be a multiple of the {devices} devices of mesh.data × mesh.fsdp{fix}")

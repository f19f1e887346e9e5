"""What every run needs: mesh, model, tokenizer, data; and the order in which parameters are found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from grpo_jax.config.stages import kind_of
from grpo_jax.data.order import Stream
from grpo_jax.data.sources import chats, make_source
from grpo_jax.distributed.mesh import make_mesh, state_shardings
from grpo_jax.evaluation.problems import Heldout
from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.models.init import init_params
from grpo_jax.models.lora import LoraSpec, init_adapters
from grpo_jax.models.value_head import with_value_head
from grpo_jax.runs.contamination import heldout_notes
from grpo_jax.runs.model import check_positions, load_model, lora_spec
from grpo_jax.runs.validate import has_curriculum, validate, validate_devices
from grpo_jax.text.tokenizer import Tokenizer
from grpo_jax.training.state import TrainState, new_state
from grpo_jax.wandb_run import require_wandb


@dataclass(frozen=True)
class Setup:
  """The fixed parts of a run. `weights(shardings=…)` reads those of a pretrained model; None from scratch."""

  config: ConfigDict
  mesh: Mesh
  cfg: ModelConfig
  tokenizer: Tokenizer
  train: Stream | None
  heldout: Heldout | None
  weights: Callable | None
  generation: Mapping  # the generation_config.json that came with the model, which an export keeps
  notes: dict  # counts of what the data lacks: over-long held-out problems, ones that are in the training data

  @property
  def lora(self) -> LoraSpec | None:
    """The adapters that are trained in place of the model, if any."""
    return lora_spec(self.config)


def make_setup(config: ConfigDict, devices=None) -> Setup:
  """Checks the config, then builds data, tokenizer and mesh (of all devices) and opens the model; compiles nothing."""
  validate(config)
  require_wandb(config.log.wandb_project)
  m = config.mesh
  mesh = make_mesh(m.data, m.fsdp, m.tensor, m.sequence, **({"devices": devices} if devices else {}))
  validate_devices(config, mesh)
  model = load_model(config)
  check_positions(model.cfg, config)
  state_shardings(mesh, _abstract_params(model.cfg))  # names an indivisible parameter now
  train = Stream(make_source(config.data.to_dict(), "train"), config.data_seed) if kind_of(config.task).trains else None
  for example in chats(train.source) if train else []:
    model.tokenizer.encode_prompt(example.prompt)  # a template that knows other roles says so now
  asked = kind_of(config.task).heldout and not _named(config)
  heldout, notes = draw_heldout(config, model.tokenizer, train) if asked else (None, {})
  return Setup(config, mesh, model.cfg, model.tokenizer, train, heldout, model.weights, model.generation, notes)


def _named(config) -> bool:
  """Whether only named benchmarks are evaluated, each with its own problems."""
  return not kind_of(config.task).trains and bool(config.evaluate.benchmarks)


def facts_of(setup: Setup) -> str:
  """The data as processes compare it: sizes, and the first problems of each split."""
  heldout = setup.heldout.examples[:8] if setup.heldout else []
  first = [setup.train[i] for i in range(8)] if setup.train else []
  return repr((len(setup.train.source) if setup.train else 0, first, heldout))


def draw_heldout(config: ConfigDict, tokenizer: Tokenizer, train: Stream | None = None) -> tuple[Heldout, dict]:
  """The held-out problems of `config.data`, and notes on them: over-long ones, ones that are in the training data."""
  examples = Stream(make_source(config.data.to_dict(), "heldout"), seed=0)
  heldout = Heldout.draw(examples, tokenizer, max(config.prompt_buckets), config.evaluate.problems)
  found, most = len(heldout.examples), config.evaluate.problems
  if found < most:
    print(f"held-out: all {found} problems that fit are evaluated (evaluate.problems={most} is the most)", flush=True)
  return heldout, heldout_notes(config.contamination, train.source, examples, heldout) if train else {}


def _abstract_params(cfg):
  return jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, "float32"), param_shapes(cfg), is_leaf=lambda x: isinstance(x, tuple)
  )


def pretrained(setup: Setup, dtype="float32"):
  """The pretrained parameters on their devices; each process reads only what its own devices hold."""
  return setup.weights(jnp.dtype(dtype), shardings=state_shardings(setup.mesh, _abstract_params(setup.cfg)))


def _problems(setup: Setup) -> int:
  """Rows of the table of a curriculum, 0 where there is none."""
  return len(setup.train.source) if setup.train and has_curriculum(setup.config) else 0


def maker(setup: Setup, *, reference: bool, critic=False, value_head=False, curriculum=False):
  """The pure function `(params, seed, algorithm_state) -> state` of a stage; params None are made from the seed.

  `critic`: a learner beside the policy; `value_head`: the parameters themselves end in a scalar; `curriculum`: a stage
  that follows `config.curriculum`.
  """
  problems = _problems(setup) if curriculum else 0
  dtype = setup.config.train.reference_dtype

  def make(params, seed, algorithm_state):
    params = init_params(setup.cfg, seed) if params is None else params
    own = with_value_head(params) if critic else None
    params = with_value_head(params) if value_head else params
    return new_state(params, seed, reference=reference, algorithm_state=algorithm_state, critic=own,
                     problems=problems, reference_dtype=dtype)

  return make


def fresh_state(setup: Setup, *, reference: bool, params=None, algorithm_state: dict | None = None, abstract=False,
                **stage):
  """A new state, born sharded: parameters given, else pretrained, else from the seed; `stage`: as of `maker`.

  `abstract`: its shapes only.
  """
  if setup.lora:
    problems = _problems(setup) if stage.get("curriculum") else 0
    return _adapter_state(setup, reference, params, algorithm_state, problems)
  mesh, make = setup.mesh, maker(setup, reference=reference, **stage)
  params = pretrained(setup) if params is None and setup.weights is not None else params
  params = None if params is None else jax.device_put(params, state_shardings(mesh, params))
  args = (params, setup.config.seed, algorithm_state)
  shapes = jax.eval_shape(make, *args)
  shardings = state_shardings(mesh, shapes)
  if abstract:
    return jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, shardings)
  return jax.jit(make, out_shardings=shardings)(*args)


def _adapter_state(setup: Setup, reference: bool, params, algorithm_state, problems: int) -> TrainState:
  """The state of a LoRA run: adapters over the frozen base, which is also the reference until there is a snapshot.

  A snapshot is taken where the run begins from adapters (`params`, of an earlier stage), or will refresh it.
  """
  config, mesh, spec = setup.config, setup.mesh, setup.lora
  dtype, snapshot = config.train.reference_dtype, reference and (params or config.train.refresh_reference_every)

  def make(params, seed):
    params = init_adapters(setup.cfg, spec, seed) if params is None else params
    return new_state(params, seed, reference=bool(snapshot), algorithm_state=algorithm_state, problems=problems,
                     reference_dtype=dtype)

  shardings = state_shardings(mesh, jax.eval_shape(make, params, config.seed))
  state = jax.jit(make, out_shardings=shardings)(params, config.seed)
  return state.replace(base=pretrained(setup, config.lora.base_dtype), lora_scale=spec.scale)

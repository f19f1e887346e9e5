"""What every run needs: mesh, model, tokenizer, data; and the order in which parameters are found."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from grpo_jax.data.order import Stream
from grpo_jax.data.sources import make_source
from grpo_jax.distributed.mesh import make_mesh, state_shardings
from grpo_jax.evaluation.problems import Heldout
from grpo_jax.models.config import ModelConfig, param_shapes
from grpo_jax.models.init import init_params
from grpo_jax.models.load import open_any, resolve_model_path
from grpo_jax.models.value_head import with_value_head
from grpo_jax.runs.validate import validate, validate_devices
from grpo_jax.text.tokenizer import Tokenizer, character_tokenizer, load_tokenizer, wrap_tokenizer
from grpo_jax.training.state import new_state

UNROLL_LAYERS = 8  # on CPU, models up to this deep run faster with their layer loop unrolled


@dataclass(frozen=True)
class Setup:
  """The fixed parts of a run. `weights(shardings=…)` reads those of a pretrained model; None from scratch."""

  config: ConfigDict
  mesh: Mesh
  cfg: ModelConfig
  tokenizer: Tokenizer
  train: Stream
  heldout: Heldout | None
  weights: Callable | None


def make_setup(config: ConfigDict) -> Setup:
  """Checks the config, then builds data, tokenizer and mesh and opens the model; compiles nothing."""
  validate(config)
  mesh = make_mesh(**config.mesh.to_dict())
  validate_devices(config, mesh.shape["data"] * mesh.shape["fsdp"])
  loaded, weights, own = open_any(config.model.path) if config.model.path else (None, None, None)
  tokenizer = _tokenizer(config, own)
  cfg = _model_config(config, loaded, tokenizer)
  state_shardings(mesh, _abstract_params(cfg))  # names an indivisible parameter now
  data = config.data.to_dict()
  train = Stream(make_source(data, "train"), config.data_seed)
  heldout = None
  if config.task != "sft":
    examples = Stream(make_source(data, "heldout"), seed=0)
    heldout = Heldout.draw(examples, tokenizer, max(config.prompt_buckets), config.evaluate.problems)
  return Setup(config, mesh, cfg, tokenizer, train, heldout, weights)


def _tokenizer(config, own) -> Tokenizer:
  """The tokenizer named, else the model's own, else characters."""
  t = config.tokenizer
  options = {"stop": tuple(t.stop), "add_bos": t.add_bos}
  if t.path or (config.model.path and resolve_model_path(config.model.path).is_dir()):
    return load_tokenizer(t.path or config.model.path, **options)
  if own is not None:
    return wrap_tokenizer(own, **options)
  return character_tokenizer(t.alphabet, stop=tuple(t.stop), add_bos=t.add_bos)


def _model_config(config, loaded, tokenizer) -> ModelConfig:
  m = config.model
  if loaded is None:
    sizes = {k: m[k] for k in ("num_layers", "width", "ffn_width", "num_heads", "num_kv_heads", "head_width",
                               "qk_norm", "attention_bias")}
    longest = max(config.prompt_buckets) + max(config.completion_buckets)
    loaded = ModelConfig(vocab_size=tokenizer.vocab_size, max_positions=longest, **sizes)
  if tokenizer.vocab_size > loaded.vocab_size:
    raise ValueError(
      f"tokenizer.path={config.tokenizer.path!r} has {tokenizer.vocab_size} tokens but the model of "
      f"model.path={m.path!r} only {loaded.vocab_size} embeddings; use the tokenizer that belongs to the model."
    )
  scan = m.scan_layers
  if scan is None:
    scan = not (jax.default_backend() == "cpu" and loaded.num_layers <= UNROLL_LAYERS)
  return dataclasses.replace(loaded, compute_dtype=m.compute_dtype, remat=m.remat, scan_layers=scan)


def _abstract_params(cfg):
  return jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, "float32"), param_shapes(cfg), is_leaf=lambda x: isinstance(x, tuple)
  )


def fresh_state(setup: Setup, *, reference: bool, params=None, algorithm_state: dict | None = None, critic=False,
                value_head=False):
  """A new state, born sharded: parameters given, else pretrained, else from the seed.

  `critic`: a learner beside the policy; `value_head`: the parameters themselves end in a scalar.
  """
  mesh, seed = setup.mesh, setup.config.seed

  def make(params, seed):
    own = with_value_head(params) if critic else None
    params = with_value_head(params) if value_head else params
    return new_state(params, seed, reference=reference, algorithm_state=algorithm_state, critic=own)

  if params is None and setup.weights is not None:  # each process reads only what its devices hold
    params = setup.weights(shardings=state_shardings(mesh, _abstract_params(setup.cfg)))
  if params is None:
    function, args = (lambda seed: make(init_params(setup.cfg, seed), seed)), (seed,)
  else:
    function, args = make, (jax.device_put(params, state_shardings(mesh, params)), seed)
  return jax.jit(function, out_shardings=state_shardings(mesh, jax.eval_shape(function, *args)))(*args)

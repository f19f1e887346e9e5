"""What other rows of the table would have done with the tokens and rewards of one iteration; see tools/replay.py."""

import ast
import contextlib
import csv
import dataclasses
import math
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from rich.table import Column, Table

from grpo_jax.algorithms.spec import PRESETS, initial_state, make_spec, needs, with_state
from grpo_jax.config.defaults import default_config
from grpo_jax.data.batches import choose_bucket
from grpo_jax.runs.iteration import scored, updated
from grpo_jax.runs.ops import Trace
from grpo_jax.runs.parts import Choices, Numbers
from grpo_jax.runs.validate import algorithm_spec, validate
from grpo_jax.sweeps.overrides import changed
from grpo_jax.training.experience import cut_to, make_experience
from grpo_jax.training.look import pushes
from grpo_jax.types import Experience

COLUMNS = ("gradient cosine", "gradient norm ratio", "update cosine", "update norm ratio", "gradient norm",
           "prompt variance", "noise scale")
REINFORCE = make_spec("reinforce")  # loss -mean over completions of the sum of advantage · log p, to first order


@dataclasses.dataclass(frozen=True)
class Row:
  """What one row would have done: measures by the names of `COLUMNS`, or why it could not be asked."""

  name: str
  measures: dict[str, float]
  left_out: str = ""


def row_config(config: ConfigDict, text: str) -> ConfigDict:
  """The run's config with the row that `text` names: a preset, or `run`, each with `:cell=value`s.

  Raises:
    ValueError: the name or a cell is unknown, or the run could not have used that row.
  """
  name, *cells = text.split(":")
  parts, row, overrides = config.to_dict(), default_config().unlock(), {}
  if name != "run" and name not in PRESETS:
    raise ValueError(f"--variants: {name!r} is no row; choose 'run' or one of {sorted(PRESETS)}.")
  if name != "run":
    parts["algorithm"] = {"preset": name}
  for cell in cells:
    key, _, value = cell.partition("=")
    with contextlib.suppress(ValueError, SyntaxError):  # a name, such as token_mean
      value = ast.literal_eval(value)
    overrides[f"algorithm.{key}"] = value
  row.update(parts)
  validate(changed(row, overrides))
  return row


def _check(spec, signals, state) -> None:
  """Raises ValueError where the row asks for what the run did not record."""
  asks = needs(spec)
  lacks = {
    "greedy": signals.greedy_B is None and "a greedy completion of each prompt, which this run did not sample",
    "steps": signals.step_ends_BGT is None and "scores of reasoning steps, which this run did not make",
    "values": state.critic is None and "a critic, which this run does not have"}
  for name, text in lacks.items():
    if name in asks and text:
      raise ValueError(f"it needs {text}")


class Measured:
  """One iteration as other rows would have learned from it: all of the rollout in one update, from the state before.

  Every row's gradient is REINFORCE's with weights of its own (`pushes`), so one compiled step serves all rows.
  """

  def __init__(self, replayer, done):
    parts, self.config = replayer.parts, replayer.config
    self.parts, self.made, self.step, self.state = parts, done.made, done.step, done.before
    if self.state.reference is None:  # of a run without a KL: what the stage began with, as other rows have it
      self.state = self.state.replace(ref_params=replayer.begun.params)
    lengths = np.asarray(self.made.rollout.mask_BGT).sum(-1).ravel().tolist()
    self.T, critic = choose_bucket(lengths, self.config.completion_buckets), self.state.critic is not None
    asks = frozenset({"reference", "old", *({"values"} if critic else ())})
    numbers = parts.numbers.replace(spec=REINFORCE)
    models = _one(scored, dataclasses.replace(parts.choices, asks=asks), T=self.T)
    self.known = models(self.state, self.made.rollout, numbers)
    self.choices = dataclasses.replace(parts.choices, asks=frozenset())
    self._update, self._alone = _one(updated, self.choices), jax.jit(partial(prompt_norms, choices=self.choices))

  def experience(self, spec):
    """The rollout with the row's weights as advantages of the tokens."""
    if spec.kl == "exact":
      raise ValueError("algorithm.kl='exact' is no sum over taken tokens, so --variants cannot weigh it")
    asks, state, known = needs(spec), self.state, self.known
    reference, values = (value if name in asks else None
                         for name, value in (("reference", known.reference), ("values", known.values)))
    beta = {} if "beta" in state.algorithm_state else jax.tree.map(np.float32, initial_state(spec, set()))
    own = (state.algorithm_state | beta, spec, self.parts.numbers.seed, np.int32(self.step))
    signals = jax.tree.map(jnp.asarray, self.made.judged.signals)
    old = known.old if "old" in self.parts.choices.asks else None
    make = jax.jit(partial(weighted, T=self.T))
    return make(self.made.rollout, signals, reference, old, values, known.old, *own)

  def moved(self, spec):
    """(gradient, update, {measure: value}) of the row, the first two trees of the policy's parameters."""
    batch, numbers = self.experience(spec), self.parts.numbers.replace(spec=REINFORCE)
    optimizer, *others = numbers.optimizers
    bare = optimizer.replace(b1=np.float32(0), clip_norm=np.float32(np.inf))  # Adam's first moment is the gradient
    bare = numbers.replace(optimizers=[bare, *others])
    after, metrics = self._update(self.state, batch, bare)
    if int(metrics["update/skipped"][0]):
      raise ValueError("its gradient is not finite")
    gradient = after.opt_state.mu
    after, _ = self._update(self.state, batch, numbers)
    update = jax.tree.map(jnp.subtract, after.params, self.state.params)
    return gradient, update, spread(gradient, np.asarray(self._alone(self.state, batch, bare)))


def _one(stage, choices: Choices, **fixed):
  """A stage of the iteration as one program: `scored` or `updated`, on what they take beside ops and choices."""
  return jax.jit(partial(stage, Trace(), choices, **fixed))


def weighted(rollout, signals, reference, old, values, logps, algorithm_state, spec, seed, iteration, *, T: int):
  """The rollout as REINFORCE learns from it with the gradient of a row: advantages B G · `pushes`, nothing else."""
  whole = make_experience(rollout, signals, reference, old, values, algorithm_state, spec, seed, iteration, T=T)
  push = pushes(logps, logps, whole, with_state(spec, algorithm_state))
  plain = cut_to(rollout, T)
  B, G = plain.truncated_BG.shape
  return Experience(plain.prompts, plain.tokens_BGT, plain.mask_BGT, plain.behavior_logps_BGT, B * G * push)


def prompt_norms(state, batch, numbers: Numbers, *, choices: Choices):
  """Norm of the gradient of each prompt's part, `[B]`: their mean is the gradient."""
  choices = dataclasses.replace(choices, cut=dataclasses.replace(choices.cut, prompts=0))

  def alone(one):
    return updated(Trace(), choices, state, one, numbers)[1]["update/grad_norm"][0]

  return jax.lax.map(alone, jax.tree.map(lambda a: a[:, None], batch))


def spread(gradient, norms_B) -> dict[str, float]:
  """Variance of the gradient across prompts, and the noise scale of the batch.

  The gradient g is the mean of the parts c_b of the B prompts: variance = sum |c_b - g|² / (B - 1), and noise scale =
  variance / (B |g|²), the squared error of the batch's gradient in units of its square. After McCandlish et al. 2018,
  arXiv 1812.06162, section 2.2.
  """
  B, whole = len(norms_B), dot(gradient, gradient)
  if B < 2:
    return {}
  variance = max(float((np.float64(norms_B) ** 2).sum()) - B * whole, 0.0) / (B - 1)
  return {"prompt variance": variance, "noise scale": variance / (B * whole) if whole else math.nan}


@jax.jit
def _dots(a, b):
  return [jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]


def dot(a, b) -> float:
  """Inner product of two trees, the sums of arrays added up in float64."""
  return math.fsum(float(d) for d in jax.device_get(_dots(a, b)))


def against(name: str, tree, real) -> dict[str, float]:
  """Cosine to the real one and norm ratio; nan where a norm is zero."""
  own, whole, both = dot(tree, tree), dot(real, real), dot(tree, real)
  return {f"{name} cosine": both / math.sqrt(own * whole) if own and whole else math.nan,
          f"{name} norm ratio": math.sqrt(own / whole) if whole else math.nan}


def compare_rows(replayer, done, names: str) -> list[Row]:
  """The run's own row first, then those named (all presets where none is), each measured or left out with a reason.

  Raises:
    ValueError: a name is unknown; nothing has been computed then.
  """
  asked = [name for name in names.split(",") if name] or sorted(PRESETS)
  for name in asked:
    if name.split(":")[0] not in ("run", *PRESETS):
      row_config(replayer.config, name)  # raises
  rows, measured = [], Measured(replayer, done)
  with jax.set_mesh(replayer.setup.mesh):
    real = measured.moved(replayer.parts.numbers.spec)
    for name in ["run", *(n for n in asked if n != "run")]:
      try:
        spec = jax.tree.map(np.float32, algorithm_spec(row_config(replayer.config, name)))
        _check(spec, done.made.judged.signals, done.before)
        gradient, update, more = real if name == "run" else measured.moved(spec)
      except ValueError as error:
        rows.append(Row(name, {}, str(error)))
        continue
      facts = against("gradient", gradient, real[0]) | against("update", update, real[1])
      rows.append(Row(name, facts | {"gradient norm": math.sqrt(dot(gradient, gradient)), **more}))
  return rows


def show_rows(rows: list[Row], out: pathlib.Path, step: int, console) -> None:
  """Prints the table, and writes it beside the rollout as OUT_variants.csv and OUT_variants.png."""
  title = f"iteration {step}: other rows on its tokens and rewards, in one update on all of them"
  table = Table(Column("row", no_wrap=True), *COLUMNS, title=title)
  told = [row for row in rows if not row.left_out]
  for row in told:
    values = (row.measures.get(column, math.nan) for column in COLUMNS)
    table.add_row(row.name, *("–" if math.isnan(v) else f"{v:.4g}" for v in values))
  console.print(table)
  for row in rows:
    if row.left_out:
      console.print(f"left out: {row.name}: {row.left_out}")
  out.parent.mkdir(parents=True, exist_ok=True)
  file = out.with_name(f"{out.name}_variants.csv")
  with file.open("w", newline="") as opened:
    writer = csv.writer(opened)
    writer.writerow(("row", *COLUMNS, "left out"))
    writer.writerows((row.name, *(row.measures.get(c, "") for c in COLUMNS), row.left_out) for row in rows)
  draw_rows(told, file.with_suffix(".png"), step)
  console.print(f"written: {file} and {file.with_suffix('.png').name}")


def draw_rows(rows: list[Row], path: pathlib.Path, step: int) -> None:
  """Cosines, norm ratios and noise scales of the rows as bars."""
  from matplotlib.figure import Figure

  panels = (("cosine to the real one", ("gradient cosine", "update cosine")),
            ("norm, real one = 1", ("gradient norm ratio", "update norm ratio")), ("noise scale", ("noise scale",)))
  figure = Figure(figsize=(12, 1.2 + 0.32 * len(rows)), layout="constrained")
  places = np.arange(len(rows))
  for axis, (title, columns) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
    for i, column in enumerate(columns):
      values = [row.measures.get(column, math.nan) for row in rows]
      axis.barh(places + 0.4 * i - 0.2 * (len(columns) - 1), values, 0.8 / len(columns), label=column.split()[0])
    axis.set_title(title, fontsize=10)
    axis.set_yticks(places, [row.name for row in rows])
    axis.grid(axis="x", alpha=0.3)
    if len(columns) > 1:
      axis.legend(fontsize=7)
  figure.axes[0].invert_yaxis()
  figure.suptitle(f"iteration {step}: other rows on the same tokens")
  figure.savefig(path, dpi=80, metadata={"Software": None})

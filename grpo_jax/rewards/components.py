"""Weighted components: a rule under a name of the user's, with its options, checked before anything runs."""

import dataclasses
import inspect
import math
import numbers
from collections.abc import Mapping

from grpo_jax.data.example import Example
from grpo_jax.rewards import rules
from grpo_jax.rewards.calls import Call, RuleContext

_METRICS = ("total", "errors", "deadlines", "bounded")  # stand beside the components' names in the log
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-6, 1e6  # with scores up to rules.MOST, squares of rewards stay finite in float32


@dataclasses.dataclass(frozen=True)
class Component:
  """One term of the reward."""

  name: str
  rule_name: str
  rule: rules.Rule
  weight: float
  options: dict

  @property
  def built_in(self) -> bool:
    """Whether the rule is one of this package's, whose failures on hostile text say nothing of the data or the rule."""
    return self.rule_name in rules.RULES

  def call(self, completion: str, example: Example, context: RuleContext) -> Call:
    return Call(self.rule_name, completion, example, context, self.options)


def make_component(name: str, spec: Mapping) -> Component:
  """The component of an entry {"rule": …, "weight": 1.0, "options": {}} of `rewards.components`.

  Raises:
    ValueError: the entry is invalid; the sentence names the key, the value, the rule and the fix.
  """
  key = f"rewards.components.{name}"
  if not name:
    raise ValueError("rewards.components has one without a name; give it one.")
  if name in _METRICS:
    raise ValueError(f"{key} is also the name of a metric; give the component another name.")
  for what, value in ((key, spec), (f"{key}.options", spec.get("options") if isinstance(spec, Mapping) else None)):
    if value is not None and not isinstance(value, Mapping):
      raise ValueError(f"{what}={value!r} must be a dictionary; a component is {{'rule': 'math', 'weight': 1.0}}.")
  if unknown := sorted(set(spec) - {"rule", "weight", "options"}):
    raise ValueError(f"{key}.{unknown[0]} is unknown; a component has rule, weight and options: remove it.")
  try:
    rule = rules.find_rule(spec.get("rule"))
  except ValueError as error:
    raise ValueError(f"{key}.rule={spec.get('rule')!r} {error}.") from error
  weight = spec.get("weight", 1.0)
  if isinstance(weight, bool) or not isinstance(weight, numbers.Real) or not math.isfinite(weight):
    raise ValueError(f"{key}.weight={weight!r} must be a finite number; set one, such as 1.0.")
  if weight and not _LEAST_WEIGHT <= abs(weight) <= _MOST_WEIGHT:
    raise ValueError(f"{key}.weight={weight!r} must be 0 or of a size in [{_LEAST_WEIGHT:g}, {_MOST_WEIGHT:g}];"
                     " rewards are float32, so rescale the scores.")
  component = Component(name, spec["rule"], rule, float(weight), dict(spec.get("options") or {}))
  _check_options(f"{key}.options", component)
  return component


def _check_options(key: str, component: Component) -> None:
  parameters = list(inspect.signature(component.rule.score).parameters.values())[3:]
  known = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
  takes = f"the rule {component.rule_name} takes {', '.join(known) or 'no options'}"
  for option, value in component.options.items():
    if option not in known and not any(p.kind == p.VAR_KEYWORD for p in parameters):
      raise ValueError(f"{key}.{option}={value!r} is unknown; {takes}: remove or rename it.")
  for option, parameter in known.items():
    if parameter.default is parameter.empty and option not in component.options:
      raise ValueError(f"{key}.{option} is missing; {takes}: set it.")
  if not component.rule.isolated:  # a dry run finds the values that the rule refuses
    example = Example("", component.rule.sample or "0")
    outcome = rules.evaluate(component.call("", example, RuleContext(0, False, 2**31)))
    if outcome.failure:
      raise ValueError(f"{key}={component.options!r} fail in rule {component.rule_name}: {outcome.message}")


def check_settings(components, workers, deadline_seconds, max_error_rate, worker_memory_gib) -> None:
  """Raises ValueError naming the first `rewards.*` setting that cannot work."""
  constraints = {
    "components": (components, len(components) > 0, "name at least one component; add one"),
    "workers": (workers, workers >= 1, "be at least 1; raise it"),
    "deadline_seconds": (deadline_seconds, deadline_seconds > 0, "be positive; raise it"),
    "max_error_rate": (max_error_rate, 0 <= max_error_rate <= 1, "lie in [0, 1]; change it"),
    "worker_memory_gib": (worker_memory_gib, worker_memory_gib >= 0, "be positive, or 0 for no limit"),
  }
  for key, (value, holds, constraint) in constraints.items():
    if not holds:
      raise ValueError(f"rewards.{key}={value!r} must {constraint}.")

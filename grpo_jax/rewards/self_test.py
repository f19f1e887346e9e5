"""The self-test: rules that judge answers must accept the data's gold answers and reject wrong ones."""

import collections
import decimal
from collections.abc import Callable, Sequence

from grpo_jax.data.example import Example
from grpo_jax.rewards import rules
from grpo_jax.rewards.calls import Call, Outcome, RewardError, RuleContext
from grpo_jax.rewards.components import Component

EXPECTED = {"gold": 1.0, "wrong": 0.0}


def wrong_answer(answer: str) -> str:
  """Another answer: the number plus one, or for any other text a number."""
  try:
    gold = decimal.Decimal(answer.strip().replace(",", ""))
    return "0" if gold.adjusted() > 20 else f"{gold + 1:f}"
  except decimal.InvalidOperation:
    return "123457"


def run_self_test(
  components: Sequence[Component],
  examples: Sequence[Example],
  evaluate: Callable[[Component, list[Call]], list[Outcome]],
  solutions: bool,
) -> dict[str, float]:
  """See Rewards.self_test."""
  accepted, tried = collections.Counter(), collections.Counter()
  for component in components:
    if not component.rule.judges_answer:
      continue
    trials = []
    for example in examples:
      gold, wrong = _texts(component, example.answer)
      trials += [("gold", gold, example)] * (gold is not None) + [("wrong", wrong, example)]
      if solutions and example.solution:
        trials.append(("gold", example.solution, example))
    calls = [component.call(text, example, RuleContext(0, False, 1)) for _, text, example in trials]
    for (kind, _, _), call, outcome in zip(trials, calls, evaluate(component, calls), strict=True):
      if outcome.failure or outcome.score != EXPECTED[kind]:
        raise RewardError(_misjudged(component, kind, call, outcome))
      accepted[kind] += outcome.score
      tried[kind] += 1
  share = {kind: accepted[kind] / max(1, tried[kind]) for kind in EXPECTED}
  return share | {"n": len(examples) if tried else 0}


def _texts(component: Component, answer: str) -> tuple[str | None, str]:
  """A right completion, where the rule can write one, and a wrong one."""
  rule, options = component.rule, component.options
  write_wrong = rules.write_plain if rule.sample else rule.write
  return rule.write(answer, options), write_wrong(wrong_answer(answer), options)


def _misjudged(component: Component, kind: str, call: Call, outcome: Outcome) -> str:
  got = f"{outcome.failure} ({outcome.message})" if outcome.failure else f"{outcome.score}"
  options = f"rewards.components.{component.name}.options={component.options!r}"
  fix = {
    "gold": f"fit {options} to how answers are written, keep the data's answers bare, or change the rule",
    "wrong": f"make the rule stricter ({options}) or change it",
  }
  return (
    f"Self-test: component {component.name!r} (rule {component.rule_name}) scored the {kind} text"
    f" {call.completion[-200:]!r} {got} instead of {EXPECTED[kind]}, for the example with answer"
    f" {call.example.answer[:80]!r} and prompt {str(call.example.prompt)[:80]!r}; {fix[kind]}."
  )

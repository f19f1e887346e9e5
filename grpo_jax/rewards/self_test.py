"""The self-test: rules that judge answers must accept the data's gold answers and reject wrong ones."""

import collections
from collections.abc import Callable, Sequence

from grpo_jax.data.example import Example
from grpo_jax.rewards import rules
from grpo_jax.rewards.calls import Call, Outcome, RewardError, RuleContext
from grpo_jax.rewards.components import Component
from grpo_jax.rewards.near_misses import near_misses, wrong_answer

EXPECTED = {"gold": 1.0, "wrong": 0.0}
COPIED = 0.5  # the share of examples whose prompt may, by chance, hold the answer where the rule looks
SHOWN = 3  # golds in a refusal


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
    trials = [trial for example in examples for trial in _trials(component, example, solutions)]
    copied = collections.Counter()
    for (kind, _, _), call, outcome in zip(trials, *_outcomes(component, trials, evaluate), strict=True):
      if kind == "copied":
        copied[outcome.score == 1.0] += 1
        continue
      if outcome.failure or outcome.score != EXPECTED[kind]:
        raise RewardError(_misjudged(component, kind, call, outcome))
      accepted[kind] += outcome.score
      tried[kind] += 1
    if copied[True] > max(3, COPIED * copied.total()):
      raise RewardError(
        f"Self-test: component {component.name!r} (rule {component.rule_name}) scored the prompt, copied as the"
        f" completion, 1.0 for {copied[True]} of {copied.total()} examples; make the rule stricter"
        f" (rewards.components.{component.name}.options={component.options!r}) or keep answers out of prompts."
      )
  share = {kind: accepted[kind] / max(1, tried[kind]) for kind in EXPECTED}
  return share | {"n": len(examples) if tried else 0}


def refuse_golds(
  component: Component, examples: Sequence[Example], evaluate: Callable[[Component, list[Call]], list[Outcome]]
) -> None:
  """Raises RewardError where the rule cannot judge some examples' answers: how many, and three of them."""
  if not component.rule.refuses:
    return
  calls = [component.call("", example, RuleContext(0, False, 1)) for example in examples]
  failed = [(c, o) for c, o in zip(calls, evaluate(component, calls), strict=True) if o.failure]
  if failed:
    shown = list(dict.fromkeys(repr(call.example.answer[:80]) for call, _ in failed))[:SHOWN]
    _, outcome = failed[0]
    raise RewardError(
      f"Self-test: component {component.name!r} (rule {component.rule_name}) cannot judge the answers of {len(failed)}"
      f" of {len(examples)} examples, such as {', '.join(shown)}; the first gives {outcome.failure}"
      f" ({outcome.message}); fit rewards.components.{component.name}.options={component.options!r} to the data,"
      " correct the answers or change the rule."
    )


def _trials(component: Component, example: Example, solutions: bool):
  """(kind, text, example): what the rule must accept and what it must not."""
  rule, options = component.rule, component.options
  gold = rule.write(example.answer, options)
  write_wrong = rules.write_plain if rule.sample else rule.write
  wrong = [wrong_answer(example.answer)]
  wrong += near_misses(example.answer, component.rule_name, options) if rule.refuses else []
  trials = [("gold", gold, example)] * (gold is not None)
  trials += [("wrong", write_wrong(text, options), example) for text in wrong]
  if rule.refuses and isinstance(example.prompt, str) and example.prompt.strip():
    trials.append(("copied", example.prompt, example))
  return trials + [("gold", example.solution, example)] * bool(solutions and example.solution)


def _outcomes(component, trials, evaluate) -> tuple[list[Call], list[Outcome]]:
  calls = [component.call(text, example, RuleContext(0, False, 1)) for _, text, example in trials]
  return calls, evaluate(component, calls)


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

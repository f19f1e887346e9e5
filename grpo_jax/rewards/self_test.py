"""The self-test: rules that judge answers must accept the data's gold answers and reject wrong ones.

Near misses (the sign, half of a fraction, another unit, the answer among others, the prompt copied) are tried too. A
rule that accepts some does not stop the run, since one that takes the last number must; it is said, with an example.
"""

import collections
import decimal
import re
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


def near_misses(answer: str, prompt) -> dict[str, str]:
  """Answers that look right and are not, by what is wrong with them."""
  misses = {"the answer among others": f"{answer}, 123457"}
  number = re.fullmatch(r"\s*-?[\d.,]*[1-9][\d.,]*(\s*[a-z]+)?\s*", answer)
  if number:
    misses["the sign"] = answer.strip().removeprefix("-") if answer.strip().startswith("-") else f"-{answer.strip()}"
  if number and number[1]:
    misses["another unit"] = answer[: number.start(1)] + (" km" if number[1].strip() != "km" else " kg")
  if fraction := re.fullmatch(r"\s*-?(?:(\d+)\s*/\s*\d+|\\d?frac\{(\d+)\}\{\d+\})\s*", answer):
    misses["half of a fraction"] = fraction[1] or fraction[2]
  copied = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", "")) if prompt else ""
  return misses | ({"the prompt copied": copied} if copied.strip() and answer.strip() not in copied else {})


def check_golds(components: Sequence[Component], examples: Sequence[Example]) -> None:
  """Refuses a data set with gold answers that a rule cannot judge by.

  Raises:
    RewardError: with how many there are, and three of them.
  """
  for component in components:
    rule = component.rule
    if rule.judges_answer:
      reasons = [reason for e in examples if (reason := rule.refuses(e.answer, component.options))]
      if reasons:
        shown = "; ".join(list(dict.fromkeys(reasons))[:3])
        raise RewardError(
          f"rewards.components.{component.name}.rule={component.rule_name!r} cannot judge {len(reasons)} of"
          f" {len(examples)} gold answers: {shown}.")


def run_self_test(
  components: Sequence[Component],
  examples: Sequence[Example],
  evaluate: Callable[[Component, list[Call]], list[Outcome]],
  solutions: bool,
) -> dict[str, float]:
  """See Rewards.self_test."""
  accepted, tried, fooled = collections.Counter(), collections.Counter(), {}
  for component in components:
    if not component.rule.judges_answer:
      continue
    trials = []
    for example in examples:
      gold, wrong = _texts(component, example.answer)
      trials += [("gold", gold, example)] * (gold is not None) + [("wrong", wrong, example)]
      if not component.rule.sample:
        for name, text in near_misses(example.answer, example.prompt).items():
          trials.append((name, component.rule.write(text, component.options) or text, example))
      if solutions and example.solution:
        trials.append(("gold", example.solution, example))
    calls = [component.call(text, example, RuleContext(0, False, 1)) for _, text, example in trials]
    for (kind, _, _), call, outcome in zip(trials, calls, evaluate(component, calls), strict=True):
      near = kind not in EXPECTED
      if not near and (outcome.failure or outcome.score != EXPECTED[kind]):
        raise RewardError(_misjudged(component, kind, call, outcome))
      if near and outcome.score == 1:
        fooled.setdefault((component.name, kind), []).append(call)
      accepted["near" if near else kind] += outcome.score
      tried["near" if near else kind] += 1
  for (name, kind), calls in fooled.items():
    print(f"verifier self-test: component {name!r} accepts {len(calls)} near misses ({kind}), e.g."
          f" {calls[0].completion[-60:]!r} for the answer {calls[0].example.answer[:60]!r}", flush=True)
  share = {kind: accepted[kind] / max(1, tried[kind]) for kind in (*EXPECTED, "near")}
  return share | {"n": len(examples) if tried else 0}


def said(test: dict) -> str:
  """The self-test in one line."""
  if not test["n"]:
    return "verifier self-test: skipped, as no component judges answers"
  return (f"verifier self-test: gold {test['gold']:.3f}, wrong {test['wrong']:.3f}, near misses {test['near']:.3f}"
          f" (n {test['n']})")


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

"""Before anything compiles: a user's own rule is tried once, and a data set's own programs are counted."""

from collections.abc import Callable, Sequence

from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import Call, Outcome, RewardError, RuleContext
from grpo_jax.rewards.components import Component

_MAX_LENGTH = 1024  # tokens; of the completion that is tried
_SHOWN = 3  # gold programs that fail
Evaluate = Callable[[Component, list[Call]], list[Outcome]]


def try_rules(components: Sequence[Component], example: Example, evaluate: Evaluate) -> None:
  """Calls each rule of the user's own with the example's solution, or else its answer, as the completion.

  Raises:
    RewardError: it raised, hung or gave no score; one sentence with file and line, then the traceback of its code.
  """
  text = example.solution or example.chosen or example.answer
  context = RuleContext(min(len(text), _MAX_LENGTH), False, _MAX_LENGTH)
  for component in components:
    if component.built_in:
      continue
    outcome = evaluate(component, [component.call(text, example, context)])[0]
    if outcome.failure:
      message = " ".join(outcome.message.split()).removesuffix(".")
      raise RewardError(
        f"rewards.components.{component.name}.rule={component.rule_name!r} fails on the first example (completion"
        f" {text[:60]!r}, answer {example.answer[:60]!r}): {message}; mend the function, which is called as"
        " rule(completion, example, context, **options), or its options."
        + ("\n\n" + outcome.trace.rstrip() if outcome.trace else "")
      )


def counting_golds(evaluate: Evaluate) -> Evaluate:
  """`evaluate`, which also prints how many of the data set's own programs pass their tests."""

  def run(component: Component, calls: list[Call]) -> list[Outcome]:
    outcomes = evaluate(component, calls)
    if component.rule_name == "code":
      pairs = zip(calls, outcomes, strict=True)
      golds = [(c, o) for c, o in pairs if c.example.solution and c.completion == c.example.solution]
      if golds:
        failed = [(call, outcome) for call, outcome in golds if outcome.score != 1]
        shown = "".join(
          f"\n  fails: {str(call.example.prompt)[:60]!r}" + (f" ({outcome.message})" if outcome.message else "")
          for call, outcome in failed[:_SHOWN]
        )
        passed = f"{len(golds) - len(failed)} of {len(golds)} gold programs pass their tests"
        print(f"{passed} (component {component.name}){shown}", flush=True)
    return outcomes

  return run

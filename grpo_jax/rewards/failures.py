"""Counts items without a score, and stops a run when there are too many for which the rule is to blame."""

import collections

from grpo_jax.rewards.calls import Call, Outcome, RewardError
from grpo_jax.rewards.components import Component
from grpo_jax.rewards.scores import Failure


class FailureCount:
  """Failures and items by component, over all calls; `max_error_rate` is the share that may fail."""

  def __init__(self, max_error_rate: float):
    self.max_error_rate = max_error_rate
    self._failed, self._scored = collections.Counter(), collections.Counter()

  def of(self, component: Component, calls: list[Call], outcomes: list[Outcome]) -> list[Failure]:
    """Records what failed and raises RewardError where it is too much."""
    failures = [
      Failure(
        component.name, component.rule_name, outcome.failure, outcome.message, repr(call.completion[:200])
      )
      for call, outcome in zip(calls, outcomes, strict=True)
      if outcome.failure
    ]
    at_fault = {"error"} if component.built_in else {"error", "deadline"}
    counted = [failure for failure in failures if failure.kind in at_fault]
    self._failed[component.name] += len(counted)
    self._scored[component.name] += len(calls)
    failed, scored = self._failed[component.name], self._scored[component.name]
    # One unlucky completion in a small batch must not end a long run.
    now = len(counted) > max(1, self.max_error_rate * len(calls))
    if counted and (now or failed > self.max_error_rate * scored):
      raise RewardError(
        f"Component {component.name!r} (rule {component.rule_name}) failed on {len(counted)} of {len(calls)}"
        f" items in this call and {failed} of {scored} ({failed / scored:.1%}) overall, above"
        f" rewards.max_error_rate={self.max_error_rate}; the last failure was: {counted[-1].kind}"
        f" ({counted[-1].message}) on {counted[-1].text}; fix the rule or its options, or raise the rate."
      )
    return failures

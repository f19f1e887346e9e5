"""The front of the rewards: weighs components, counts what failed, and stops a run it can no longer trust."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from grpo_jax.data.example import Example
from grpo_jax.rewards import rules
from grpo_jax.rewards.calls import Call, Outcome, RuleContext
from grpo_jax.rewards.components import Component, check_settings, make_component
from grpo_jax.rewards.failures import FailureCount
from grpo_jax.rewards.scores import Scores
from grpo_jax.rewards.self_test import refuse_golds, run_self_test
from grpo_jax.rewards.trial import counting_golds, try_rules
from grpo_jax.rewards.workers import WorkerPool

GOLDS_READ = 2000  # training examples whose answers must be of a kind that the rules judge


class Rewards:
  """A weighted sum of rules; a context manager, since rules may run in worker processes.

  Args:
    components: {name: {"rule": …, "weight": 1.0, "options": {…}}}; rules.py lists the rules.
    workers: worker processes, started with the first call that needs them.
    deadline_seconds: after which a worker is killed and its item counted as failed.
    max_error_rate: share of a component's items on which its rule may fail; see __call__.
    worker_memory_gib: address space of one worker; 0 for no limit.

  Raises:
    ValueError: an argument or a component is invalid; the sentence names the key.
  """

  def __init__(self, components: Mapping[str, Mapping], *, workers: int, deadline_seconds: float, max_error_rate: float,
               worker_memory_gib: float = 4.0):
    check_settings(components, workers, deadline_seconds, max_error_rate, worker_memory_gib)
    self._components = [make_component(name, spec) for name, spec in components.items()]
    self._failures = FailureCount(max_error_rate)
    isolated = sorted({component.rule_name for component in self._components if component.rule.isolated})
    self._pool = WorkerPool(workers, isolated, deadline_seconds=deadline_seconds, memory_gib=worker_memory_gib)

  def __enter__(self) -> "Rewards":
    return self

  def __exit__(self, *exception) -> None:
    self.close()

  def close(self) -> None:
    """Ends the worker processes."""
    self._pool.close()

  def __call__(self, completions: Sequence[Sequence[str]], examples: Sequence[Example], lengths_BG: np.ndarray,
               truncated_BG: np.ndarray, max_length: int) -> Scores:
    """Scores G completions of each of B examples; lengths and `max_length` are in completion tokens.

    Raises:
      RewardError: more than `max_error_rate` of a component's items failed, over all calls or in this one,
        where a single failure does not count. What a completion's text makes a built-in rule do (a deadline, a
        bound) scores 0 and is counted, but never stops a run: the policy must not be able to.
      RewardError: a worker could not start.
    """
    B, G = lengths_BG.shape
    assert truncated_BG.shape == (B, G), truncated_BG.shape
    assert len(completions) == len(examples) == B and all(len(group) == G for group in completions)
    items = [
      (completions[b][g], examples[b], RuleContext(int(lengths_BG[b, g]), bool(truncated_BG[b, g]), max_length))
      for b, g in np.ndindex(B, G)
    ]
    rewards_BG, scores, failures = np.zeros((B, G), np.float32), {}, []
    for component in self._components:
      calls = [component.call(*item) for item in items]
      outcomes = self._evaluate(component, calls)
      failures += self._failures.of(component, calls, outcomes)
      score_BG = np.array([outcome.score for outcome in outcomes], np.float32).reshape(B, G)
      scores[component.name] = score_BG
      rewards_BG += np.float32(component.weight) * score_BG
    kinds = collections.Counter(failure.kind for failure in failures)
    return Scores(rewards_BG, scores, kinds["error"], kinds["deadline"], failures, kinds["bounded"])

  def self_test(self, examples: Sequence[Example], *, n: int = 64, solutions: bool = True,
                train: Sequence[Example] = ()) -> dict[str, float]:
    """Checks on the first n examples that components which judge answers score gold ones 1 and wrong ones 0.

    First, that they can judge every answer of `examples` and the first of `train`, where a rule refuses some. A gold
    answer is tried as the rule expects it written (behind the option `after`, in a box, …) and as the
    example's solution. Pass `solutions=False` where these are demonstrations that may end in a wrong answer. Prints how
    many solutions pass the rule `code`.

    Returns {"gold": share of gold texts accepted, "wrong": of wrong answers, "n": examples tried}, all 0 where no
    component judges answers; RewardError where one misjudges.
    """
    for component in self._components:
      if component.rule.refuses:
        golds = [*examples, *(train[i] for i in range(min(len(train), GOLDS_READ)))]
        refuse_golds(component, golds, self._evaluate)
    return run_self_test(self._components, examples[:n], counting_golds(self._evaluate), solutions)

  def try_rules(self, example: Example) -> None:
    """Tries each rule of the user's own on one example, unless any may fail; RewardError with file and line."""
    if self._failures.max_error_rate < 1:
      try_rules(self._components, example, self._evaluate)

  def _evaluate(self, component: Component, calls: list[Call]) -> list[Outcome]:
    return self._pool.run(calls) if component.rule.isolated else [rules.evaluate(call) for call in calls]

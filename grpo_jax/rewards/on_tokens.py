"""A config's rewards as one pure function of tokens, for programs that score without the host."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from grpo_jax.data.batches import pad_completions
from grpo_jax.data.example import Example
from grpo_jax.rewards.calls import Call, Outcome
from grpo_jax.rewards.components import Component, make_component
from grpo_jax.rewards.forms import FORMS, Pieces
from grpo_jax.rewards.self_test import run_self_test


class TokenRewards:
  """The weighted sum of components whose rules all have a form for tokens; it says what `Rewards` says of the texts.

  Args:
    components: as of `Rewards`; vocab_size: of the model; length: the longest completion T, in tokens.

  Raises:
    ValueError: a component is invalid, has no such form, or its form does not fit the tokenizer.
  """

  def __init__(self, components: Mapping[str, Mapping], tokenizer, vocab_size: int, length: int):
    self._pieces, self._length = Pieces(tokenizer, vocab_size), length
    self._components = [make_component(name, spec) for name, spec in components.items()]
    self._forms = {component.name: self._form(component) for component in self._components}

  def _form(self, component: Component):
    try:
      return FORMS[component.rule_name](self._pieces, self._length, **component.options)
    except ValueError as error:
      raise ValueError(
        f"rewards.components.{component.name}.rule={component.rule_name!r} on the device {error}; change the tokenizer "
        "or the options, or set train.fused_iterations to 0."
      ) from error

  def targets(self, examples: Sequence[Example]) -> dict:
    """What the scores of completions of these B examples are compared with, arrays `[B, …]` by component.

    Raises:
      ValueError: an answer is not of the kind that a rule judges.
    """
    try:
      return {name: form.targets(examples) for name, form in self._forms.items()}
    except ValueError as error:
      raise ValueError(f"rewards.components: {error}, or drop the example.") from error

  def __call__(self, tokens_BGT, mask_BGT, targets: dict):
    """Rewards `[B, G]` and the components' unweighted scores by name, float32; pure, within a jitted program."""
    spoken, scores, rewards_BG = self._pieces.spoken(tokens_BGT, mask_BGT), {}, 0.0
    for component in self._components:
      score_BG = self._forms[component.name](*spoken, targets[component.name])
      rewards_BG = rewards_BG + np.float32(component.weight) * score_BG
      scores[component.name] = score_BG
    return rewards_BG, scores

  def self_test(self, examples: Sequence[Example]) -> dict[str, float]:
    """The self-test of `Rewards`, through tokens: gold texts are encoded, as long as the policy may write them."""
    return run_self_test(self._components, examples, self._evaluate, True)

  def _evaluate(self, component: Component, calls: list[Call]) -> list[Outcome]:
    form, encode = self._forms[component.name], self._pieces.tokenizer.encode_completion
    tokens = [encode(call.completion) for call in calls]
    padded, mask = pad_completions(tokens, max(self._length, *map(len, tokens)))
    targets = form.targets([call.example for call in calls])
    scores = jax.jit(lambda t, m, x: form(*self._pieces.spoken(t, m), x))(padded[:, None], mask[:, None], targets)
    return [Outcome(float(score)) for score in np.asarray(scores)[:, 0]]

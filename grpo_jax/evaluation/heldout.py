"""Held-out evaluation: a greedy pass and k samples per problem, judged by the training reward's components."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from grpo_jax.data.example import Example
from grpo_jax.distributed.multihost import fetch, joined_rows, own_rows, summed
from grpo_jax.evaluation.pass_at_k import bootstrap, pass_at_k, wilson
from grpo_jax.rewards.combine import Rewards
from grpo_jax.rewards.scores import Scores
from grpo_jax.types import Rollout


def completion_texts(tokenizer, tokens_BGT, mask_BGT) -> list[list[str]]:
  """Texts `[B][G]` of the unmasked tokens, special tokens left out."""
  rows = zip(tokens_BGT, mask_BGT, strict=True)
  return [[tokenizer.decode(t[m]) for t, m in zip(*row, strict=True)] for row in rows]


def judge(rollout: Rollout, examples, tokenizer, rewards: Rewards, *, all_texts: bool = False):
  """Texts, scores, lengths and truncation of the first `len(examples)` rows of a rollout, on the host.

  Of several processes each scores the rows that are its own, and has only their texts unless it asks for all.
  """
  n = len(examples)
  tokens, mask, truncated = (a[:n] for a in fetch((rollout.tokens_BGT, rollout.mask_BGT, rollout.truncated_BG)))
  lengths, own = mask.sum(-1), own_rows(n)
  texts = dict(zip(own, completion_texts(tokenizer, tokens[own], mask[own]), strict=True))
  scores = rewards([texts[i] for i in own], [examples[i] for i in own], lengths[own], truncated[own], tokens.shape[-1])
  if all_texts and len(own) < n:
    texts = dict(enumerate(completion_texts(tokenizer, tokens, mask)))
  return [texts.get(i, []) for i in range(n)], _of_all(scores, n), lengths, truncated


def _of_all(scores: Scores, n: int) -> Scores:
  """The scores of all processes' rows; messages of failures stay with the process that saw them."""
  rows = joined_rows({"": scores.rewards_BG, **scores.components}, n)
  counts = summed({"errors": scores.errors, "deadlines": scores.deadlines, "bounded": scores.bounded})
  return dataclasses.replace(scores, rewards_BG=rows.pop(""), components=rows, **counts)


@dataclass(frozen=True)
class Answers:
  """What the policy said to each held-out problem, `[problems, members]`; member 0 is greedy."""

  examples: list[Example]
  texts: list[list[str]]
  components: dict[str, np.ndarray]  # unweighted scores by name
  lengths: np.ndarray  # tokens
  truncated: np.ndarray

  def right(self, component: str) -> np.ndarray:
    """Which completions a component finds right."""
    return self.components[component] >= 1


def ask(sample: Callable, heldout, tokenizer, rewards: Rewards, batch: int) -> Answers:
  """Samples and judges all held-out problems. `sample`: `prompts -> Rollout` whose member 0 is greedy."""
  texts, scores, lengths, cut = [], [], [], []
  for start in range(0, len(heldout.examples), batch):
    examples = heldout.examples[start : start + batch]
    text, score, length, truncated = judge(
      sample(heldout.batch(start, batch)), examples, tokenizer, rewards, all_texts=True)
    texts, scores, lengths, cut = [*texts, *text], [*scores, score], [*lengths, length], [*cut, truncated]
  names = scores[0].components
  joined = {name: np.concatenate([s.components[name] for s in scores]) for name in names}
  return Answers(heldout.examples, texts, joined, np.concatenate(lengths), np.concatenate(cut))


def summarize(answers: Answers, component: str, ks: tuple[int, ...] = ()) -> dict[str, float]:
  """{"greedy", "greedy_low", "greedy_high", "pass_rate" (mean over samples), "pass@k" and their intervals, …}.

  `ks`: of pass@k besides the number of samples.
  """
  greedy, correct = np.split(answers.right(component), [1], 1)
  low, high = wilson(float(greedy.sum()), len(greedy))
  metrics = {"problems": len(greedy), "greedy": float(greedy.mean()), "greedy_low": low, "greedy_high": high}
  metrics |= {"length": float(answers.lengths[:, 0].mean()), "truncated": float(answers.truncated[:, 0].mean())}
  sources = np.array([example.source for example in answers.examples])
  for name in np.unique(sources) if len(set(sources)) > 1 else ():
    metrics[f"source/{name}/greedy"] = float(greedy[sources == name].mean())
  samples = correct.shape[1]
  if samples:
    values = {"pass_rate": correct.mean(1)}
    values |= {f"pass@{k}": pass_at_k(correct.sum(1), samples, k) for k in sorted({*ks, samples}) if k <= samples}
    metrics |= with_intervals(values)
  return metrics


def with_intervals(values: dict[str, np.ndarray]) -> dict[str, float]:
  """The mean over problems of each value, with its bootstrap interval."""
  metrics = {}
  for name, value in values.items():
    metrics[name] = float(value.mean())
    metrics[f"{name}_low"], metrics[f"{name}_high"] = bootstrap(value)
  return metrics


def verified(answers: Answers, component: str, verifier: str, largest_gap: float) -> dict[str, float]:
  """A second judge that the policy was not trained on: its greedy accuracy, and how far the training reward is above.

  `alarm/verifier` is 1 where that gap is more than `largest_gap`: the policy may be pleasing the reward only.
  """
  trained, other = (answers.right(name)[:, 0].mean() for name in (component, verifier))
  gap = float(trained - other)
  return {"verifier": float(other), "verifier_gap": gap, "alarm/verifier": float(gap > largest_gap)}

"""Held-out evaluation: a greedy pass and k samples per problem, judged by the training reward's component."""

from collections.abc import Callable

import numpy as np

from grpo_jax.evaluation.pass_at_k import bootstrap, pass_at_k, wilson
from grpo_jax.rewards.combine import Rewards
from grpo_jax.types import Rollout


def completion_texts(tokenizer, tokens_BGT, mask_BGT) -> list[list[str]]:
  """Texts `[B][G]` of the unmasked tokens, special tokens left out."""
  rows = zip(tokens_BGT, mask_BGT, strict=True)
  return [[tokenizer.decode(t[m]) for t, m in zip(*row, strict=True)] for row in rows]


def judge(rollout: Rollout, examples, tokenizer, rewards: Rewards):
  """Texts and scores of the first `len(examples)` rows of a rollout on the host."""
  n = len(examples)
  tokens, mask, truncated = (np.asarray(a)[:n] for a in (rollout.tokens_BGT, rollout.mask_BGT, rollout.truncated_BG))
  texts = completion_texts(tokenizer, tokens, mask)
  return texts, rewards(texts, examples, mask.sum(-1), truncated, tokens.shape[-1]), mask.sum(-1), truncated


def evaluate(sample: Callable, heldout, tokenizer, rewards: Rewards, component: str, batch: int):
  """Metrics of the policy on all held-out problems, and (example, greedy completion, right) of each to look at.

  Args:
    sample: `prompts -> Rollout` whose member 0 is greedy and whose others, if any, are samples.
  Returns:
    {"greedy", "greedy_low", "greedy_high", "pass_rate" (mean over samples), "pass@k" and their intervals, …}.
  """
  right, lengths, cut, shown = [], [], [], []
  for start in range(0, len(heldout.examples), batch):
    examples = heldout.examples[start : start + batch]
    texts, scores, length, truncated = judge(sample(heldout.batch(start, batch)), examples, tokenizer, rewards)
    right.append(scores.components[component] >= 1)
    lengths.append(length[:, 0])
    cut.append(truncated[:, 0])
    shown += [(e, t[0], bool(r[0])) for e, t, r in zip(examples, texts, right[-1], strict=True)]
  greedy, correct = np.split(np.concatenate(right), [1], 1)
  low, high = wilson(float(greedy.sum()), len(greedy))
  metrics = {"problems": len(greedy), "greedy": float(greedy.mean()), "greedy_low": low, "greedy_high": high}
  metrics |= {"length": float(np.concatenate(lengths).mean()), "truncated": float(np.concatenate(cut).mean())}
  sources = np.array([example.source for example in heldout.examples])
  for name in np.unique(sources) if len(set(sources)) > 1 else ():
    metrics[f"source/{name}/greedy"] = float(greedy[sources == name].mean())
  samples = correct.shape[1]
  if samples:
    values = {"pass_rate": correct.mean(1), f"pass@{samples}": pass_at_k(correct.sum(1), samples, samples)}
    for name, value in values.items():
      metrics[name] = float(value.mean())
      metrics[f"{name}_low"], metrics[f"{name}_high"] = bootstrap(value)
  return metrics, shown

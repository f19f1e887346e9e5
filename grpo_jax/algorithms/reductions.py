"""From per-token terms to one number, as (numerator, denominator): both are sums, so any cut of the batch adds up.

With m the mask and N the number of sequences, the loss is numerator / denominator:

| name | numerator | denominator | weight of a token |
|---|---|---|---|
| sequence_mean | sum_i (sum_t m x) / len_i | N | 1 / (N len_i): GRPO, favours short wrong answers less than long ones |
| token_mean | sum m x | sum m | the same for all (DAPO) |
| sequence_sum | sum m x | N | the same; a long completion weighs more than a short one |
| constant | sum m x | N · constant | the same, and independent of the lengths (Dr. GRPO) |
"""

import jax.numpy as jnp


def selected_sum(terms_BGT, mask_BGT, axis=None):
  """Sum where the mask is true; what stands elsewhere, NaN too, is not read."""
  return jnp.sum(jnp.where(mask_BGT, terms_BGT, 0), axis)


def sequences(mask_BGT, present_BG=None):
  """N: all sequences, empty ones too, but not members that a dynamic group size left out."""
  return mask_BGT.shape[0] * mask_BGT.shape[1] if present_BG is None else jnp.sum(present_BG)


def sequence_mean(terms_BGT, mask_BGT, present_BG=None):
  """Mean over the tokens of each sequence, then over sequences (DeepSeekMath equation 3)."""
  lengths = jnp.maximum(jnp.sum(mask_BGT, -1), 1)
  return jnp.sum(selected_sum(terms_BGT, mask_BGT, -1) / lengths), sequences(mask_BGT, present_BG)


def token_mean(terms_BGT, mask_BGT):
  """Mean over all tokens of the minibatch (DAPO, arXiv 2503.14476, equation 8)."""
  return selected_sum(terms_BGT, mask_BGT), jnp.sum(mask_BGT)


def constant(terms_BGT, mask_BGT, divisor, present_BG=None):
  """Sum over tokens by a constant, usually the longest completion allowed (Dr. GRPO, arXiv 2503.20783)."""
  return selected_sum(terms_BGT, mask_BGT), sequences(mask_BGT, present_BG) * divisor

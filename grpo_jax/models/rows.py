"""Groups through the decoder in packed rows, and what is read off: log-probabilities, entropies, the exact KL."""

from grpo_jax.models.config import ModelConfig
from grpo_jax.models.decoder import decoder, head
from grpo_jax.models.layers import Head
from grpo_jax.models.logps import hidden_logps
from grpo_jax.models.packing import Packing, fed, packed
from grpo_jax.models.whole_vocabulary import hidden_kl
from grpo_jax.types import Prompts


def branches(params, cfg: ModelConfig, prompts: Prompts, tokens_BGT, mask_BGT, N: int = 0):
  """Hidden states `[R, 1, N, D]` that predict the tokens of packed rows, and their packing.

  N: tokens of a row, at least as many as the mask counts of any; 0 is room for all.
  """
  packing = packed(mask_BGT, N)
  return decoder(params, cfg, *fed(prompts, tokens_BGT, packing), packing=packing)[0], packing


def tree_logps(params, cfg: ModelConfig, prompts: Prompts, tokens_BGT, mask_BGT, temperature, chunk: int = 0,
               N: int = 0):
  """Log-probabilities and entropies `[B, G, T]` of G completions per prompt, in packed rows: see `branches`."""
  hidden, packing = branches(params, cfg, prompts, tokens_BGT, mask_BGT, N)
  return packed_logps(hidden, head(params, cfg), tokens_BGT, packing, temperature, chunk)


def packed_logps(hidden_R1ND, head: Head, tokens_BGT, packing: Packing, temperature, chunk: int = 0):
  """`hidden_logps` of packed rows, back in `[B, G, T]`; `chunk` counts tokens of each completion."""
  rows = [a[:, None] for a in (packing.take(tokens_BGT), packing.valid_RN)]
  found = hidden_logps(hidden_R1ND, head, *rows, temperature, packing.chunk(chunk))
  return tuple(packing.back(a[:, 0]) for a in found)


def packed_kl(hidden_R1ND, head: Head, ref_hidden_BGTD, ref_head: Head, packing: Packing, temperature, chunk: int = 0):
  """`hidden_kl` of packed rows, back in `[B, G, T]`; `chunk` counts tokens of each completion."""
  reference, valid = packing.take(ref_hidden_BGTD)[:, None], packing.valid_RN[:, None]
  kl = hidden_kl(hidden_R1ND, head, reference, ref_head, valid, temperature, packing.chunk(chunk))
  return packing.back(kl[:, 0])

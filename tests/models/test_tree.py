"""A group scored as a tree against B·G independent sequences; padding that holds NaN; the cost of an update."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from families import FAMILIES

from grpo_jax.algorithms.spec import make_spec
from grpo_jax.models.decoder import decoder, head, prefill
from grpo_jax.models.layers import Head
from grpo_jax.models.logps import chunk_tokens, hidden_logps
from grpo_jax.models.packing import block_of
from grpo_jax.models.rows import branches, tree_logps
from grpo_jax.models.whole_vocabulary import full_logits
from grpo_jax.tools.flops import matmul_flops
from grpo_jax.training.optimizer import OptimizerSpec
from grpo_jax.training.policy_step import policy_step
from grpo_jax.training.state import new_state
from grpo_jax.types import Prompts

TEMPERATURE = 0.7
LOOPS = [("llama", scan, remat) for scan in (False, True) for remat in (False, True)]
CASES = [
  *LOOPS, ("tied", True, False), ("qwen2", False, True), ("qwen3", True, False), ("gemma2", True, True),
  ("gemma3", False, False)]


def packed(prompts: Prompts, tokens_BGT):
  """Whole sequences `[B·G, P+T]` without left padding, and where in them each completion token is predicted."""
  (B, G, T), P = tokens_BGT.shape, prompts.tokens_BP.shape[1]
  lengths = np.repeat(np.sum(prompts.mask_BP, 1), G)
  rows = np.zeros((B * G, P + T), np.int32)
  for row, prompt, mask, completion in zip(
    rows, np.repeat(prompts.tokens_BP, G, 0), np.repeat(prompts.mask_BP, G, 0), tokens_BGT.reshape(-1, T), strict=True
  ):
    row[: mask.sum() + T] = [*prompt[mask], *completion]
  return rows, lengths[:, None] - 1 + np.arange(T)[None]


def flat_logps(params, cfg, rows, at, tokens_BGT, temperature):
  """`[B, G, T]` log-probabilities of B·G packed sequences that share nothing: a causal decoder and a softmax."""
  B, G, T = tokens_BGT.shape
  positions = jnp.broadcast_to(jnp.arange(rows.shape[1])[None, None], (B * G, 1, rows.shape[1]))
  hidden, _ = decoder(params, cfg, rows[:, None], positions, jnp.ones(positions.shape, bool))
  predicting = jnp.take_along_axis(hidden[:, 0], jnp.asarray(at)[..., None], 1)
  logps = jax.nn.log_softmax(head(params, cfg).logits(predicting) / temperature)
  return jnp.take_along_axis(logps, tokens_BGT.reshape(B * G, T, 1), -1).reshape(B, G, T)


@functools.cache
def compiled(logps_of):
  """`(weighted sum of log-probabilities, they themselves), gradient` of `logps_of(params, cfg, batch)`, compiled."""

  def loss(params, cfg, prompts, tokens, mask, weights):
    logps = jnp.where(mask, logps_of(params, cfg, prompts, tokens, mask), 0)
    return jnp.sum(weights * logps), logps

  return jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)


def tree(params, cfg, prompts, tokens, mask, N: int = 0):
  return tree_logps(params, cfg, prompts, tokens, mask, TEMPERATURE, N=N)[0]


ROW = 60  # tokens of a packed row, of 96: the groups of `case` have 11, 12, 17 and 15, rounded to blocks 58


def rows(*batch):
  return tree(*batch, N=ROW)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  """Rows of these tests are cut into blocks, and completions across them."""
  monkeypatch.setattr("grpo_jax.models.packing.SMALLEST", 2)
  assert block_of(ROW, 6) == (2, 3)


def case(cfg):
  """Parameters and a ragged batch with random weights."""
  dtype = cfg.compute_dtype
  weights = np.random.default_rng(5).normal(size=(4, 4, 6)).astype(dtype)
  return tiny.params(cfg, dtype=dtype), cfg, tiny.prompts(), *tiny.completions(), weights


@functools.cache
def flat_result(family: str, dtype: str):
  cfg = tiny.config(compute_dtype=dtype, **FAMILIES[family])
  params, cfg, prompts, tokens, mask, weights = case(cfg)
  rows, at = packed(prompts, tokens)

  def loss(params):
    logps = jnp.where(mask, flat_logps(params, cfg, rows, at, tokens, TEMPERATURE), 0)
    return jnp.sum(weights * logps), logps

  return jax.device_get(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))


def check(form, family, scan, remat, dtype, tolerance):
  cfg = tiny.config(compute_dtype=dtype, scan_layers=scan, remat=remat, **FAMILIES[family])
  result = compiled(form)(*case(cfg))
  assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(result))
  assert tiny.gap(result, flat_result(family, dtype)) <= tolerance


@pytest.mark.parametrize("family, scan, remat", CASES)
def test_packed_rows_are_flat_in_float64(x64, family, scan, remat):
  check(rows, family, scan, remat, "float64", 1e-9)


@pytest.mark.parametrize("family, scan, remat", [CASES[0], CASES[3], *CASES[6:]])
def test_rows_with_room_for_all_are_flat_in_float64(x64, family, scan, remat):
  check(tree, family, scan, remat, "float64", 1e-9)


@pytest.mark.parametrize("family, scan, remat", [CASES[0], CASES[3], *CASES[5:8], ("qwen2_window", False, False)])
def test_packed_rows_are_flat_in_float32(family, scan, remat):
  check(rows, family, scan, remat, "float32", 1e-5)


def test_tree_is_one_unpadded_sequence_at_a_time(cfg, params, prompts):
  tokens, mask = tiny.completions(G=2)
  ours = jax.jit(tree, static_argnums=1)(params, cfg, prompts, tokens, mask)
  for b, g in ((0, 0), (2, 1)):
    prompt, completion = prompts.tokens_BP[b][prompts.mask_BP[b]], tokens[b, g][mask[b, g]]
    sequence = np.concatenate([prompt, completion])[None]
    logits = np.asarray(jax.jit(full_logits, static_argnums=1)(params, cfg, sequence)[0], np.float64)
    logits = logits[len(prompt) - 1 : -1] / TEMPERATURE
    want = logits[np.arange(len(completion)), completion] - np.log(np.exp(logits).sum(-1))
    np.testing.assert_allclose(ours[b, g, : len(completion)], want, atol=2e-5)


@pytest.mark.parametrize(
  "family, scan, remat", [("llama", False, False), ("qwen2", False, True), ("gemma2", True, True)])
def test_padding_is_never_read(family, scan, remat):
  params, *batch = case(tiny.config(scan_layers=scan, remat=remat, **FAMILIES[family]))
  poisoned = params | {"embed": params["embed"].copy()}
  poisoned["embed"][tiny.PAD] = np.nan
  for form in (rows, tree):
    jax.tree.map(np.testing.assert_array_equal, compiled(form)(poisoned, *batch), compiled(form)(params, *batch))


def test_a_row_without_room_is_not_a_number(cfg):
  """A budget below what the groups have would lose tokens: their log-probabilities say so."""
  *batch, _ = case(cfg)
  short = jax.jit(functools.partial(tree, N=56), static_argnums=1)(*batch)
  assert [int(n) for n in np.isnan(short).sum((1, 2))] == [0, 0, 0, 58 - 56 - 1]  # the last group has an odd token


@pytest.mark.parametrize("N, T", [(192, 64), (384, 128), (1000, 1024), (97, 12), (24, 6)])
def test_blocks_reach_back_to_the_first_token_of_a_completion(N, T):
  size, back = block_of(N, T)
  assert N % size == 0 and (back == N // size - 1 or back * size >= T - 1)
  assert size * (back + 1) <= N


def test_keys_and_values_of_padding_are_never_read(cfg, params, prompts):
  def last_hidden(spoil):
    prefix = prefill(params, cfg, prompts)
    hole = ~prefix.valid[:, None, :, :, None]
    dirty = [jnp.where(hole, spoil, layer) for layer in prefix.keys], [jnp.where(hole, spoil, v) for v in prefix.values]
    context = prefix.replace(keys=dirty[0], values=dirty[1]).selected()
    positions = jnp.sum(prompts.mask_BP, 1)[:, None, None] - 1
    tokens = prompts.tokens_BP[:, -1:, None]
    return decoder(params, cfg, tokens, positions, jnp.ones(tokens.shape, bool), (context,))[0]

  hidden = jax.jit(last_hidden)
  np.testing.assert_array_equal(hidden(jnp.nan), hidden(0.0))


def scored(chunk: int = 0, spoil: float = 0.0):
  """Value, entropy and gradients of `hidden_logps` on random states, `spoil` where masked."""
  rng, (tokens, mask) = np.random.default_rng(0), tiny.completions(B=2, G=3, T=12)
  hidden = np.where(mask[..., None], rng.normal(size=(2, 3, 12, 8)), spoil).astype(np.float32)
  matrix, weights = rng.normal(size=(8, 24)).astype(np.float32), rng.normal(size=mask.shape).astype(np.float32)

  def f(hidden, matrix):
    logps, entropy = hidden_logps(hidden, Head(matrix), tokens, mask, TEMPERATURE, chunk)
    return jnp.sum(weights * logps), (logps, entropy)

  (value, (logps, entropy)), gradients = jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(hidden, matrix)
  return {"value": value, "logps": logps, "entropy": entropy, "gradients": gradients}, hidden, matrix, tokens, mask


def test_hidden_states_of_padding_are_never_read():
  for chunk in (0, 4):
    jax.tree.map(np.testing.assert_array_equal, scored(chunk, spoil=np.nan)[0], scored(chunk)[0])


@pytest.mark.parametrize("chunk", [1, 4, 12])
def test_chunks_change_nothing(chunk):
  assert tiny.gap(scored(chunk)[0], scored()[0]) <= 5e-6


def test_log_probabilities_and_entropy_against_numpy():
  result, hidden, matrix, tokens, mask = scored()
  logits = np.float64(hidden) @ np.float64(matrix) / TEMPERATURE
  logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  taken = np.take_along_axis(logps, tokens[..., None], -1)[..., 0]
  np.testing.assert_allclose(result["logps"], np.where(mask, taken, 0), atol=1e-5)
  np.testing.assert_allclose(result["entropy"], np.where(mask, -(np.exp(logps) * logps).sum(-1), 0), atol=1e-5)


@pytest.mark.parametrize(
  "B, G, T, V", [(2, 4, 6, 24), (2, 8, 128, 32_000), (2, 8, 256, 32_000), (64, 8, 1024, 150_000), (1, 8, 90, 150_000)])
def test_a_chunk_divides_the_length_and_bounds_the_logits(B, G, T, V):
  chunk = chunk_tokens(B, G, T, V)
  assert T % chunk == 0
  assert chunk in (1, T) or B * G * chunk * V <= 2**24
  assert (chunk == T) == (B * G * T * V <= 2**26)


def update_of(cfg, P: int, B: int, G: int, T: int):
  """A policy step with its arguments as shapes, and the batch."""
  prompts = tiny.prompts([P] * B, P, vocab_size=cfg.vocab_size)
  batch = tiny.experience(prompts, G, T, vocab_size=cfg.vocab_size)
  state = new_state(jax.tree.map(jnp.asarray, tiny.params(cfg)), 0, reference=False)
  return functools.partial(policy_step, cfg=cfg), (state, batch, make_spec("grpo"), OptimizerSpec(), 1.0)


@pytest.mark.parametrize("scan_layers", [True, False])
def test_the_prompt_is_paid_once(scan_layers):
  """Matrix products of an update at prompt 512, G = 8, T = 64: at most 0.3 of the flat path's."""
  cfg = tiny.config(scan_layers=scan_layers)
  step, args = update_of(cfg, P=512, B=1, G=8, T=64)
  state, batch = args[:2]
  packing = packed(batch.prompts, batch.tokens_BGT)
  flat = jax.grad(lambda p: jnp.sum(flat_logps(p, cfg, *packing, batch.tokens_BGT, 1.0)))
  assert 0 < matmul_flops(step, *args) <= 0.3 * matmul_flops(flat, state.params)


def test_many_logits_are_never_whole():
  """Temporary memory of a compiled update whose logits `[B, G, T, V]` are 3.9 GiB: at most a tenth of them."""
  B, G, T, V = 8, 8, 128, 128_000
  cfg = tiny.config(vocab_size=V, num_layers=1, width=8, tie_embeddings=True)
  step, args = update_of(cfg, P=8, B=B, G=G, T=T)
  memory = jax.jit(step).lower(*args).compile().memory_analysis()
  assert 0 < memory.temp_size_in_bytes <= B * G * T * V * 4 / 10


def test_branches_see_the_last_prompt_token_first(cfg, params, prompts):
  """Position 0 predicts c_0, so it cannot depend on any completion token; position 1 depends on c_0 only."""
  tokens, mask = tiny.completions()
  mask = np.ones_like(mask)

  @functools.partial(jax.jit, static_argnums=1)
  def hidden_of(*args):
    hidden, packing = branches(*args)
    return packing.back(hidden[:, 0])

  hidden = hidden_of(params, cfg, prompts, tokens, mask)
  other = np.where(np.arange(tokens.shape[-1]) >= 1, 1 + tokens % 20, tokens)
  moved = hidden_of(params, cfg, prompts, other.astype(np.int32), mask)
  np.testing.assert_array_equal(moved[..., :2, :], hidden[..., :2, :])
  assert np.all(np.abs(moved[..., 2, :] - hidden[..., 2, :]).max(-1) > 1e-3)

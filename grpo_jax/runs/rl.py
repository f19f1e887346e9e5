"""The RL loop: prompts → rollout → rewards → reference log-probs → advantages → policy steps, once an iteration."""

import time
from functools import partial

import jax
import numpy as np

from grpo_jax.algorithms.policy_loss import advantages
from grpo_jax.algorithms.spec import AlgorithmSpec
from grpo_jax.data.batches import choose_bucket
from grpo_jax.distributed.mesh import put
from grpo_jax.evaluation.heldout import evaluate, judge
from grpo_jax.metrics import means
from grpo_jax.models.logps import tree_logps
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs.programs import Programs, like, shaped
from grpo_jax.runs.prompts import draw
from grpo_jax.runs.setup import Setup, fresh_state
from grpo_jax.runs.stage import Stage
from grpo_jax.runs.validate import algorithm_spec, optimizer_spec, updates_per_iteration
from grpo_jax.sampling.generate import generate
from grpo_jax.training.policy_step import Cut, policy_step
from grpo_jax.training.state import end_iteration
from grpo_jax.types import Experience, Prompts, Rollout, SampleRequest


def cut_to(rollout: Rollout, T: int) -> Rollout:
  """The first T tokens of a rollout none of whose completions is longer."""
  arrays = (rollout.tokens_BGT, rollout.mask_BGT, rollout.behavior_logps_BGT)
  return Rollout(rollout.prompts, *(a[..., :T] for a in arrays), rollout.truncated_BG)


def score(params, rollout: Rollout, temperature, *, cfg, T: int, chunk: int):
  """Log-probabilities `[B, G, T]` of a rollout under some parameters (reference or old policy)."""
  rollout = cut_to(rollout, T)
  return tree_logps(params, cfg, rollout.prompts, rollout.tokens_BGT, rollout.mask_BGT, temperature, chunk)[0]


def make_experience(rollout, rewards_BG, ref_logps, old_logps, spec: AlgorithmSpec, seed, iteration, *, T: int):
  """Rollout and rewards to what policy steps learn from; group statistics are taken here, on the whole `[B, G]`."""
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0x5AFF), iteration)
  cut = cut_to(rollout, T)
  return Experience(cut.prompts, cut.tokens_BGT, cut.mask_BGT, cut.behavior_logps_BGT,
                    advantages(rewards_BG, spec, key), old_logps, ref_logps)


class RLRun:
  """Programs and host-side parts of one RL stage; `iterate` is one iteration."""

  def __init__(self, setup: Setup, rewards: Rewards):
    config = setup.config
    self.setup, self.rewards, self.config = setup, rewards, config
    numbers = partial(jax.tree.map, np.float32)
    self.spec = numbers(algorithm_spec(config))
    self.updates = updates_per_iteration(config)
    self.optimizer = numbers(optimizer_spec(config.optimizer, self.updates * config.train.iterations))
    self.temperature = np.float32(config.sampling.temperature)
    self.seed = np.uint32(config.seed)
    self.programs = Programs(setup.mesh)

  def requests(self) -> dict[str, SampleRequest]:
    """The three kinds of sampling of a run."""
    s, e = self.config.sampling, self.config.evaluate
    base = {"max_new_tokens": max(self.config.completion_buckets), "stop_ids": self.setup.tokenizer.stop_ids}
    held = {**base, "stream": 1, "temperature": np.float32(e.temperature)}
    return {
      "train": SampleRequest(temperature=self.temperature, group_size=s.group_size, **base),
      "greedy": SampleRequest(greedy=True, **held),
      "samples": SampleRequest(group_size=e.samples, top_k=e.top_k, top_p=e.top_p, min_p=e.min_p, **held),
    }

  def warm_up(self, state) -> None:
    """Compiles everything the run will ever call, evaluation included."""
    config, mesh, cfg, add = self.config, self.setup.mesh, self.setup.cfg, self.programs.add
    state, requests = like(state), self.requests()
    chunk, B, G = config.train.logit_chunk, config.train.prompts, config.sampling.group_size
    cut = Cut(config.train.micro_prompts, config.train.micro_members, chunk)

    def prompts(rows, P):
      ints = jax.ShapeDtypeStruct((rows, P), np.int32)
      return shaped(mesh, Prompts(ints, jax.ShapeDtypeStruct((rows, P), bool), jax.ShapeDtypeStruct((rows,), np.int32)))

    def sampler(kind, rows, P):
      sample = lambda params, prompts, seed, temperature: generate(  # noqa: E731
        params, cfg, prompts, seed, requests[kind].replace(temperature=temperature))
      return add((kind, P), sample, state.params, prompts(rows, P), self.seed, self.temperature)

    for kind in ("greedy", "samples") if config.evaluate.samples else ("greedy",):
      sampler(kind, config.evaluate.batch, max(config.prompt_buckets))
    for P in config.prompt_buckets:
      rollout = sampler("train", B, P)
      for T in config.completion_buckets:
        logps = add(("score", P, T), partial(score, cfg=cfg, T=T, chunk=chunk), state.params, rollout, self.temperature)
        rewards = shaped(mesh, jax.ShapeDtypeStruct((B, G), np.float32))
        parts = (rewards, logps if self.spec.kl != "off" else None, logps if self.updates > 1 else None)
        batch = add(("experience", P, T), partial(make_experience, T=T), rollout, *parts, self.spec, self.seed, np.int32(0))
        if self.updates > 1:
          rows = np.zeros(config.train.minibatch_prompts or B, np.int32)
          batch = add(("minibatch", P, T), lambda b, rows: jax.tree.map(lambda a: a[rows], b), batch, rows)
        add(("update", P, T), partial(policy_step, cfg=cfg, cut=cut), state, batch, self.spec, self.optimizer,
            self.temperature, donate=(0,), keep_state=True)
    add("end", end_iteration, state, np.int32(0), np.int32(0), donate=(0,), keep_state=True)

  def minibatches(self, experience: Experience, key, iteration: int):
    """The experience itself, or its prompts in a new order for each pass, cut into minibatches."""
    if self.updates == 1:
      yield experience
      return
    B = self.config.train.prompts
    for epoch in range(self.config.train.update_epochs):
      order = np.random.Generator(np.random.Philox(key=[self.config.seed, iteration * 1000 + epoch])).permutation(B)
      for rows in order.reshape(-1, self.config.train.minibatch_prompts or B):
        yield self.programs(("minibatch", *key), experience, rows.astype(np.int32))

  def iterate(self, state, iteration: int):
    """One rollout and its updates: the new state, metrics as numbers, and the experience (for a post-mortem)."""
    config, programs, clock = self.config, self.programs, [time.perf_counter()]
    drawn = draw(self.setup.train, self.setup.tokenizer, int(state.data_state["position"]), config.train.prompts,
                 config.prompt_buckets)
    P = drawn.prompts.tokens_BP.shape[1]
    rollout = programs(("train", P), state.params, put(self.setup.mesh, drawn.prompts), self.seed, self.temperature)
    T = choose_bucket(np.asarray(rollout.mask_BGT).sum(-1).ravel().tolist(), config.completion_buckets)
    clock.append(time.perf_counter())
    # Dispatched before the rewards: the device scores while the host judges.
    ref = programs(("score", P, T), state.ref_params, rollout, self.temperature) if self.spec.kl != "off" else None
    old = programs(("score", P, T), state.params, rollout, self.temperature) if self.updates > 1 else None
    _, scores, lengths, truncated = judge(rollout, drawn.examples, self.setup.tokenizer, self.rewards)
    clock.append(time.perf_counter())
    jax.block_until_ready((ref, old))
    clock.append(time.perf_counter())
    parts = (put(self.setup.mesh, scores.rewards_BG), ref, old, self.spec, self.seed, np.int32(iteration))
    experience = programs(("experience", P, T), rollout, *parts)
    updates = []
    for minibatch in self.minibatches(experience, (P, T), iteration):
      state, metrics = programs(("update", P, T), state, minibatch, self.spec, self.optimizer, self.temperature)
      updates.append(metrics)
    state = programs("end", state, np.int32(drawn.position), np.int32(config.train.refresh_reference_every))
    numbers = _joined([means(m) for m in jax.device_get(updates)])
    clock.append(time.perf_counter())
    return state, numbers | _rollout_metrics(scores, lengths, truncated, drawn.dropped, clock), experience

  def evaluate(self, params):
    """Held-out metrics of the policy, and samples to print."""
    e, P = self.config.evaluate, max(self.config.prompt_buckets)

    def sample(kind, prompts):
      temperature = np.float32(e.temperature)
      return self.programs((kind, P), params, put(self.setup.mesh, prompts), self.seed, temperature)

    return evaluate(sample, self.setup.heldout, self.setup.tokenizer, self.rewards, e.component, e.batch, e.samples)


def _joined(updates: list[dict]) -> dict:
  """Means over the updates of an iteration; the number of skipped ones is summed."""
  numbers = {name: float(np.mean([u[name] for u in updates])) for name in updates[0]}
  return numbers | {"update/skipped": float(np.sum([u["update/skipped"] for u in updates]))}


def _rollout_metrics(scores, lengths_BG, truncated_BG, dropped: int, clock: list[float]) -> dict:
  rewards = scores.rewards_BG
  names = ("time/sampling", "time/rewards", "time/scoring", "time/update")
  spent = dict(zip(names, np.diff(clock).tolist(), strict=True))
  total = clock[-1] - clock[0]
  return means(scores.metrics()) | {
    "reward/std_in_group": float(rewards.std(1).mean()),
    "groups/no_signal": float((rewards.max(1) == rewards.min(1)).mean()),
    "length/mean": float(lengths_BG.mean()), "length/max": int(lengths_BG.max()),
    "length/truncated": float(truncated_BG.mean()), "data/dropped": dropped,
    **spent, "time/iteration": total, "time/tokens_per_second": float(lengths_BG.sum() / total),
  }


def _save_skipped(stage: Stage, iteration: int, experience: Experience) -> None:
  """The batch whose gradient was not finite, for the post-mortem."""
  folder = stage.directory / "skipped"
  folder.mkdir(exist_ok=True)
  named = {jax.tree_util.keystr(path).strip("."): np.asarray(leaf)
           for path, leaf in jax.tree_util.tree_leaves_with_path(experience)}
  np.savez(folder / f"iteration_{iteration}.npz", **named)


def run_rl(setup: Setup, workdir, rewards: Rewards, params=None):
  """Trains to `config.train.iterations` from wherever the workdir is; returns the final parameters."""
  config = setup.config
  stage = Stage(workdir, config, total=config.train.iterations, name="rl")
  run = RLRun(setup, rewards)
  state = fresh_state(setup, reference=run.spec.kl != "off", params=params)
  stage.warm_up(state)
  if not stage.done:
    run.warm_up(state)
  state = stage.resume(state)
  if stage.start == 0:
    _evaluate(run, stage, 0, state)
  for i in range(stage.start + 1, config.train.iterations + 1):
    state, numbers, experience = run.iterate(state, i)
    if numbers["update/skipped"]:
      _save_skipped(stage, i, experience)
    stage.log(i, "train", numbers, _line(numbers))
    every = config.evaluate.every
    due = i == config.train.iterations or (every and i % every == 0)
    greedy = _evaluate(run, stage, i, state) if due else None
    stage.maybe_save(i, state, greedy)
  stage.finish({"compile_seconds": run.programs.compile_seconds})
  return state.params


def _evaluate(run: RLRun, stage: Stage, step: int, state) -> float:
  started = time.perf_counter()
  metrics, shown = run.evaluate(state.params)
  metrics["time/evaluate"] = time.perf_counter() - started
  passed = "".join(f"  {k} {metrics[k]:.3f}" for k in metrics if k == "pass_rate" or (k[:5] == "pass@" and k[-1].isdigit()))
  line = f"held-out greedy {metrics['greedy']:.3f} [{metrics['greedy_low']:.3f}, {metrics['greedy_high']:.3f}]{passed}"
  stage.log(step, "eval", metrics, line)
  for example, text, right in shown[: run.config.log.samples]:
    print(f"    {str(example.prompt)[-60:]!r} → {text[:120]!r} ({'right' if right else 'wrong'}, {example.answer})", flush=True)
  return metrics["greedy"]


def _line(n: dict) -> str:
  kl = f"  kl {n['policy/kl']:.4f}" if "policy/kl" in n else ""
  warn = f"  WARNING {n['length/truncated']:.0%} truncated" if n["length/truncated"] > 0.5 else ""
  return (f"reward {n['reward/total']:.3f}{kl}  length {n['length/mean']:.1f}  "
          f"no-signal {n['groups/no_signal']:.2f}  {n['time/tokens_per_second']:.0f} tok/s{warn}")

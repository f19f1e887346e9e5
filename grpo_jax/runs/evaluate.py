"""`task=eval`: benchmarks by name, or a config's own held-out problems, over any model; a table and every sample."""

import json
import pathlib
from dataclasses import replace

from ml_collections import ConfigDict

from grpo_jax.config.identity import identity_items
from grpo_jax.evaluation.benchmarks import benchmark
from grpo_jax.evaluation.heldout import Answers, with_intervals
from grpo_jax.evaluation.votes import answer_key, maj_at_k
from grpo_jax.metrics import write_whole
from grpo_jax.reading import read_json
from grpo_jax.rewards.combine import Rewards
from grpo_jax.runs.heldout import Exam, heldout_metrics
from grpo_jax.runs.ops import OnDemand
from grpo_jax.runs.rl_metrics import eval_line
from grpo_jax.runs.setup import Setup, draw_heldout, pretrained
from grpo_jax.runs.validate import validate


def run_eval(setup: Setup, workdir: pathlib.Path) -> dict:
  """Evaluates on each benchmark that has no result yet; returns {name: metrics}.

  Writes `eval/NAME.json` (metrics), `eval/NAME.jsonl` (every completion) and `eval/table.md`.
  """
  folder = workdir / "eval"
  folder.mkdir(parents=True, exist_ok=True)
  params = pretrained(setup)
  results = {}
  for name in setup.config.evaluate.benchmarks or ("heldout",):
    file = folder / f"{name.replace('/', '-')}.json"
    if not file.exists():
      config = setup.config.copy_and_resolve_references() if name == "heldout" else configured(setup.config, name)
      metrics, answers = _evaluated(setup, config, params)
      _write_samples(file.with_suffix(".jsonl"), answers, config.evaluate.component)
      write_whole(file, json.dumps(metrics | {"config": identity_items(config)}, indent=1, default=str))
    found = read_json(file, "remove it, and the same command evaluates again")
    results[name] = {k: v for k, v in found.items() if k != "config"}
    print(f"{name}: {eval_line(results[name])}", flush=True)
  write_whole(folder / "table.md", table(results) + "\n")
  return results


def configured(config: ConfigDict, name: str) -> ConfigDict:
  """The config with a benchmark's data, rewards and lengths."""
  changed = config.copy_and_resolve_references().unlock()
  for key, value in benchmark(name).items():
    if key == "rewards.components":
      changed.rewards.components = ConfigDict(value)
    elif key == "data":
      changed.data = ConfigDict(value)
    else:
      changed.update_from_flattened_dict({key: value})
  changed.evaluate.benchmarks = ()
  validate(changed)
  return changed


def _evaluated(setup: Setup, config: ConfigDict, params) -> tuple[dict, Answers]:
  """Self-test, compilation, completions, metrics."""
  r, e = config.rewards, config.evaluate
  tokenizer = setup.tokenizer.stopping_at(config.tokenizer.stop)
  heldout = draw_heldout(config, tokenizer)[0].trimmed()
  config.prompt_buckets = (heldout.prompts.tokens_BP.shape[1],)
  setup = replace(setup, config=config, tokenizer=tokenizer, heldout=heldout)
  with Rewards(r.components.to_dict(), workers=r.workers, deadline_seconds=r.deadline_seconds,
               max_error_rate=r.max_error_rate) as rewards:
    rewards.try_rules(heldout.examples[0])
    tested = rewards.self_test(setup.heldout.examples[: r.self_test]) if r.self_test else {}
    answers = Exam(setup, rewards, OnDemand(setup.mesh)).ask(params)
  ks = tuple(2**i for i in range(1, 11) if 2**i <= e.samples)
  metrics = heldout_metrics(answers, e, ks) | {f"self_test/{name}": value for name, value in tested.items()}
  component = r.components[e.component]
  options = component.get("options", {})
  keys = [[answer_key(text, component.rule, options) for text in group[1:]] for group in answers.texts]
  votes = {f"maj@{k}": maj_at_k(keys, answers.right(e.component)[:, 1:], k) for k in ks}
  return metrics | with_intervals(votes), answers


def _write_samples(path: pathlib.Path, answers: Answers, component: str) -> None:
  """One line a completion: problem, member (0 is greedy), prompt, gold answer, text, scores, length, truncation."""
  lines = []
  for i, example in enumerate(answers.examples):
    for g, text in enumerate(answers.texts[i]):
      scores = {name: float(score[i, g]) for name, score in answers.components.items()}
      lines.append(json.dumps({
        "problem": i, "member": g, "prompt": example.prompt, "answer": example.answer, "source": example.source,
        "completion": text, "right": scores[component] >= 1, "scores": scores, "length": int(answers.lengths[i, g]),
        "truncated": bool(answers.truncated[i, g])}))
  write_whole(path, "\n".join(lines) + "\n")


def table(results: dict[str, dict]) -> str:
  """A markdown table of benchmarks by metrics, each with its 95 % interval."""
  whole = ("problems", "length", "truncated")
  names = [n for n in dict.fromkeys(k for row in results.values() for k in row)
           if n in ("greedy", "pass_rate", "verifier") or (n.split("@")[0] in ("pass", "maj") and n[-1].isdigit())]

  def cell(row, name):
    if name not in row:
      return "–"
    interval = f" [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]" if f"{name}_low" in row else ""
    return f"{row[name]:.3f}" + interval

  lines = ["| benchmark | problems | " + " | ".join(names) + " | length | truncated |", "|---" * (len(names) + 4) + "|"]
  for benchmark_name, row in results.items():
    first, *rest = (f"{row[name]:.3g}" for name in whole)
    lines.append("| " + " | ".join([benchmark_name, first, *(cell(row, n) for n in names), *rest]) + " |")
  return "\n".join(lines)

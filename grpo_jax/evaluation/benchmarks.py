"""Benchmarks by name, for `evaluate.benchmarks` of `task=eval`: each is a config's data, rewards and lengths."""

import os
import pathlib

from grpo_jax.data.sources import make_source
from grpo_jax.rewards.gym_tasks import OFFERED

DATA_VARIABLE = "GRPO_BENCHMARKS"  # the folder of the files that benchmarks read
GSM8K_FILES = ("train.jsonl", "test.jsonl")
QUESTION = "Question: {prompt}\nAnswer:"


def benchmark(name: str) -> dict:
  """The config keys that a benchmark sets.

  gsm8k, gsm8k_chat: the official train.jsonl and test.jsonl in `$GRPO_BENCHMARKS/gsm8k` (4 worked examples as text, or
  none as a chat). countdown: made up. reasoning_gym/TASK: any task whose scorer passed the audit, 3 examples.

  Raises:
    ValueError: an unknown name, with the known ones; files that are not there.
  """
  if name in ("gsm8k", "gsm8k_chat"):
    return _gsm8k(chat=name.endswith("chat"))
  if name == "countdown":
    return {
      "data": {"kind": "countdown", "count": 3, "high": 12, "operations": "+-*", "words": True, "shots": 3,
               "train_size": 500, "heldout_size": 500},
      "rewards.components": {"correct": {"rule": "countdown", "options": {"until": "\n"}}},
      "tokenizer.stop": ("\n",), "prompt_buckets": (512,), "completion_buckets": (64,)}
  kind, _, task = name.partition("/")
  if kind == "reasoning_gym" and task in OFFERED:
    data = {"kind": "reasoning_gym", "task": task, "train_size": 50, "heldout_size": 500, "shots": 3,
            "prompt_template": QUESTION}
    source = make_source(data, "train")
    end = "\n\n" if any("\n" in source[i].solution for i in range(16)) else "\n"  # answers of one line end with it
    return {
      "data": data, "rewards.components": {"correct": {"rule": "reasoning_gym", "options": {"until": end}}},
      "tokenizer.stop": (end,), "prompt_buckets": (1024,), "completion_buckets": (64,)}
  raise ValueError(
    f"evaluate.benchmarks has {name!r}; known are gsm8k, gsm8k_chat, countdown and reasoning_gym/TASK with TASK one of "
    f"{', '.join(sorted(OFFERED))}.")


def _gsm8k(chat: bool) -> dict:
  folder = pathlib.Path(os.environ.get(DATA_VARIABLE, "benchmarks_data")) / "gsm8k"
  for file in GSM8K_FILES:
    if not (folder / file).is_file():
      raise ValueError(f"{DATA_VARIABLE}={os.environ.get(DATA_VARIABLE)!r}: {folder / file} is not there; set it to a "
                       "folder that holds gsm8k/train.jsonl and gsm8k/test.jsonl, the official files.")
  how = {"chat_template": {"user": "{prompt}\nPut the final number after ####."}} if chat else {
    "prompt_template": QUESTION, "shots": 4}
  return {
    "data": {"kind": "jsonl", "path": str(folder / "train.jsonl"), "heldout_path": str(folder / "test.jsonl"),
             "fields": {"prompt": "question", "answer": "answer", "solution": "answer"}, "answer_after": "####", **how},
    "rewards.components": {"correct": {
      "rule": "numeric", "options": {"after": "####", "until": "\n", "before": "\nQuestion:"}}},
    "tokenizer.stop": () if chat else ("\n\n",), "prompt_buckets": (1024,), "completion_buckets": (256,)}

"""What both peers share: the sizes, the work of one step, the clock, and the line of JSON they print.

Not a command: `trl_step.py` and `tunix_step.py` import it. It imports nothing heavy at the top, so that the thread
limits are in place before torch or JAX start their pools.
"""

import argparse
import collections
import contextlib
import ctypes
import dataclasses
import functools
import json
import os
import random
import resource
import sys
import time

STARTED = time.perf_counter()  # the start-up clock; the scripts import this module before anything else

PROMPTS = 8            # B: prompts in one rollout
COMPLETIONS = 8        # G: completions per prompt
ROWS = PROMPTS * COMPLETIONS
LEARNING_RATE = 1e-6
CLIP_NORM = 1.0        # global gradient norm
BETA = 0.04            # weight of the KL term; not zero, so the reference pass runs
EPSILON = 0.2          # clipping of the ratio
TEMPERATURE = 1.0
ROPE_THETA = 1_000_000.0
NORM_EPSILON = 1e-6
EMBEDDING_STD = 0.02   # keeps the logits of random weights small, as after a usual initialization

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h of glibc


@dataclasses.dataclass(frozen=True)
class Size:
  """A Qwen2-shaped model with tied embeddings and the lengths (in tokens) of one rollout."""

  width: int
  layers: int
  heads: int
  kv_heads: int
  ffn: int
  vocab: int
  prompt: int
  completion: int


SMALL = Size(width=256, layers=4, heads=8, kv_heads=2, ffn=1024, vocab=512, prompt=64, completion=64)
SIZES = {
    "tiny": dataclasses.replace(SMALL, width=32, layers=2, ffn=64, vocab=64, prompt=8, completion=8),  # for a test
    "small": SMALL,
    "mid": Size(width=512, layers=8, heads=8, kv_heads=2, ffn=2048, vocab=32000, prompt=64, completion=128),
    "fewshot": dataclasses.replace(SMALL, prompt=512),
}


def parse_arguments(description: str, micro_help: str) -> argparse.Namespace:
  """The flags that both peers take."""
  parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--size", choices=sorted(SIZES), default="small")
  parser.add_argument("--steps", type=int, default=5, help="steps that are reported")
  parser.add_argument("--warmup", type=int, default=1, help="steps run before those and not reported")
  parser.add_argument("--threads", type=int, default=2, help="CPU threads for the matrix products")
  parser.add_argument("--micro", type=int, default=None, help=micro_help)
  parser.add_argument("--malloc", choices=("keep", "default"), default="keep",
                      help="keep: freed memory stays with the process (faster, a higher peak)")
  arguments = parser.parse_args()
  if arguments.steps < 1 or arguments.warmup < 0 or arguments.threads < 1:
    parser.error("--steps and --threads must be at least 1, --warmup at least 0")
  return arguments


def limit_threads(threads: int) -> None:
  """Limits this process to `threads` CPUs. Call it before torch or JAX is imported: both read it only then."""
  for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(threads)
  if hasattr(os, "sched_setaffinity"):  # Linux; XLA sizes its pool by the CPUs it may run on
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def keep_freed_memory() -> None:
  """Tells glibc never to hand freed memory back.

  Large tensors are otherwise mapped and unmapped one by one, and in virtual machines the page faults can cost as much
  as the arithmetic. Where there is no glibc this does nothing.
  """
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is not None:
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    mallopt(M_TOP_PAD, 2**28)


def forbid_network() -> None:
  """Makes the Hugging Face libraries fail rather than look anything up."""
  for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ[name] = "1"
  os.environ["TOKENIZERS_PARALLELISM"] = "false"


def word_tokenizer(vocab: int):
  """A tokenizer whose word `t7` has id 7, with an end-of-sequence id one past the vocabulary.

  The model has no logit for that id, so no completion ever ends early.
  """
  import tokenizers
  import transformers

  ids = {f"t{i}": i for i in range(vocab)} | {"</s>": vocab}
  words = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="t0"))
  words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  return transformers.PreTrainedTokenizerFast(
      tokenizer_object=words, eos_token="</s>", pad_token="</s>", padding_side="left",
      clean_up_tokenization_spaces=False)


def make_prompts(size: Size, rollouts: int) -> list[str]:
  """PROMPTS different prompts for each rollout, each of exactly `size.prompt` tokens."""
  draw = random.Random(0)
  return [" ".join(f"t{draw.randrange(size.vocab)}" for _ in range(size.prompt)) for _ in range(rollouts * PROMPTS)]


def parity_reward(prompts, completions, **_) -> list[float]:
  """The fraction of odd tokens in each completion: as cheap for any completion as for any other."""
  del prompts
  fractions = []
  for completion in completions:
    words = completion.split()
    fractions.append(sum(int(word[1:]) % 2 for word in words) / len(words))
  return fractions


def require(condition: bool, what: str) -> None:
  """Stops the benchmark where the work of a step is not the work that was asked for."""
  if not condition:
    raise RuntimeError(f"the peer did not do the work that is timed: {what}")


class StepClock:
  """Wall seconds of each step, and of the named parts within it."""

  def __init__(self):
    self.steps = []                 # seconds
    self.parts = []                 # one {part: seconds} per step
    self.first_step_ended = None    # seconds since start-up
    self._current = collections.defaultdict(float)
    self._began = None

  def begin(self) -> None:
    """Starts the clock of the first step."""
    self._began = time.perf_counter()

  def end_step(self) -> None:
    """Closes a step; the next one begins at once."""
    now = time.perf_counter()
    if self.first_step_ended is None:
      self.first_step_ended = now - STARTED
    self.steps.append(now - self._began)
    self.parts.append(dict(self._current))
    self._current.clear()
    self._began = now

  def timed(self, part: str, function, finish=None):
    """`function`, with its seconds added to `part`; `finish(result)` waits for work that is still under way."""

    @functools.wraps(function)
    def run(*args, **kwargs):
      began = time.perf_counter()
      result = function(*args, **kwargs)
      if finish is not None:
        finish(result)
      self._current[part] += time.perf_counter() - began
      return result

    return run


def report(peer: str, version: str, size: str, warmup: int, clock: StepClock) -> str:
  """The JSON line: the update is what a step does outside the rollout (sampling, reference pass, reward)."""
  steps, parts = clock.steps[warmup:], clock.parts[warmup:]
  return json.dumps({
      "peer": peer,
      "version": version,
      "size": size,
      "step_seconds": [round(seconds, 4) for seconds in steps],
      "sampling_seconds": [round(part["sampling"], 4) for part in parts],
      "reference_seconds": [round(part["reference"], 4) for part in parts],
      "update_seconds": [round(step - part["rollout"], 4) for step, part in zip(steps, parts, strict=True)],
      "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),  # Linux counts in KiB
      "startup_to_second_step_seconds": round(clock.first_step_ended, 2),
  })


def run_peer(description: str, micro_help: str, run) -> None:
  """Runs `run(size, arguments, clock) -> (peer, version)` and prints the report as the last line of stdout."""
  arguments = parse_arguments(description, micro_help)
  limit_threads(arguments.threads)
  if arguments.malloc == "keep":
    keep_freed_memory()
  forbid_network()
  clock = StepClock()
  with contextlib.redirect_stdout(sys.stderr):
    peer, version = run(SIZES[arguments.size], arguments, clock)
  total = arguments.warmup + arguments.steps
  require(len(clock.steps) == total, f"{len(clock.steps)} steps ran, {total} were asked for")
  print(report(peer, version, arguments.size, arguments.warmup, clock), flush=True)

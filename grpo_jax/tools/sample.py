"""Talks to a model: one prompt, or a conversation from the terminal.

  python -m grpo_jax.tools.sample MODEL --prompt '12+34='            one shot
  python -m grpo_jax.tools.sample MODEL                              interactive; /new forgets, /quit or ^D ends

MODEL is the folder of a run (its newest checkpoint; FOLDER@STEP for another), a Hugging Face directory, a .gguf file or
a short name such as smollm2-135m. With a chat template prompts are turns of a conversation; --plain turns that off.
"""

import argparse
import functools
import sys

import jax
import numpy as np

from grpo_jax.config.defaults import default_config
from grpo_jax.data.batches import make_prompts
from grpo_jax.evaluation.heldout import completion_texts
from grpo_jax.quiet import quiet
from grpo_jax.runs.model import Model, load_model
from grpo_jax.sampling.generate import generate
from grpo_jax.types import SampleRequest


class Talker:
  """A model ready to complete prompts; each length of prompt up to a power of two compiles once."""

  def __init__(self, model: Model, options):
    self.tokenizer, self._options, self._asked = model.tokenizer, options, 0
    request = SampleRequest(
      group_size=options.samples, max_new_tokens=options.max_new_tokens, stop_ids=model.tokenizer.stop_ids,
      greedy_members=options.samples if options.temperature == 0 else 0, top_k=options.top_k, top_p=options.top_p,
      temperature=np.float32(options.temperature or 1))
    self._params = jax.device_put(model.weights())
    self._sample = jax.jit(functools.partial(generate, cfg=model.cfg, request=request))

  def __call__(self, prompt) -> list[str]:
    """Completions of a text or of chat messages; no two calls share random keys."""
    ids = self.tokenizer.encode_prompt(prompt)
    length = max(8, 1 << (len(ids) - 1).bit_length())
    prompts = make_prompts([ids], [self._asked], length, self.tokenizer.pad_id)
    self._asked += 1
    rollout = self._sample(self._params, prompts=prompts, seed=np.uint32(self._options.seed))
    return completion_texts(self.tokenizer, np.asarray(rollout.tokens_BGT), np.asarray(rollout.mask_BGT))[0]


def _system(options) -> list[dict]:
  return [{"role": "system", "content": options.system}] if options.system else []


def converse(talker: Talker, lines, chat: bool, options) -> None:
  """Answers line by line; in a chat the first completion of each turn stays in the conversation."""
  messages = _system(options)
  for line in lines:
    text = line.rstrip("\n")
    if text == "/quit":
      return
    if text == "/new" or not text:
      messages = _system(options)
      continue
    messages.append({"role": "user", "content": text})
    try:
      completions = talker(messages if chat else text)
    except ValueError as error:
      print(f"error: {error}", flush=True)
      messages.pop()
      continue
    print(*completions, sep="\n---\n", flush=True)
    messages.append({"role": "assistant", "content": completions[0]})


def parse(arguments):
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("model")
  parser.add_argument("--prompt", default="", help="one prompt; without it, prompts are read from the terminal")
  parser.add_argument("--plain", action="store_true", help="no chat template, even where there is one")
  parser.add_argument("--system", default="", help="system message of a chat")
  parser.add_argument("--samples", type=int, default=1, help="completions per prompt")
  parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest token")
  parser.add_argument("--top-k", type=int, default=0, help="0 is off")
  parser.add_argument("--top-p", type=float, default=1.0, help="1 is off")
  parser.add_argument("--max-new-tokens", type=int, default=128)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--tokenizer", default="", help="Hugging Face directory; empty is the model's own")
  options = parser.parse_args(arguments)
  for name, ok in (("samples", options.samples >= 1), ("temperature", options.temperature >= 0),
                   ("max_new_tokens", options.max_new_tokens >= 1), ("top_p", 0 < options.top_p <= 1)):
    if not ok:
      parser.error(f"--{name.replace('_', '-')} {getattr(options, name)} is out of range")
  return options


def main(arguments=None) -> int:
  """Command line; returns the exit status, 1 with one sentence where the model or the prompt cannot be read."""
  quiet()
  options = parse(arguments)
  config = default_config()
  config.model.path, config.tokenizer.path = options.model, options.tokenizer
  try:
    talker = Talker(load_model(config), options)
    chat = bool(talker.tokenizer.backend.chat_template) and not options.plain
    if options.prompt:
      messages = [*_system(options), {"role": "user", "content": options.prompt}]
      print(*talker(messages if chat else options.prompt), sep="\n---\n")
      return 0
  except (ValueError, OSError, MemoryError) as error:
    print(f"sample: {error}", file=sys.stderr)
    return 1
  print("chat" if chat else "plain prompts", "- /new forgets, /quit ends", file=sys.stderr)
  converse(talker, sys.stdin, chat, options)
  return 0


if __name__ == "__main__":
  sys.exit(main())

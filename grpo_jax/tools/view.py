"""A page to look inside a run: its kept rollouts token by token, with rewards, advantages, ratios, KL, gradient share.

  python -m grpo_jax.tools.view --workdir WORKDIR [--steps 10,20 | --steps 10-200] [--prompts 8] [--out samples.html]

Needs iterations that were kept (config.log.rollouts) and the tokenizer; no device, no checkpoint, no network.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable

from grpo_jax.quiet import quiet
from grpo_jax.reports.rollouts import FOLDER, kept_steps, read_rollout, rollout_file
from grpo_jax.reports.samples import Piece, page_data, prompts_within, write_samples
from grpo_jax.runs.model import load_model, run_config
from grpo_jax.text.tokenizer import Tokenizer

TOKENS = 150_000  # on a page, where --prompts does not say: about 3.5 MB


def speller(tokenizer: Tokenizer) -> Callable[[int], Piece]:
  """What one token adds to a text: decoded behind another, because decoders drop a space that begins a text.

  Special tokens are their names; a token that is part of a character is U+FFFD.
  """
  backend = tokenizer.backend
  special = {*backend.all_special_ids, *(i for i, token in backend.added_tokens_decoder.items() if token.special)}

  def decode(ids) -> str:
    return backend.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

  plain = (i for i in range(tokenizer.vocab_size) if i not in special and decode([i]).isalnum())
  first = next(plain, next(i for i in range(tokenizer.vocab_size) if i not in special))

  def piece(token: int) -> Piece:
    if token in special:
      return Piece(backend.convert_ids_to_tokens(token), True)
    before, both = decode([first]), decode([first, token])
    return Piece(both.removeprefix(before) if both.startswith(before) else decode([token]), False)

  return piece


def chosen(workdir: pathlib.Path, text: str) -> list[int]:
  """The kept iterations that `--steps` names; all of them where it is empty.

  Raises:
    ValueError: none is kept, or one that is named is not.
  """
  kept = kept_steps(workdir)
  if not kept:
    raise ValueError(f"{workdir / FOLDER} holds no rollouts; run with --config.log.rollouts=10 (every tenth is kept; "
                     "a free key, which an unfinished run may change).")
  if not text:
    return kept
  asked = []
  for part in text.split(","):
    first, dash, last = part.partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
      raise ValueError(f"--steps={text!r} must be iterations and ranges, such as 10,20 or 10-200.")
    found = [step for step in kept if int(first) <= step <= int(last or first)]
    if not found:
      raise ValueError(f"--steps: iteration {part} was not kept; there are {', '.join(map(str, kept))}.")
    asked += found
  return sorted(set(asked))


def write_view(workdir: pathlib.Path, steps="", prompts=0, out: pathlib.Path | None = None) -> pathlib.Path:
  """Writes the page; `prompts` of each iteration, 0 for as many as make a page that opens at once."""
  rollouts = [read_rollout(rollout_file(workdir, step)) for step in chosen(workdir, steps)]
  config = run_config(workdir)
  tokenizer = load_model(config).tokenizer
  rows = min(prompts or prompts_within(rollouts, TOKENS), max(len(r.uids_B) for r in rollouts))
  replaced = {k: v for k, v in config.algorithm.items() if v is not None and k != "preset"}
  row = " ".join([config.algorithm.preset, *(f"{k}={v}" for k, v in replaced.items())])
  about = (f"row {row} · temperature {config.sampling.temperature:g} · the first {rows} of {len(rollouts[0].uids_B)} "
           f"prompts of {len(rollouts)} kept iterations")
  data = page_data(rollouts, rows, speller(tokenizer), tokenizer.decode)
  return write_samples(out or workdir / "samples.html", f"{config.name}: samples", about, data)


def main(arguments=None) -> int:
  """Command line; exit status 1 with one sentence where there is nothing to show."""
  quiet()
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--workdir", type=pathlib.Path, required=True, help="folder of a run")
  parser.add_argument("--steps", default="", help="iterations to show, e.g. 10,20 or 10-200; all that were kept")
  parser.add_argument("--prompts", type=int, default=0, help="most prompts of each; 0: as many as open at once")
  parser.add_argument("--out", type=pathlib.Path, help="the page; WORKDIR/samples.html")
  options = parser.parse_args(arguments)
  try:
    if not (options.workdir / "config.json").is_file():
      raise ValueError(f"--workdir={str(options.workdir)!r} is not the folder of a run: it has no config.json.")
    if options.prompts < 0:
      raise ValueError(f"--prompts={options.prompts} must not be negative; 0 is as many as open at once.")
    page = write_view(options.workdir, options.steps, options.prompts, options.out)
  except (ValueError, OSError) as error:
    print(f"view: {error}", file=sys.stderr)
    return 1
  print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
  return 0


if __name__ == "__main__":
  sys.exit(main())

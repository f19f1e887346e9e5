"""What a run says of its held-out problems first: how many were too long, how many stand in the training data."""

from grpo_jax.data.contamination import COMMON, LONG, MOST_ROWS, SHORT, overlap
from grpo_jax.data.order import Stream
from grpo_jax.data.sources import Source, bare
from grpo_jax.evaluation.problems import Heldout


def heldout_notes(how: str, train: Source, stream: Stream, heldout: Heldout) -> dict[str, int]:
  """Counts for the log: {"heldout/dropped", "heldout/in_training", "heldout/shares_words"}.

  Args:
    how: `config.contamination`: refuse, warn or off.
    train: the training source.
    stream: what the held-out problems were drawn from.

  Raises:
    ValueError: how="refuse" and a held-out problem is a training problem, but for case, spacing and punctuation.
  """
  notes = {"heldout/dropped": heldout.dropped}
  if heldout.dropped:
    print(f"held-out: {heldout.dropped} problems are longer than prompt_buckets allow and were left out", flush=True)
  if how == "off":
    return notes
  problems = Stream(bare(stream.source), stream.seed)
  found = overlap([problems[position] for position in heldout.positions], bare(train))
  for left, right in found.exact[:1]:
    sentence = (
      f"contamination={how!r}: {len(found.exact)} held-out problems are training problems too: held-out"
      f" {str(left.prompt)[:200]!r} ({left.source}) is training {str(right.prompt)[:200]!r} ({right.source}), but for"
      " case, spacing and punctuation; take them out of one split, or set contamination='warn'."
    )
    if how == "refuse":
      raise ValueError(sentence)
    print(f"WARNING {sentence}", flush=True)
  if found.shared:
    part = f", of which {MOST_ROWS} were sampled" if found.sampled else ""
    print(f"held-out: {found.shared} problems share {SHORT} or, where long, {LONG} words in a row with at most {COMMON}"
          f" of the training problems{part}", flush=True)
  return notes | {"heldout/in_training": len(found.exact), "heldout/shares_words": found.shared}

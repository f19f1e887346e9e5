"""Tables of finished sweeps as Markdown, with their curves beside it: what docs/results/ablations.md quotes.

  python benchmarks/findings.py runs/ablations --out docs/results/ablations

Writes OUT/NAME.md and OUT/NAME.png for each sweep in the folder.
"""

import argparse
import pathlib
import sys

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from grpo_jax.reports.page import apart, counts, interval, number
from grpo_jax.reports.records import Collection, collect
from grpo_jax.reports.statistics import METHOD
from grpo_jax.reports.tables import costs, health, measures, results

HEALTH = ("KL, end", "entropy, end", "truncated, most", "groups without signal, end")


def cell(row: dict, name: str) -> str:
  """A difference with its interval, in bold where that leaves out zero."""
  text = interval(row, f"{name} difference", "+")
  return f"**{text}**" if apart(row, f"{name} difference") else text


def markdown(collection: Collection) -> str:
  """The results of a sweep, what they cost, and what shows whether they can be trusted."""
  names = [name for name in measures(collection) if not name.startswith("pass@")]
  lines = [f"{counts(collection)}. Intervals: {METHOD}; bold: leaves out zero.", ""]
  lines += [f"| arm | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
  for row in results(collection):
    lines.append(f"| {row['arm']} | {' | '.join(interval(row, name) for name in names)} |")
  lines += ["", f"Paired differences to `{collection.arms[0]}`:", ""]
  lines += [f"| arm | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
  for row in results(collection)[1:]:
    lines.append(f"| {row['arm']} | {' | '.join(cell(row, name) for name in names)} |")
  lines += ["", f"| arm | {' | '.join(HEALTH)} | tokens sampled |", "|---" * (2 + len(HEALTH)) + "|"]
  for row, cost in zip(health(collection), costs(collection), strict=True):
    numbers = [number(value) for value in (*(row[name] for name in HEALTH), cost["tokens sampled"])]
    lines.append(f"| {row['arm']} | {' | '.join(numbers)} |")
  return "\n".join(lines) + "\n"


def main() -> None:
  """Writes the files."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  args = parser.parse_args()
  folders = sorted(path.parent for path in args.folder.glob("*/sweep.json"))
  if not folders:
    sys.exit(f"error: {args.folder} has no folders of sweeps in it; give the folder of launch/ablations.sh")
  args.out.mkdir(parents=True, exist_ok=True)
  for folder in folders:
    if not (folder / "curves.png").exists():
      print(f"left out: {folder}, which has not ended")
      continue
    collection = collect([folder])
    (args.out / f"{collection.name}.md").write_text(f"# {collection.name}\n\n{markdown(collection)}")
    picture = Image.open(folder / "curves.png").convert("RGB").quantize(64)  # a third of the bytes
    picture.save(args.out / f"{collection.name}.png", optimize=True)
    print(args.out / f"{collection.name}.md")


if __name__ == "__main__":
  main()

"""The page of sweeps and runs: `python -m grpo_jax.sweeps.report WORKDIR… [--out FOLDER]`.

WORKDIR is the folder of a sweep, of several (shards that did not share one, or sweeps to lay side by side), or of runs.
Writes report.html, table.csv, runs.csv, health.csv, costs.csv and curves.png into FOLDER, by default the first WORKDIR.
"""

import argparse
import pathlib
import sys

from grpo_jax.quiet import quiet
from grpo_jax.reports.page import write_page


def main() -> None:
  """Reads the flags and writes the page."""
  quiet()
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("workdirs", nargs="+", type=pathlib.Path, metavar="WORKDIR")
  parser.add_argument("--out", type=pathlib.Path, help="folder of the page; default the first WORKDIR")
  arguments = parser.parse_args()
  try:
    print("report:", write_page(arguments.workdirs, arguments.out or arguments.workdirs[0]))
  except ValueError as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  main()

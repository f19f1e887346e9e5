"""The charts of a page as one PNG, for where no browser is."""

import pathlib

from grpo_jax.reports.curves import COLOURS, Chart

COLUMNS, LEGEND = 2, 12  # arms up to which the legend stands in the first chart


def write_png(path: pathlib.Path, charts: list[Chart], title: str) -> None:
  """Draws the charts two beside each other."""
  from matplotlib.figure import Figure  # without pyplot, which keeps figures and looks for a screen

  rows = -(-len(charts) // COLUMNS)
  figure = Figure(figsize=(12, 3.2 * rows))
  axes = figure.subplots(rows, COLUMNS, squeeze=False)
  for axis, chart in zip(axes.flat, charts, strict=False):
    for index, one in enumerate(chart.lines):
      x, y, low, high = zip(*one.points, strict=True) if one.points else ([], [], [], [])
      colour = COLOURS[index % len(COLOURS)]
      axis.plot(x, y, linewidth=1.4, color=colour, marker="o" if len(x) <= 30 else None, markersize=3, label=one.arm)
      if any(v is not None for v in low):
        band = [(a, b, c) for a, b, c in zip(x, low, high, strict=True) if b is not None]
        axis.fill_between(*zip(*band, strict=True), color=colour, alpha=0.15, linewidth=0)
    axis.set_title(chart.title, fontsize=10)
    axis.set_xlabel(chart.x_label, fontsize=8)
    axis.grid(alpha=0.3)
  for axis in axes.flat[len(charts):]:
    axis.axis("off")
  if 1 < len(charts[0].lines) <= LEGEND:
    axes.flat[0].legend(fontsize=7)
  figure.suptitle(title)
  figure.subplots_adjust(left=0.06, right=0.98, top=1 - 0.2 / rows, bottom=0.18 / rows, hspace=0.45, wspace=0.15)
  figure.savefig(path, dpi=80, metadata={"Software": None})

"""The charts of a page as one PNG, for where no browser is."""

import pathlib

from grpo_jax.reports.curves import Chart

COLUMNS, LEGEND = 2, 12  # arms up to which the legend stands in the first chart


def write_png(path: pathlib.Path, charts: list[Chart], title: str) -> None:
  """Draws the charts two beside each other."""
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  rows = -(-len(charts) // COLUMNS)
  figure, axes = plt.subplots(rows, COLUMNS, figsize=(12, 3.2 * rows), squeeze=False)
  for axis, chart in zip(axes.flat, charts, strict=False):
    for one in chart.lines:
      x, y, low, high = zip(*one.points, strict=True) if one.points else ([], [], [], [])
      drawn = axis.plot(x, y, linewidth=1.4, marker="o" if len(x) <= 30 else None, markersize=3, label=one.arm)
      if any(v is not None for v in low):
        band = [(a, b, c) for a, b, c in zip(x, low, high, strict=True) if b is not None]
        axis.fill_between(*zip(*band, strict=True), color=drawn[0].get_color(), alpha=0.15, linewidth=0)
    axis.set_title(chart.title, fontsize=10)
    axis.set_xlabel(chart.x_label, fontsize=8)
    axis.grid(alpha=0.3)
  for axis in axes.flat[len(charts):]:
    axis.axis("off")
  if 1 < len(charts[0].lines) <= LEGEND:
    axes.flat[0].legend(fontsize=7)
  figure.suptitle(title)
  figure.tight_layout()
  figure.savefig(path, dpi=80, metadata={"Software": None})
  plt.close(figure)

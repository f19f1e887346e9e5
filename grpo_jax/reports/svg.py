"""A chart as inline SVG: axes, bands, lines; colours and dashes are classes of the page's style sheet."""

import math
from html import escape

from grpo_jax.reports.curves import Chart, Line

WIDTH, HEIGHT = 560, 300  # units of the view box
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 40
DASHES = ("none", "7 3", "2 3", "9 3 2 3")  # of arms beyond the colours, so that no two look alike up to 32
FEW = 30  # points up to which each is marked, with its value under the pointer


def ticks(low: float, high: float, count: int = 5, least: float = 0.0) -> list[float]:
  """Round numbers from `low` to `high`, about `count` of them, at least `least` apart."""
  raw = max((high - low) / count, least)
  power = 10.0 ** math.floor(math.log10(raw))
  step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
  first = math.ceil(low / step - 1e-9)
  return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
  """A number for an axis: 1200000 as 1.2M."""
  for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
    if abs(value) >= size:
      return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
  return f"{value:.4g}"


def bounds(chart: Chart) -> tuple[float, float, float, float]:
  """(least x, most x, least y, most y) with a margin, never empty."""
  points = [p for one in chart.lines for p in one.points]
  xs = [p.x for p in points]
  ys = [p.y for p in points]
  spread = max(ys) - min(ys)  # a band of two seeds may be wide: it is cut at twice the spread of the means
  for p in points:
    if p.low is not None:
      ys += [max(p.low, min(ys) - spread), min(p.high, max(ys) + spread)] if spread else [p.low, p.high]
  low, high = min(ys), max(ys)
  margin = (high - low) * 0.05 or max(abs(high) * 0.1, 0.1)
  return min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, low - margin, high + margin


def svg(chart: Chart) -> str:
  """The chart; a line's class is `a` and the arm's index."""
  x0, x1, y0, y1 = bounds(chart)
  across = lambda x: LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)  # noqa: E731
  down = lambda y: HEIGHT - BOTTOM - (min(max(y, y0), y1) - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)  # noqa: E731
  parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">']
  for value in ticks(y0, y1):
    y = down(value)
    parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
                 f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>')
  for value in ticks(x0, x1, 6, least=1):
    parts.append(f'<text x="{across(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(value)}</text>')
  parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
               f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{chart.x_label}</text>')
  parts += [_line(one, index, across, down) for index, one in enumerate(chart.lines) if one.points]
  return "".join([*parts, "</svg>"])


def _line(one: Line, index: int, across, down) -> str:
  at = [f"{across(p.x):.1f} {down(p.y):.1f}" for p in one.points]
  parts = [f'<g class="arm a{index}" data-arm="{index}"><title>{escape(one.arm)}</title>']
  banded = [p for p in one.points if p.low is not None]
  if banded:
    there = [f"{across(p.x):.1f} {down(p.high):.1f}" for p in banded]
    back = [f"{across(p.x):.1f} {down(p.low):.1f}" for p in reversed(banded)]
    parts.append(f'<path class="band" d="M{"L".join(there + back)}Z"/>')
  parts.append(f'<path class="line" d="M{"L".join(at)}"/>')
  if len(one.points) <= FEW:
    for p, place in zip(one.points, at, strict=True):
      x, y = place.split()
      interval = f" [{p.low:.3g}, {p.high:.3g}]" if p.low is not None else ""
      parts.append(f'<circle cx="{x}" cy="{y}" r="3"><title>{escape(one.arm)} at {short(p.x)}: {p.y:.4g}{interval}'
                   "</title></circle>")
  return "".join([*parts, "</g>"])

"""Curves and bars as PNG files, drawn with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = ((31, 119, 180), (214, 93, 14), (44, 140, 70), (140, 60, 150), (90, 90, 90))
PALE = (225, 225, 225)
LEGEND = 150  # pixels of a curve's name
FEW = 8  # values across that are all named


@dataclass(frozen=True)
class Chart:
    """Curves: points (x, y) by name, x and y positive, both axes logarithmic."""

    title: str
    across: str
    up: str
    curves: Mapping[str, Sequence[tuple[float, float]]]


def curves(charts: Sequence[Chart], path: Path, *, width: int = 480, height: int = 340) -> None:
    """The charts two in a row, as one PNG."""
    rows = -(-len(charts) // 2)
    image = Image.new("RGB", (width * min(len(charts), 2), height * rows), "white")
    for number, chart in enumerate(charts):
        part = Image.new("RGB", (width, height), "white")
        _curve(chart, part)
        image.paste(part, (width * (number % 2), height * (number // 2)))
    image.save(path)


def _curve(chart: Chart, image: Image.Image) -> None:
    pen, left, top, bottom, right = ImageDraw.Draw(image), 60, 40, image.height - 50, image.width - 20
    points = [point for curve in chart.curves.values() for point in curve]
    spans = [_span([point[0] for point in points]), _between_ticks([point[1] for point in points])]

    def place(x: float, y: float) -> tuple[float, float]:
        share = [math.log(v / low) / math.log(high / low) for v, (low, high) in zip((x, y), spans, strict=True)]
        return left + (right - left) * share[0], bottom - (bottom - top) * share[1]

    for x in _marks([point[0] for point in points], *spans[0]):
        across = place(x, spans[1][0])[0]
        pen.line([(across, top), (across, bottom)], fill=PALE)
        pen.text((across - 12, bottom + 6), _short(x), fill="black")
    for y in _ticks(*spans[1]):
        up = place(spans[0][0], y)[1]
        pen.line([(left, up), (right, up)], fill=PALE)
        pen.text((8, up - 6), _short(y), fill="black")
    pen.text((left, 8), f"{chart.title}: {chart.up}", fill="black")
    pen.text((left, image.height - 22), chart.across, fill="black")
    depth = 14 * len(chart.curves)
    covered = any(x < left + LEGEND and y < top + depth for x, y in (place(*point) for point in points))
    legend = bottom - depth - 4 if covered else top + 4
    for number, (name, curve) in enumerate(chart.curves.items()):
        colour, line = COLOURS[number % len(COLOURS)], [place(*point) for point in curve]
        pen.line(line, fill=colour, width=2)
        for x, y in line:
            pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        pen.text((left + 8, legend + 14 * number), name, fill=colour)


def bars(groups: Mapping[str, Mapping[str, float]], path: Path, *, unit: str, width: int = 760) -> None:
    """Positive numbers by group and name, on one logarithmic scale."""
    line, left = 18, 330
    count = sum(len(group) + 1 for group in groups.values())
    image = Image.new("RGB", (width, 50 + line * count), "white")
    pen = ImageDraw.Draw(image)
    values = [v for group in groups.values() for v in group.values()]
    low, high = _span(values) if values else (1.0, 10.0)
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    y = 10
    for title, group in groups.items():
        pen.text((10, y), title, fill="black")
        y += line
        for name, value in group.items():
            length = (width - left - 90) * math.log(value / low) / math.log(high / low)
            colour = COLOURS[names.index(name) % len(COLOURS)]
            pen.text((30, y), name, fill=colour)
            pen.rectangle([left, y + 1, left + length, y + line - 5], fill=colour)
            pen.text((left + length + 6, y), f"{_short(value)} {unit}", fill="black")
            y += line
    image.save(path)


def _marks(values: Sequence[float], low: float, high: float) -> list[float]:
    """The values themselves where they are few."""
    chosen = sorted(set(values))
    return chosen if len(chosen) <= FEW else _ticks(low, high)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """A little below the least, a little above the most."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.08, 1.15)
    return low / room, high * room


def _between_ticks(values: Sequence[float]) -> tuple[float, float]:
    """From the last tick below all to the first above: a flat curve has a scale too."""
    low, high = min(values), max(values)
    return max(_ticks(low / 10, low)), min(_ticks(high, high * 10))


def _ticks(low: float, high: float) -> list[float]:
    found = [
        m * 10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)
    ]
    return [v for v in found if low <= v <= high]


def _short(value: float) -> str:
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"

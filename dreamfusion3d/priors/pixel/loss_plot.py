"""Plot of a training log: losses over the number of images seen."""

from __future__ import annotations

import json
import math
from pathlib import Path

from PIL import Image, ImageDraw

from dreamfusion3d.core.files import atomic_write

PLOT_SIZE = (860, 480)
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 40, 20, 50
_SERIES = {"loss": (31, 119, 180), "scene": (44, 140, 70), "validation": (214, 93, 14)}


def read_training_log(path: Path) -> list[dict[str, int | float]]:
    """Read the complete lines of a log.jsonl."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # a killed run may leave a partial line
        if isinstance(row, dict) and all(math.isfinite(v) for v in row.values()):
            lines.append(row)
    return lines


def plot_training_log(log_path: Path, out: Path) -> None:
    """Plot the training and validation losses on a logarithmic axis as a PNG; an empty log gives no plot."""
    rows = read_training_log(log_path)
    series = {name: [(float(r["pictures"]), float(r[name])) for r in rows if r.get(name, 0) > 0] for name in _SERIES}
    points = [p for line in series.values() for p in line]
    if not points:
        return
    image = Image.new("RGB", PLOT_SIZE, "white")
    draw = ImageDraw.Draw(image)
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in ([p[0] for p in points], [math.log10(p[1]) for p in points]))

    def to_pixels(num_images: float, loss: float) -> tuple[float, float]:
        x = (num_images - x0) / max(x1 - x0, 1e-9)
        y = (math.log10(loss) - y0) / max(y1 - y0, 1e-9)
        width, height = PLOT_SIZE[0] - _LEFT - _RIGHT, PLOT_SIZE[1] - _TOP - _BOTTOM
        return _LEFT + x * width, PLOT_SIZE[1] - _BOTTOM - y * height

    for k in range(5):
        loss, num_images = 10 ** (y0 + (y1 - y0) * k / 4), x0 + (x1 - x0) * k / 4
        _, y = to_pixels(x0, loss)
        x, _ = to_pixels(num_images, 10**y0)
        draw.line([(_LEFT, y), (PLOT_SIZE[0] - _RIGHT, y)], fill=(225, 225, 225))
        draw.text((8, y - 6), f"{loss:.4f}", fill="black")
        draw.text((x - 24, PLOT_SIZE[1] - _BOTTOM + 8), f"{num_images:,.0f}", fill="black")
    draw.text((PLOT_SIZE[0] // 2 - 40, PLOT_SIZE[1] - 20), "images seen", fill="black")
    for k, (name, line) in enumerate(series.items()):
        if line:
            draw.line([to_pixels(*p) for p in line], fill=_SERIES[name], width=2)
            draw.text((_LEFT + 10 + 120 * k, 12), name, fill=_SERIES[name])
    with atomic_write(out) as temporary:
        image.save(temporary, format="PNG")

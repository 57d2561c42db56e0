"""Draw docs/images/architecture.png from the imports of the code.

    pip install -c constraints.txt '.[docs]' && python docs/make_architecture.py

One row per floor, one box per package with the first sentence of its docstring. An arrow is an import; imports that
a chain of other arrows implies are left out.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))  # no torch is needed here

from structure import FLOORS, NAMES, package_graph, package_of  # noqa: E402

WIDTH, ROW, BOX_HEIGHT = 15.0, 1.75, 1.05
COLORS = ("#dfe7ee", "#d5e8e0", "#e3ecd0", "#f2ebce", "#f5e0cc", "#f3d6d3", "#e4dbef")
LEFT = 0.55  # of the boxes; the floors' numbers stand before it


def summary(package: str) -> str:
    """The first sentence of the package's docstring."""
    docstring = ast.get_docstring(ast.parse(NAMES[package].read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ").replace("`", "")


def box_positions() -> dict[str, tuple[float, float, float]]:
    """Center x, center y and width of every package's box."""
    positions = {}
    for row, names in enumerate(FLOORS):
        pitch = (WIDTH - LEFT) / len(names)
        width = min(pitch - 0.3, 5.2)
        for i, name in enumerate(names):
            positions[name] = (LEFT + pitch * (i + 0.5), row * ROW, width)
    return positions


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All packages that `start` imports directly or through others."""
    found: set[str] = set()
    pending = list(graph[start])
    while pending:
        if (name := pending.pop()) not in found:
            found.add(name)
            pending += graph[name]
    return found


def essential_edges(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """The transitive reduction: imports that are not implied by a chain of others."""
    return {
        (a, b)
        for a, others in graph.items()
        for b in others
        if not any(b in reachable(graph, other) for other in others - {b})
    }


def draw_edge(ax: Axes, positions: dict[str, tuple[float, float, float]], a: str, b: str) -> None:
    (xa, ya, wa), (xb, yb, wb) = positions[a], positions[b]
    curve = "arc3"
    if ya == yb and abs(xa - xb) < 1.5 * (WIDTH - LEFT) / len(FLOORS[round(ya / ROW)]):  # neighbors: from side to side
        side = 1 if xb > xa else -1
        start, end = (xa + side * wa / 2, ya), (xb - side * wb / 2, yb)
    elif ya == yb:  # over the boxes between them
        start, end = (xa, ya + BOX_HEIGHT / 2), (xb, yb + BOX_HEIGHT / 2)
        curve = f"arc3,rad={1.1 / (xa - xb):.3f}"
    else:
        start = (xa + 0.35 * wa * (xb - xa) / WIDTH, ya - BOX_HEIGHT / 2)
        end = (xb + 0.6 * wb * (xa - xb) / WIDTH, yb + BOX_HEIGHT / 2)
    arrow = FancyArrowPatch(
        start,
        end,
        connectionstyle=curve,
        arrowstyle="-|>",
        mutation_scale=10,
        shrinkA=0,
        shrinkB=0,
        color="#30475e",
        lw=1.3,
    )
    ax.add_patch(arrow)


def draw(path: Path) -> None:
    graph, positions = package_graph(), box_positions()
    figure, ax = plt.subplots(figsize=(WIDTH, len(FLOORS) * ROW), dpi=100)
    ax.set_xlim(0, WIDTH)
    ax.set_ylim(-0.75, (len(FLOORS) - 1) * ROW + 1.2)
    ax.axis("off")
    for a, b in sorted(essential_edges(graph)):
        draw_edge(ax, positions, a, b)
    for row, names in enumerate(FLOORS):
        ax.text(0.2, row * ROW, str(row + 1), fontsize=15, color="#8090a0", ha="center", va="center", weight="bold")
        for name in names:
            x, y, width = positions[name]
            corner = (x - width / 2, y - BOX_HEIGHT / 2)
            box = FancyBboxPatch(
                corner,
                width,
                BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.1",
                fc=COLORS[row],
                ec="#56697c",
                zorder=3,
            )
            ax.add_patch(box)
            count = sum(package_of(module) == name for module in NAMES)
            title = f"{name}/" if count > 1 else f"{name}.py"
            ax.text(x, y + 0.3, title, fontsize=13, weight="bold", ha="center", va="center", zorder=4)
            lines = textwrap.wrap(summary(name), int(width * 10.5))
            lines = lines[:3] if len(lines) <= 3 else [*lines[:2], lines[2] + " ..."]
            ax.text(x, y - 0.16, "\n".join(lines), fontsize=9, ha="center", va="center", zorder=4)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.1, metadata={"Software": None})


if __name__ == "__main__":
    draw(ROOT / "docs" / "images" / "architecture.png")

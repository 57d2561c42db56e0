"""Kitchen appliances."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, DARK, GLASS, PATTERNS, RED, STEEL, WHITE, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, where_present

TOAST = (0.8, 0.56, 0.3)


def toaster(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.52, 0.08), s.vary(1, 0.32, 0.1), s.vary(2, 0.27, 0.12)
    low = -0.12
    case = sdf.extrude(sdf.rectangle(x, y - low, hx, hy, 0.14), z, hz, 0.05)
    slot = sdf.box(x, y - low - hy, z.abs() - hz * 0.42, hx - 0.12, 0.12, 0.05, 0.01)
    base = sdf.box(x, y - low + hy, z, hx - 0.04, 0.07, hz - 0.02, 0.02)
    at = low + hy * s.vary(3, 0.3, 0.5)
    lever = sdf.union(
        sdf.box(x - hx - 0.02, y - at, z, 0.07, 0.03, 0.08), sdf.cylinder(y - low + hy * 0.5, x - hx, z, 0.06, 0.04)
    )
    toast = sdf.box(x, y - low - hy, z.abs() - hz * 0.42, hx - 0.18, s.vary(4, 0.2, 0.2), 0.035, 0.02)
    # the slices stand on the floor of their slots
    return [sdf.subtract(case, slot), sdf.union(base, lever), where_present(toast, s.option > 0)]


def fridge(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, split = s.vary(0, 0.31, 0.12), s.vary(1, 0.28, 0.12), s.vary(2, 0.24, 0.3)
    case = sdf.box(x, y, z, hx, 0.62, hz, 0.03)
    gap = torch.maximum((y - split).abs() - 0.012, hz - 0.06 - z)
    seam = torch.maximum((z - hz + 0.08).abs() - 0.01, hx - 0.03 - x.abs())
    bar = sdf.box(x - hx + 0.09, (y - split).abs() - 0.17, z - hz - 0.04, 0.025, s.vary(3, 0.11, 0.15), 0.025, 0.015)
    posts = sdf.box(x - hx + 0.09, ((y - split).abs() - 0.17), z - hz, 0.025, 0.03, 0.05, 0.01)
    feet = sdf.box(x.abs() - hx + 0.08, y + 0.62, z.abs() - hz + 0.08, 0.05, 0.03, 0.05, 0.01)
    return [sdf.subtract(case, torch.minimum(gap, seam)), sdf.union(bar, posts, feet)]


def stove(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.42, 0.1), s.vary(1, 0.47, 0.08), s.vary(2, 0.4, 0.1)
    low = -0.13
    top = low + hy
    case = sdf.box(x, y - low, z, hx, hy, hz, 0.02)
    splash = sdf.box(x, y - top - 0.08, z + hz - 0.045, hx, s.vary(3, 0.11, 0.2), 0.045, 0.015)
    burners = sdf.torus(x.abs() - hx * 0.48, y - top - 0.015, z.abs() - hz * 0.45, hx * 0.26, 0.028)
    plates = sdf.cylinder(x.abs() - hx * 0.48, y - top, z.abs() - hz * 0.45, hx * 0.12, 0.035, 0.01)
    nearest = (x / (hx * 0.4)).round().clamp(-2, 2) * hx * 0.4
    knobs = sdf.cylinder(x - nearest, z - hz, y - top + 0.09, 0.045, 0.05, 0.01)
    bar = sdf.capsule(x, y, z, (-hx * 0.7, top - 0.22, hz + 0.01), (hx * 0.7, top - 0.22, hz + 0.01), 0.032, 0.032)
    window = sdf.box(x, y - low + hy * 0.3, z - hz, hx * 0.7, hy * 0.36, 0.015, 0.008)
    return [sdf.union(case, splash), sdf.union(burners, plates, knobs, bar), window]


def microwave(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.57, 0.06), s.vary(1, 0.34, 0.1), s.vary(2, 0.33, 0.12)
    case = sdf.box(x, y, z, hx, hy, hz, 0.03)
    panel = hx * s.vary(3, 0.52, 0.1)  # where the controls begin
    window = sdf.box(x + (hx - panel) / 2 - 0.01, y, z - hz, (hx + panel) / 2 - 0.12, hy - 0.1, 0.014, 0.008)
    display = sdf.box(x - (hx + panel) / 2, y - hy * 0.6, z - hz, (hx - panel) / 2 - 0.04, hy * 0.16, 0.014, 0.008)
    row = (y / (hy * 0.35)).round().clamp(-1, 0) * hy * 0.35
    dial = sdf.cylinder(x - (hx + panel) / 2, z - hz, y - row + hy * 0.3, 0.07, 0.04, 0.01)
    bar = sdf.box(x - panel, y, z - hz - 0.03, 0.028, hy * 0.7, 0.05, 0.02)
    feet = sdf.box(x.abs() - hx + 0.1, y + hy, z.abs() - hz + 0.1, 0.06, 0.04, 0.06, 0.01)
    return [case, sdf.union(dial, bar, feet), sdf.union(window, display)]


def blender(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A motor base, a jug with a handle at +X, and a lid."""
    foot, rim, at = s.vary(0, 0.32, 0.1), s.vary(1, 0.27, 0.1), s.vary(2, -0.2, 0.25)
    base = sdf.lathe(x, y, z, [(foot, -0.6), (foot, -0.5), (foot * 0.72, at)])
    dial = sdf.cylinder(x, z - foot * 0.9, y + 0.42, 0.075, 0.06, 0.015)
    jug = sdf.lathe(x, y, z, [(foot * 0.58, at - 0.02), (rim, 0.44)])
    handle = sdf.extrude(sdf.rectangle(x - rim - 0.02, y - 0.18, 0.17, 0.17, 0.08).abs() - 0.038, z, 0.045, 0.02)
    cover = sdf.union(sdf.cylinder(x, y - 0.49, z, rim + 0.045, 0.055), sdf.cylinder(x, y - 0.56, z, 0.1, 0.07))
    return [sdf.union(base, cover), sdf.union(dial, handle), jug]


def percolator(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An eight-sided coffee maker for the stove, narrow at the waist, with its handle at +X."""
    foot, waist, rim = s.vary(0, 0.33, 0.1), s.vary(1, 0.22, 0.08), s.vary(2, 0.31, 0.1)
    octagon = torch.maximum(torch.maximum(x.abs(), z.abs()), (x.abs() + z.abs()) * 0.7071)
    body = sdf.lathe(
        octagon, y, 0 * z, [(foot, -0.6), (foot, -0.55), (waist, -0.12), (waist, -0.1), (rim, 0.34)], 0.012
    )
    belt = sdf.cylinder(x, y + 0.1, z, waist + 0.05, 0.045)
    beak = sdf.capsule(x, y, z, (-0.1, 0.16, 0.0), (-rim - 0.1, 0.32, 0.0), 0.1, 0.05)
    cover = sdf.lathe(octagon, y, 0 * z, [(rim, 0.34), (rim, 0.38), (0.06, s.vary(3, 0.5, 0.06))], 0.012)
    knob = sdf.cylinder(x, y - 0.53, z, 0.065, 0.1, 0.02)
    start, corner = (rim * 0.7, 0.24, 0.0), (rim + 0.22, 0.24, 0.0)
    handle = sdf.tube(x, y, z, (start, 0.05), (corner, 0.055), ((rim + 0.16, s.vary(4, -0.2, 0.3), 0.0), 0.05))
    return [sdf.union(body, belt, torch.maximum(beak, y - 0.36), cover), sdf.union(knob, handle)]


# fmt: off
CATEGORIES = (
    category("toaster", toaster, "", "lever knob base", STEEL, DARK, TOAST, option="toast", materials="metal striped",
        height=0.2, surfaces="steel plastic bread"),
    category("fridge", fridge, "refrigerator freezer", "handles handle", WHITE, STEEL, materials="metal striped",
        height=1.7, surfaces="paint steel"),
    category("stove", stove, "oven cooker", "burners burner knobs knob", CREAM, DARK, GLASS,
        materials="metal", height=0.9, surfaces="paint iron glass"),
    category("microwave", microwave, "", "knobs knob dial dials", WHITE, STEEL, DARK, materials="metal", height=0.3,
        surfaces="paint steel glass"),
    category("blender", blender, "liquidizer", "handle grip", RED, DARK, GLASS, genus=1, materials=PATTERNS, height=0.4,
        surfaces="paint plastic glass"),
    category("percolator", percolator, "coffeepot", "handle grip knob", STEEL, DARK, materials="metal", height=0.2,
        surfaces="steel plastic"),
)
# fmt: on

"""Further styles of houses, towers and lighthouses, and igloos."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import category
from dreamfusion3d.procedural.shapes.base import ShapeParams, where_present


def log_cabin(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Walls of logs that cross at the corners, and a porch below the roof."""
    hx, hz, r = s.vary(0, 0.4, 0.1), s.vary(1, 0.34, 0.1), 0.06
    low, rows = -0.58, 6
    eaves = low + rows * 2 * r
    v = y - low - r
    row = v - (v / (2 * r)).round().clamp(0, rows - 1) * 2 * r
    half = v - r
    crossing = half - (half / (2 * r)).round().clamp(0, rows - 2) * 2 * r
    ends = torch.where(v > (2 * rows - 3) * r, 0.045, 0.1)  # the top row stays clear of the roof
    front = torch.maximum(sdf.length(row, z.abs() - hz) - r - 0.006, x.abs() - hx - ends)
    side = torch.maximum(sdf.length(crossing, x.abs() - hx) - r - 0.006, z.abs() - hz - 0.1)
    core = sdf.box(x, y - (low + eaves) / 2, z, hx + 0.04, (eaves - low) / 2, hz + 0.04, 0.01)
    rise = s.vary(2, 0.34, 0.14)
    out = hx + 0.14
    # the gable fills the roof, from just inside the logs
    wide = hx + 0.045
    shoulder = eaves - 0.03 + (rise + 0.06) * (out - wide) / out
    corners: sdf.Profile = [
        (-wide, eaves - 0.1),
        (wide, eaves - 0.1),
        (wide, shoulder),
        (0.0, eaves + rise + 0.04),
        (-wide, shoulder),
    ]
    gable = sdf.extrude(sdf.polygon(x, y, corners), z, hz + 0.045)
    slope: sdf.Profile = [
        (-out, eaves - 0.06),
        (0.0, eaves + rise),
        (out, eaves - 0.06),
        (out, eaves + 0.02),
        (0.0, eaves + rise + 0.09),
        (-out, eaves + 0.02),
    ]
    roof = sdf.extrude(sdf.polygon(x, y, slope), z - 0.03, hz + 0.16)
    walls = sdf.union(front, side, core, gable)
    chimney = where_present(sdf.box(x - hx, y + 0.02, z + 0.08, 0.09, 0.58, 0.1, 0.01), s.option > 0)
    door = sdf.box(x + 0.12, y - low - 0.2, z - hz - r, 0.1, 0.2, 0.025, 0.006)
    panes = sdf.box(x - 0.18, y - low - 0.26, z - hz - r, 0.09, 0.085, 0.025, 0.006)
    sides = sdf.box(x.abs() - hx - r, y - low - 0.28, z - 0.1, 0.025, 0.085, 0.1, 0.006)
    return [sdf.union(walls, chimney), roof, sdf.union(door, panes, sides)]


def hut(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round hut with a thatched cone, and an optional smoke hole on a short stack."""
    r, eaves, top = s.vary(0, 0.38, 0.1), s.vary(1, -0.1, 0.4), s.vary(2, 0.52, 0.08)
    low = -0.54
    wall = sdf.cylinder(x, y - (eaves + low) / 2, z, r, (eaves - low) / 2 + 0.04, 0.01)
    rad = sdf.length(x, z)
    ridges = 0.012 * torch.cos(20 * torch.atan2(z, x)) * (rad / r).clamp(max=1)
    cone = sdf.polygon(
        rad, y, [(-1.0, eaves - 0.02), (r + 0.16, eaves - 0.08), (r + 0.18, eaves - 0.01), (0.08, top), (-1.0, top)]
    )
    skirt = sdf.polygon(rad, y, [(-1.0, top - 0.14), (0.16, top - 0.14), (0.06, top + 0.06), (-1.0, top + 0.06)])
    stack = where_present(sdf.cylinder(x - r * 0.55, y - eaves - 0.34, z, 0.065, 0.28, 0.01), s.option > 0)
    door = torch.maximum(sdf.extrude(sdf.arch(x, y, 0.1, -0.32), z - r * 0.9, r * 0.1 + 0.03), low - y)
    panes = sdf.extrude(sdf.length(y + 0.28, z - 0.05) - 0.075, x, r + 0.012, 0.006)
    posts = sdf.cylinder(x.abs() - 0.13, y - (eaves + low) / 2, z - r * 0.95, 0.035, (eaves - low) / 2 + 0.03)
    return [sdf.union(wall, stack), torch.minimum(cone - ridges, skirt) * 0.9, sdf.union(door, panes, posts)]


def townhouse(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A narrow house of three floors with a mansard roof."""
    hx, hz, floor = s.vary(0, 0.28, 0.1), s.vary(1, 0.28, 0.1), s.vary(2, 0.27, 0.08)
    low = -0.62
    eaves = low + 3 * floor
    walls = sdf.box(x, y - (low + eaves) / 2, z, hx, (eaves - low) / 2, hz, 0.008)
    square = torch.maximum(x.abs() - hx, z.abs() - hz)
    top = eaves + s.vary(3, 0.2, 0.12)
    roof = sdf.polygon(
        square, y, [(-1.0, eaves - 0.02), (0.05, eaves - 0.02), (0.05, eaves + 0.03), (-0.09, top), (-1.0, top)]
    )
    dormer = sdf.box(x, y - eaves - 0.08, z - hz + 0.02, 0.085, 0.09, 0.06, 0.008)
    trim = sdf.box(x, y - low - floor, z, hx + 0.02, 0.025, hz + 0.02, 0.006)
    chimney = where_present(sdf.box(x - hx * 0.55, y - top, z + 0.1, 0.065, 0.13, 0.065, 0.01), s.option > 0)
    door = sdf.box(x + hx * 0.5, y - low - 0.1, z - hz, 0.07, 0.11, 0.022, 0.006)
    shop = sdf.box(x - hx * 0.35, y - low - 0.13, z - hz, hx * 0.42, 0.07, 0.022, 0.006)
    level = y - low - floor * 1.5
    v = level - (level / floor).round().clamp(0, 1) * floor
    front = sdf.box(x.abs() - hx * 0.5, v, z - hz, 0.065, 0.085, 0.02, 0.006)
    sides = sdf.box(x.abs() - hx, v, z.abs() - hz * 0.45, 0.02, 0.085, 0.06, 0.006)
    light = sdf.box(x, y - eaves - 0.08, z - hz - 0.04, 0.05, 0.055, 0.015, 0.005)
    return [sdf.union(walls, chimney), sdf.union(roof, dormer, trim), sdf.union(door, shop, front, sides, light)]


def clock_tower(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A square tower with a clock on each side below its belfry, and an optional spire."""
    wide, top = s.vary(0, 0.18, 0.12), s.vary(1, 0.14, 0.3)
    square = torch.maximum(x.abs(), z.abs())
    shaft = sdf.box(x, y - (top - 0.62) / 2, z, wide, (top + 0.62) / 2, wide, 0.008)
    foot = sdf.box(x, y + 0.57, z, wide + 0.06, 0.06, wide + 0.06, 0.01)
    stage = sdf.box(x, y - top - 0.02, z, wide + 0.045, 0.15, wide + 0.045, 0.01)
    ledges = sdf.union(
        *(sdf.box(x, y - top - 0.02 - k, z, wide + 0.07, 0.022, wide + 0.07, 0.006) for k in (-0.15, 0.15))
    )
    roof = sdf.polygon(square, y, [(-1.0, top + 0.15), (wide + 0.03, top + 0.15), (0.0, top + 0.44)])
    flat, near = torch.maximum(x.abs(), z.abs()), torch.minimum(x.abs(), z.abs())
    clock = sdf.extrude(sdf.length(near, y - top - 0.02) - s.vary(2, 0.115, 0.1), flat - wide - 0.045, 0.016, 0.005)
    hands = sdf.union(
        sdf.box(near, y - top - 0.045, flat - wide - 0.055, 0.018, 0.05, 0.022, 0.004),
        sdf.box(near - 0.02, y - top - 0.02, flat - wide - 0.055, 0.04, 0.018, 0.022, 0.004),
    )
    door = torch.maximum(sdf.extrude(sdf.arch(x, y, 0.075, -0.44), z - wide - 0.03, 0.045, 0.006), -0.62 - y)
    v = y + 0.14 - ((y + 0.14) / 0.2).round().clamp(-1, 0) * 0.2
    slits = sdf.box(near, v, flat - wide, 0.03, 0.055, 0.016, 0.005)
    caps = sdf.union(ledges, hands, where_present(roof, s.option > 0))
    return [sdf.union(shaft, foot, stage), caps, sdf.union(clock, door, slits)]


def watchtower(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A lookout on four raking legs, and an optional roof."""
    low, high, deck = s.vary(0, 0.3, 0.1), s.vary(1, 0.19, 0.1), s.vary(2, 0.06, 0.6)
    leg = sdf.capsule(x.abs(), y, z.abs(), (low, -0.64, low), (high, deck, high), 0.05, 0.045)
    leg = torch.maximum(leg, -0.62 - y)
    floor = sdf.box(x, y - deck, z, high + 0.1, 0.035, high + 0.1, 0.01)
    cabin = sdf.box(x, y - deck - 0.14, z, high + 0.04, 0.15, high + 0.04, 0.008)
    square = torch.maximum(x.abs(), z.abs())
    top = deck + 0.29
    rim = sdf.box(x, y - top, z, high + 0.09, 0.045, high + 0.09, 0.01)
    roof = sdf.polygon(square, y, [(-1.0, top), (high + 0.13, top), (0.0, top + 0.24)])
    lean = (low - high) / (deck + 0.64)
    steps_up = (
        sdf.box(x, y - (deck - 0.62) / 2, z - high - 0.05 - lean * (deck - y), 0.085, (deck + 0.62) / 2, 0.03, 0.008)
        * 0.9
    )
    rung = (y / 0.1 - (y / 0.1).round()).abs() * 0.1 - 0.022
    rungs = torch.maximum(torch.maximum(steps_up - 0.02, rung), x.abs() - 0.06)
    far, near = torch.maximum(x.abs(), z.abs()), torch.minimum(x.abs(), z.abs())
    slit = sdf.box(near, y - deck - 0.17, far - high - 0.04, high * 0.62, 0.055, 0.014, 0.005)
    return [
        sdf.union(leg, floor, cabin, steps_up),
        sdf.union(rim, where_present(roof, s.option > 0)),
        sdf.union(slit, rungs),
    ]


def octagonal_lighthouse(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An eight-sided lighthouse beside its keeper's house."""
    low, high, top = s.vary(0, 0.2, 0.1), s.vary(1, 0.12, 0.12), 0.26
    u, w = x + 0.16, z
    out, _ = sdf.sector(u, w, 8)
    shaft = sdf.polygon(out, y, [(-1.0, -0.6), (low, -0.6), (high, top), (-1.0, top)])
    base = sdf.box(x - 0.04, y + 0.6, z, 0.52, 0.04, 0.3, 0.015)
    gallery = sdf.extrude(out - high - 0.07, y - top, 0.035)
    lantern = sdf.extrude(out - high * 0.78, y - top - 0.12, 0.12)
    roof = sdf.polygon(out, y, [(-1.0, top + 0.22), (high + 0.03, top + 0.22), (0.0, s.vary(2, 0.62, 0.03))])
    half, tall = s.vary(3, 0.17, 0.1), 0.13
    house = sdf.box(x - 0.24, y + 0.6 - tall, z, 0.24, tall, half, 0.008)
    eaves = 2 * tall - 0.6
    gable = sdf.extrude(
        sdf.polygon(z, y, [(-half - 0.05, eaves - 0.02), (half + 0.05, eaves - 0.02), (0.0, eaves + 0.17)]),
        x - 0.26,
        0.26,
    )
    panes = sdf.box(x - 0.32, y + 0.46, z.abs() - half, 0.05, 0.055, 0.018, 0.005)
    slits = sdf.box(u, y + 0.06, w.abs() - (low + high) / 2, 0.035, 0.055, 0.02, 0.005)
    return [sdf.union(shaft, base, house), sdf.union(gallery, roof, gable), sdf.union(lantern, panes, slits)]


def igloo(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A dome of snow blocks with an entrance tunnel."""
    r, wide, reach = s.vary(0, 0.5, 0.1), s.vary(1, 0.17, 0.12), s.vary(2, 0.5, 0.08)
    low = -0.3
    v, w = y - low, z + 0.12
    dome = torch.maximum(sdf.sphere(x, v, w, r), -v)
    # grooves between the blocks: courses, and joints that alternate
    height = torch.asin((v / r).clamp(0, 1)) / (torch.pi / 2) * 5
    course = height.floor()
    joint = torch.atan2(w, x) / (2 * torch.pi) * (16 - 2 * course) + 0.5 * (course - 2 * (course / 2).floor())
    level = (height - height.round()).abs() * r * 0.3
    upright = (joint - joint.round()).abs() * 2 * torch.pi * sdf.length(x, w) / (16 - 2 * course).clamp(min=4)
    groove = torch.maximum(torch.minimum(level, upright) - 0.012, r - 0.02 - sdf.length(x, v, w))
    outline = torch.maximum(sdf.arch(x, v, wide + 0.09, 0.1), -v)
    tunnel = sdf.extrude(outline, z - reach / 2, reach / 2 + 0.05)
    mouth = torch.maximum(sdf.arch(x, v, wide, 0.1), -0.05 - v)
    hollow = sdf.extrude(mouth, z - reach, 0.12)
    rim = sdf.extrude(torch.maximum(torch.maximum(outline - 0.03, -mouth), -v), z - reach - 0.02, 0.06)
    floor = sdf.extrude(torch.maximum(mouth, -v), z - reach + 0.08, 0.03)
    snow = sdf.subtract(sdf.union(torch.maximum(dome, -groove * 0.8), tunnel), hollow)
    return [snow, rim, floor]


# fmt: off
CATEGORIES = (
    category("igloo", igloo, "", "entrance doorway", (0.93, 0.95, 0.98), (0.8, 0.88, 0.95), (0.16, 0.2, 0.28),
        relaxation=0.6, height=1.8, surfaces="snow snow snow"),
)
# fmt: on

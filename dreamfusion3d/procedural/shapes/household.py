"""Household objects."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import (
    CLAY,
    CREAM,
    GLASS,
    GOLD,
    LEAF,
    PATTERNS,
    RED,
    STEEL,
    WOOD_COLOR,
    WOODEN,
    category,
)
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, rotate_2d, styled, where_present


def wall_mirror(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An oval glass in a carved frame."""
    rx, ry, wide = s.vary(0, 0.36, 0.12), s.vary(1, 0.5, 0.06), s.vary(2, 0.08, 0.2)
    oval = sdf.ellipse(x, y, rx, ry)
    frame = sdf.length(oval, z) - wide
    pearls = 0.012 * torch.cos(24 * torch.atan2(y / ry, x / rx))
    crest = sdf.union(sdf.sphere(x, y - ry, z, 0.11), sdf.sphere(x.abs() - 0.13, y - ry, z, 0.075))
    return [
        sdf.union(torch.maximum(frame - pearls, z.abs() - 0.06), torch.maximum(crest, z.abs() - 0.06)),
        sdf.extrude(oval, z, 0.035),
    ]


def standing_mirror(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A tilted glass between two posts."""
    hx, hy = s.vary(0, 0.22, 0.15), s.vary(1, 0.48, 0.05)
    zt, yt = rotate_2d(z, y - 0.1, 8.0)
    outer = sdf.box(x, yt, zt, hx, hy, 0.04, 0.012)
    frame = sdf.subtract(outer, sdf.box(x, yt, zt - 0.06, hx - 0.05, hy - 0.05, 0.04, 0.006))
    pane = sdf.box(x, yt, zt + 0.005, hx - 0.03, hy - 0.03, 0.03, 0.004)
    posts = sdf.box(x.abs() - hx - 0.1, y + 0.2, z, 0.035, 0.38, 0.035, 0.01)
    pivots = sdf.cylinder(y - 0.1, x, z, 0.035, hx + 0.13)
    tips = sdf.sphere(x.abs() - hx - 0.1, y - 0.2, z, 0.055)
    feet = sdf.capsule(x.abs() - hx - 0.1, y, z.abs(), (0.0, -0.48, 0.0), (0.0, -0.58, 0.24), 0.045, 0.04)
    bar = sdf.box(x, y + 0.5, z, hx + 0.1, 0.035, 0.03, 0.01)
    return [sdf.union(frame, posts, pivots, tips, feet, bar), pane]


def hand_mirror(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, ry = s.vary(0, 0.3, 0.1), s.vary(1, 0.32, 0.1)
    oval = sdf.ellipse(x, y - 0.27, r, ry)
    grip = sdf.lathe(x, y, z, [(0.07, -0.62), (0.055, -0.5), (0.045, -0.25), (0.06, 0.0)], 0.015)
    frame = sdf.union(sdf.extrude(oval, z, 0.05, 0.02), grip, sdf.sphere(x, y + 0.56, z, s.vary(2, 0.075, 0.12)))
    recess = sdf.extrude(oval + 0.06, z - 0.06, 0.03, 0.004)
    return [sdf.subtract(frame, recess), sdf.extrude(oval + 0.05, z, 0.035, 0.004)]


def _dial(x: Tensor, y: Tensor, z: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """A clock's face in the plane z = 0, and its hands and hour marks."""
    face = sdf.extrude(sdf.length(x, y) - radius, z, 0.035, 0.008)
    xa, ya = rotate_2d(x, y, -50.0)
    xb, yb = rotate_2d(x, y, 60.0)
    hands = sdf.union(
        sdf.box(xa, ya - radius * 0.36, z - 0.035, 0.016, radius * 0.38, 0.02, 0.006),
        sdf.box(xb, yb - radius * 0.24, z - 0.035, 0.02, radius * 0.26, 0.02, 0.006),
        sdf.cylinder(x, z - 0.035, y, 0.035, 0.025, 0.006),
    )
    angle = torch.atan2(y, x)
    step = math.pi / 6
    turned = angle - (angle / step).round() * step
    r = sdf.length(x, y)
    marks = sdf.box(
        r * torch.cos(turned) - radius * 0.85, r * torch.sin(turned), z - 0.03, radius * 0.09, 0.014, 0.018, 0.005
    )
    return face, sdf.union(hands, marks)


def grandfather_clock(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz = s.vary(0, 0.17, 0.12), s.vary(1, 0.13, 0.12)
    base = sdf.box(x, y + 0.5, z, hx + 0.02, 0.14, hz + 0.02, 0.01)
    waist = sdf.box(x, y + 0.1, z, hx - 0.03, 0.32, hz - 0.02, 0.01)
    window = sdf.box(x, y + 0.1, z - hz, hx - 0.08, 0.26, 0.06, 0.01)
    head = sdf.box(x, y - 0.29, z, hx + 0.02, 0.17, hz + 0.02, 0.01)
    arch = torch.maximum(sdf.cylinder(x, z, y - 0.4, hx + 0.02, hz + 0.02), 0.4 - y)
    trims = sdf.union(*(sdf.box(x, y - at, z, hx + 0.045, 0.028, hz + 0.045, 0.01) for at in (0.12, -0.36, -0.61)))
    face, hands = _dial(x, y - 0.33, z - hz, hx - 0.015)
    swing = s.vary(2, 0.02, 0.8)
    bob = sdf.cylinder(x - swing, z - hz + 0.04, y + 0.24, 0.06, 0.03, 0.01)
    rod = sdf.capsule(
        x, y, z, (0.0 * swing, 0.14 + 0.0 * swing, hz - 0.055), (swing, -0.24 + 0.0 * swing, hz - 0.055), 0.02, 0.02
    )
    knob = sdf.sphere(x, y - 0.4 - hx - 0.02, z, 0.04)
    wood = sdf.union(base, sdf.subtract(waist, window), head, arch, trims)
    return [wood, face, sdf.union(hands, bob, rod, knob)]


def wall_clock(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, wide, deep = s.vary(0, 0.52, 0.1), s.vary(1, 0.07, 0.2), s.vary(2, 0.09, 0.2)
    rim = sdf.extrude((sdf.length(x, y) - radius).abs() - wide * 0.8, z, deep, 0.02)
    face, hands = _dial(x, y, z, radius - 0.02)
    return [rim, face, hands]


def alarm_clock(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Round, with two bells and a hammer on top."""
    radius, deep = s.vary(0, 0.39, 0.1), s.vary(1, 0.15, 0.2)
    at = -0.1
    body = sdf.extrude(sdf.length(x, y - at) - radius, z, deep, 0.03)
    rim = sdf.extrude((sdf.length(x, y - at) - radius + 0.02).abs() - 0.035, z - deep, 0.035, 0.015)
    face, hands = _dial(x, y - at, z - deep, radius - 0.04)
    xb, yb = rotate_2d(x.abs(), y - at, -38.0)
    stem = sdf.cylinder(xb, yb - radius - 0.03, z, 0.035, 0.08)
    size = s.vary(2, 0.16, 0.12)
    bell = torch.maximum(sdf.ellipsoid(xb, yb - radius, z, size, size, size), radius - 0.03 - yb)
    hammer = sdf.union(
        sdf.box(x, y - at - radius - 0.06, z, 0.025, 0.1, 0.025, 0.008),
        sdf.box(x, y - at - radius - 0.16, z, 0.06, 0.035, 0.035, 0.01),
    )
    feet = sdf.capsule(
        x.abs(), y - at, z, (radius * 0.55, -radius * 0.75, 0.0), (radius * 0.75, -radius * 1.16, 0.0), 0.045, 0.045
    )
    return [sdf.union(body, rim, feet), face, sdf.union(hands, stem, bell, hammer)]


def carpet_roll(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A rolled rug whose end shows the spiral, with its loose edge in front."""
    hx, r = s.vary(0, 0.57, 0.08), s.vary(1, 0.2, 0.15)
    radial, angle = sdf.length(y, z), torch.atan2(y, z)
    turn = r * 0.34
    winding = torch.remainder(radial + turn * angle / (2 * math.pi), turn) - turn / 2
    spiral = torch.maximum(winding.abs() - 0.012, hx - 0.03 - x.abs())
    roll = torch.maximum(sdf.cylinder(y, x, z, r, hx, 0.012), -torch.maximum(spiral, radial - r + 0.03))
    reach = s.vary(2, 0.12, 0.3)
    edge = sdf.box(x, y + r - 0.026, z - r / 2 - reach, hx, 0.026, r / 2 + reach, 0.01)
    ties = torch.maximum(sdf.cylinder(y, x, z, r + 0.018, hx), (x.abs() - hx * 0.5).abs() - s.vary(3, 0.035, 0.2))
    ends = torch.maximum(sdf.union(roll, edge) - 0.008, hx * 0.9 - x.abs())
    return [sdf.union(roll, edge), ties, torch.maximum(ends, x.abs() - hx * 0.95)]


def frame(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A framed landscape: hills in relief."""
    hx, hy, wide = s.vary(0, 0.52, 0.12), s.vary(1, 0.46, 0.15), s.vary(2, 0.075, 0.2)
    outer = sdf.box(x, y, z, hx, hy, 0.07, 0.012)
    ring = torch.minimum(hx - x.abs(), hy - y.abs())
    bevel = torch.maximum(outer, (z - 0.07 + 0.35 * (ring - wide * 0.4).abs()) * 0.9)
    moulding = sdf.subtract(bevel, sdf.box(x, y, z - 0.1, hx - wide, hy - wide, 0.11, 0.006))
    canvas = sdf.box(x, y, z + 0.02, hx - wide + 0.02, hy - wide + 0.02, 0.035, 0.004)
    ridge = -0.05 + 0.12 * torch.sin(5 * x + 2 * s.variation[..., 3]) + 0.05 * torch.sin(11 * x)
    hills = torch.maximum(sdf.box(x, y, z + 0.01, hx - wide + 0.01, hy - wide + 0.01, 0.037, 0.004), (y - ridge) * 0.7)
    return [moulding, canvas, hills]


def open_umbrella(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Eight scalloped gores."""
    radius, rise = s.vary(0, 0.62, 0.04), s.vary(1, 0.3, 0.14)
    r, angle = sdf.length(x, z), torch.atan2(z, x)
    gore = torch.cos(8 * angle)  # 1 on the ribs
    low = 0.22 + 0.02 * gore
    dome = sdf.ellipsoid(x, y - low, z, radius, rise, radius)
    inner = sdf.ellipsoid(x, y - low, z, radius - 0.055, rise - 0.055, radius - 0.055)
    canopy = torch.maximum(torch.maximum(dome, -inner), 0.25 + 0.05 * (1 - gore) * (r / radius).clamp(0, 1) - y)
    stick = sdf.capsule(x, y, z, (0.0, -0.5, 0.0), (0.0, 0.24 + rise, 0.0), 0.032, 0.032)
    tip = sdf.capsule(x, y, z, (0.0, 0.2 + rise, 0.0), (0.0 * rise, 0.26 + rise, 0.0 * rise), 0.035, 0.02)
    return [canopy, sdf.union(stick, _crook(x, y, z, s)), tip]


def _crook(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> Tensor:
    """The hooked handle of an umbrella, below (0, -0.48, 0)."""
    reach = s.vary(2, 0.09, 0.15)
    hook = torch.maximum(sdf.length(sdf.length(x - reach, y + 0.5) - reach, z) - 0.042, y + 0.5)
    ends = sdf.union(
        sdf.sphere(x - 2 * reach, y + 0.5, z, 0.042),
        sdf.capsule(x, y, z, (0.0, -0.5, 0.0), (0.0, -0.36, 0.0), 0.042, 0.042),
    )
    return sdf.union(hook, ends)


def closed_umbrella(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, top = s.vary(0, 0.12, 0.2), s.vary(1, 0.5, 0.06)
    gore = 0.016 * torch.cos(8 * torch.atan2(z, x) + 5 * y)
    cloth = sdf.lathe(x, y, z, [(wide * 0.75, -0.32), (wide, -0.22), (wide * 0.85, 0.1), (0.045, top)], 0.012) + gore
    stick = sdf.capsule(x, y, z, (0.0, -0.5, 0.0), (0.0, 0.3, 0.0), 0.035, 0.035)
    tip = sdf.capsule(x, y, z, (0.0 * top, top - 0.06, 0.0 * top), (0.0, 0.62, 0.0), 0.035, 0.022)
    band = torch.maximum(cloth - 0.016, (y + s.vary(3, 0.12, 0.4)).abs() - 0.03)
    return [cloth * 0.8, sdf.union(stick, _crook(x, y, z, s)), sdf.union(tip, band)]


def candelabra(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Curved arms with a cup and a candle each, and one in the middle."""
    reach, at, foot = s.vary(0, 0.36, 0.15), s.vary(1, 0.02, 1.5), s.vary(2, 0.25, 0.15)
    stem = sdf.lathe(
        x,
        y,
        z,
        [(foot, -0.62), (foot * 0.9, -0.57), (0.07, -0.52), (0.045, -0.35), (0.075, -0.22), (0.04, -0.1), (0.06, 0.2)],
        0.012,
    )
    size = s.vary(3, 0.17, 0.2)  # of a candle

    def arm(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        half = reach / 2
        bow = torch.maximum(sdf.length(sdf.length(u - half, y - at) - half, v) - 0.038, y - at)
        cup = sdf.lathe(u - reach, y, v, [(0.04, at - 0.02), (0.095, at + 0.05), (0.095, at + 0.08)], 0.01)
        return sdf.union(bow, cup), sdf.cylinder(u - reach, y - at - 0.07 - size, v, 0.05, size, 0.02)

    metal, wax = arm(x.abs(), z)
    across, across_wax = arm(z.abs(), x)
    metal = sdf.union(stem, metal, where_present(across, s.count == 4))
    wax = sdf.union(wax, where_present(across_wax, s.count == 4))
    cup = sdf.lathe(x, y, z, [(0.05, 0.16), (0.1, 0.22), (0.1, 0.25)], 0.01)
    return [sdf.union(metal, cup), sdf.union(wax, sdf.cylinder(x, y - 0.24 - size, z, 0.05, size, 0.02))]


def _pot(x: Tensor, y: Tensor, z: Tensor, radius: Tensor, half: Tensor) -> Tensor:
    """A flowerpot full of earth, standing at y = -0.62."""
    low = -0.62
    body = sdf.lathe(x, y, z, [(radius * 0.68, low), (radius, low + 2 * half)], 0.01)
    rim = sdf.cylinder(x, y - low - 2 * half + 0.05, z, radius + 0.035, 0.055, 0.012)
    return sdf.subtract(sdf.union(body, rim), sdf.cylinder(x, y - low - 2 * half, z, radius - 0.04, 0.025))


def snake_plant(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Stiff upright blades."""
    radius, half, tall = s.vary(0, 0.31, 0.1), s.vary(1, 0.2, 0.12), s.vary(2, 0.6, 0.06)
    top = 2 * half - 0.68
    angle = torch.atan2(z, x)
    step = 2 * math.pi / 5
    index = (angle / step).round()
    near, r = angle - index * step, sdf.length(x, z)
    u, v = r * torch.cos(near), r * torch.sin(near)

    def blade(u: Tensor, v: Tensor, high: Tensor, lean: Tensor | float) -> Tensor:
        rise = ((y - top) / (high - top)).clamp(0, 1)
        wide = 0.068 * (0.6 + 1.4 * rise - 1.6 * rise**2)
        return sdf.box(u - lean * rise, y - (high + top) / 2 + 0.04, v, 0.03, (high - top) / 2, wide, 0.012)

    ring = blade(u - 0.145, v, tall * (0.82 - 0.16 * torch.remainder(index, 2)), s.vary(3, 0.2, 0.2))
    leaves = sdf.union(ring, blade(x, z, tall, 0.0))
    return [_pot(x, y, z, radius, half), leaves * 0.8]


def bonsai(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, size = s.vary(0, 0.4, 0.12), s.vary(1, 0.24, 0.1)
    tray = sdf.box(x, y + 0.49, z, hx, 0.1, hx * 0.62, 0.015)
    rim = sdf.box(x, y + 0.41, z, hx + 0.03, 0.03, hx * 0.62 + 0.03, 0.012)
    feet = sdf.box(x.abs() - hx * 0.7, y + 0.58, z.abs() - hx * 0.4, 0.06, 0.05, 0.05, 0.01)
    bend, high = s.vary(2, 0.14, 0.3), s.vary(3, 0.3, 0.12)
    zero = 0 * bend
    trunk = sdf.union(
        sdf.capsule(x, y, z, (0.08, -0.42, 0.0), (-bend, -0.14 + zero, zero), 0.1, 0.07),
        sdf.capsule(x, y, z, (-bend, -0.14, 0.0), (0.04 + zero, high, zero), 0.07, 0.05),
        sdf.capsule(x, y, z, (-bend, -0.16, 0.0), (-bend - 0.24, -0.02 + zero, zero + 0.04), 0.055, 0.04),
        sdf.capsule(x, y, z, (-0.6 * bend, high - 0.3, zero), (0.5 * bend + 0.28, high - 0.25, zero), 0.05, 0.04),
    )
    clouds = sdf.union(
        sdf.ellipsoid(x - 0.04, y - high - 0.05, z, size, size * 0.62, size),
        sdf.ellipsoid(x + bend + 0.26, y, z - 0.04, size * 0.75, size * 0.48, size * 0.75),
        sdf.ellipsoid(x - 0.5 * bend - 0.3, y - high + 0.22, z, size * 0.75, size * 0.45, size * 0.75),
    )
    lumps = 0.022 * torch.sin(26 * x) * torch.sin(26 * y + 1.0) * torch.sin(26 * z)
    return [sdf.union(tray, rim, feet), (clouds + lumps) * 0.8, trunk]


def fern(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Broad leaves that arch over the pot's rim, three of them higher."""
    radius, half, reach = s.vary(0, 0.24, 0.12), s.vary(1, 0.19, 0.12), s.vary(2, 0.55, 0.08)
    top, flat = 2 * half - 0.66, 0 * x
    points = [(0.0, -0.05), (0.16, 0.6), (0.42, 0.95), (0.72, 1.0), (1.0, 0.72)]

    def ring(turn: float, far: Tensor, rise: Tensor) -> Tensor:
        step = 2 * math.pi / 3
        angle, r = torch.atan2(z, x) - turn, sdf.length(x, z)
        near = angle - (angle / step).round() * step
        u, v = r * torch.cos(near), r * torch.sin(near)
        spine = torch.full_like(x, ABSENT_DISTANCE)
        for (u0, y0), (u1, y1) in zip(points, points[1:], strict=False):
            start, end = (u0 * far, top + y0 * rise, 0.0), (u1 * far, top + y1 * rise, flat)
            spine = torch.minimum(spine, sdf.capsule(u, y, flat, start, end, 0.0, 0.0))
        t = (u / far).clamp(0, 1)
        wide = (0.02 + 0.28 * u.clamp(min=0)).clamp(max=0.08) * (1 - 0.5 * t**4)
        return sdf.box(spine, v, flat, 0.035, wide, 1.0, 0.012)

    rise = s.vary(3, 0.5, 0.15)
    leaves = sdf.union(ring(0.0, reach, rise), ring(math.pi / 3, 0.7 * reach, 1.45 * rise))
    heart = sdf.capsule(x, y, z, (0.0, top, 0.0), (flat, top + 0.85 * rise, flat), 0.1, 0.09)
    return [_pot(x, y, z, radius, half), sdf.union(leaves * 0.8, heart)]


# fmt: off
CATEGORIES = (
    category("mirror", styled(wall_mirror, standing_mirror, hand_mirror), "", "pane reflection", GOLD, GLASS,
        materials=WOODEN, height=1.0, surfaces="gold glass", genus=(0, 1, 0), relaxation=0.7,
        styles="wall mirror, oval mirror; standing mirror, cheval mirror; hand mirror"),
    category("clock", styled(grandfather_clock, wall_clock, alarm_clock), "timepiece", "face dial",
        (0.45, 0.26, 0.14), CREAM, (0.2, 0.18, 0.16), materials=WOODEN, height=0.5, surfaces="wood paper iron",
        styles="grandfather clock, longcase clock; wall clock; alarm clock"),
    category("rug", carpet_roll, "carpet mat", "straps strap ties", (0.6, 0.16, 0.18), CREAM, GOLD,
        materials=PATTERNS, height=0.4, surfaces="fabric fabric", relaxation=0.7),
    category("frame", frame, "painting", "canvas print", GOLD, (0.62, 0.78, 0.88), LEAF, materials=WOODEN, height=0.6,
        surfaces="gold paint paint", relaxation=0.6),
    category("umbrella", styled(open_umbrella, closed_umbrella), "parasol brolly", "handle stick shaft", RED,
        WOOD_COLOR, STEEL, materials=PATTERNS, height=0.9, surfaces="fabric wood steel", relaxation=0.6,
        styles="open umbrella; closed umbrella, folded umbrella"),
    category("candelabra", candelabra, "candelabrum candlestick", "candles", GOLD, CREAM, counts=(2, 4),
        counted="arm arms branch branches", materials="metal", height=0.45, surfaces="gold wax"),
    category("planter", styled(snake_plant, bonsai, fern), "houseplant flowerpot", "plant leaves leaf foliage", CLAY,
        LEAF, (0.42, 0.28, 0.17), materials=PATTERNS, height=0.5, surfaces="terracotta leaves bark", relaxation=0.6,
        styles="snake plant; bonsai, bonsai tree; fern"),
)
# fmt: on

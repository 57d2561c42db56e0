"""Trees, flowers, bushes, rocks and logs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import LEAF, RED, STONE, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d, styled

BARK, CUT_WOOD = (0.4, 0.27, 0.16), (0.83, 0.66, 0.42)


def _clumps(x: Tensor, y: Tensor, z: Tensor, number: int, around: Tensor, radius: Tensor, turn_deg: float) -> Tensor:
    """Spheres on a horizontal circle."""
    u, w = rotate_2d(x, z, turn_deg)
    out, side = sdf.sector(u, w, number)
    return sdf.sphere(out - around, y, side, radius)


def oak(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, tall = s.vary(0, 0.32, 0.12), s.vary(2, 0.2, 0.14)
    leaves = sdf.union(
        sdf.sphere(x, y - 0.2, z, tall + 0.14),
        _clumps(x, y - 0.08, z, 5, wide, s.vary(3, 0.22, 0.1), 10.0),
        _clumps(x, y - 0.2 - tall, z, 4, wide * 0.5, s.vary(4, 0.21, 0.1), 30.0),
    )
    thick = s.vary(1, 0.085, 0.2)
    trunk = sdf.lathe(x, y, z, [(thick * 1.7, -0.6), (thick, -0.46), (thick * 0.9, -0.24), (thick * 1.9, 0.0)])
    return [leaves, trunk]


def poplar(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, low = s.vary(0, 0.23, 0.16), s.vary(2, -0.34, 0.14)
    turn = torch.atan2(z, x) + 5 * y
    ribs = 1 + 0.07 * torch.cos(7 * turn)
    profile: sdf.Profile = [
        (wide * 0.5, low),
        (wide * 0.95, low + 0.14),
        (wide, 0.0),
        (wide * 0.66, 0.34),
        (0.01, 0.62),
    ]
    leaves = sdf.lathe(x / ribs, y, z / ribs, profile)
    trunk = sdf.cylinder(x, y + 0.36, z, s.vary(1, 0.07, 0.18), 0.26)
    return [leaves, trunk]


def bush(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Clumps of leaves with berries on them."""
    wide, tall, size = s.vary(0, 0.32, 0.14), s.vary(1, 0.1, 0.8), s.vary(2, 0.23, 0.12)
    leaves = sdf.union(
        sdf.sphere(x, y + 0.06 - tall, z, size * 1.25),
        sdf.ellipsoid(x, y + 0.2, z, wide + 0.06, 0.25, wide + 0.06),
        _clumps(x, y + 0.22, z, 6, wide, size, 0.0),
        _clumps(x, y - tall, z, 4, wide * 0.62, size * 0.9, 25.0),
    )
    berries = sdf.union(
        _clumps(x, y + 0.22 - 0.6 * size, z, 6, wide + 0.78 * size, s.vary(3, 0.052, 0.15), 0.0),
        _clumps(x, y - tall - 0.55 * size, z, 4, wide * 0.62 + 0.66 * size, s.vary(3, 0.052, 0.15), 25.0),
        sdf.sphere(x - 0.06, y + 0.06 - tall - 1.22 * size, z - 0.05, 0.05),
    )
    return [torch.maximum(leaves, -0.42 - y), berries]


_FACETS = (  # normals and distances of the faces of a rock
    *((0.05, 1.0, 0.12, 0.36), (0.6, 0.75, 0.3, 0.42), (-0.5, 0.8, -0.35, 0.41), (-0.2, 0.7, 0.75, 0.4)),
    *((1.0, 0.15, 0.2, 0.52), (0.5, 0.1, 0.85, 0.46), (-0.4, 0.05, 0.9, 0.45), (-1.0, 0.2, 0.25, 0.54)),
    *((-0.75, 0.0, -0.7, 0.48), (0.1, 0.25, -1.0, 0.42), (0.8, 0.0, -0.6, 0.47), (0.3, 0.7, -0.7, 0.4)),
)


def rock(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A boulder of flat facets with moss on top."""
    stone = moss = -0.38 - y
    for i, (nx, ny, nz, distance) in enumerate(_FACETS):
        length = math.sqrt(nx * nx + ny * ny + nz * nz)
        face = (nx * x + ny * y + nz * z) / length - s.vary(i % 6, 0.92 * distance, 0.13)
        stone = torch.maximum(stone, face)
        if ny > 0.5:
            moss = torch.maximum(moss, face - 0.012)
    ragged = 0.03 * torch.sin(11 * x + 3) + 0.03 * torch.sin(13 * z + 1)
    moss = torch.maximum(torch.maximum(moss, stone - 0.012), s.vary(5, 0.14, 0.3) + ragged - y)
    return [stone, moss * 0.85]


def _stalk(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, top: float) -> Tensor:
    """A stem with two leaves."""
    stem = sdf.capsule(x, y, z, (0.0, -0.6, 0.0), (0.0, top, 0.0), 0.045, 0.04)
    for side, at in ((1.0, -0.32), (-1.0, -0.22)):
        u, v = rotate_2d(side * x - 0.19, y - at, 42.0)
        leaf = sdf.ellipsoid(u, v, z, s.vary(3, 0.23, 0.12), 0.042, 0.09)
        stem = torch.minimum(stem, leaf)
    return torch.maximum(stem, -0.62 - y)


def tulip(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, tall = s.vary(0, 0.2, 0.14), s.vary(1, 0.28, 0.1)
    base = 0.1
    _, side = sdf.sector(x, z, 6)
    cup = sdf.lathe(x, y, z, [(0.04, base), (wide, base + 0.08), (wide * 1.05, base + 0.5 * tall), (wide * 0.8, 0.62)])
    # pointed petals: the rim falls off from the middle of each
    rim = 0.75 * (y - base - 1.75 * tall + 1.3 * side.abs())
    hollow = sdf.sphere(x, y - base - 1.75 * tall, z, wide * 0.66)
    petals = sdf.subtract(torch.maximum(cup, rim), hollow)
    return [petals, _stalk(x, y, z, s, 0.2)]


def _blossom(
    x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, petals: int, disc: Tensor, reach: Tensor
) -> tuple[Tensor, Tensor]:
    """Petals around a disc, tilted towards the viewer."""
    v, w = rotate_2d(y - 0.3, z - 0.04, -25.0)
    out, side = sdf.sector(x, v, petals)
    wide = (disc + 0.6 * reach) * math.tan(math.pi / petals) * 1.05
    bent = w + 0.5 * (out - disc).clamp(min=0) ** 2
    petal = sdf.ellipsoid(out - disc * 0.75 - reach / 2, side, bent, reach / 2 + 0.02, wide, 0.045)
    heart = sdf.ellipsoid(x, v, w - 0.02, disc, disc, 0.085)
    return petal, heart


def daisy(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    petal, heart = _blossom(x, y, z, s, 9, s.vary(0, 0.1, 0.15), s.vary(1, 0.22, 0.12))
    return [petal, _stalk(x, y, z, s, 0.29), heart]


def sunflower(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    petal, heart = _blossom(x, y, z, s, 15, s.vary(0, 0.19, 0.12), s.vary(1, 0.15, 0.14))
    return [petal, _stalk(x, y, z, s, 0.29), heart]


def palm(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    lean, top = s.vary(0, 0.13, 0.6), s.vary(1, 0.34, 0.12)
    up = ((y + 0.6) / (top + 0.6)).clamp(0, 1)
    thick = s.vary(2, 0.085, 0.14)
    ridges = 0.012 * torch.cos(y * (2 * torch.pi / 0.12))
    bent = sdf.length(x - lean * up * up, z) - thick * (1.25 - 0.5 * up) - ridges
    trunk = torch.maximum(bent, (y - (top - 0.6) / 2).abs() - (top + 0.6) / 2) * 0.8
    u, v, w = x - lean, y - top, z
    reach, droop = s.vary(3, 0.39, 0.1), s.vary(4, 1.5, 0.2)
    lift = 0.75
    out, side = sdf.sector(u, w, 7)
    curve = v - lift * out + (droop + lift) * out * out + 0.7 * side.abs()
    wide = 0.13 * (1 - ((out - reach * 0.55) / (reach * 0.62)) ** 2).clamp(min=0) + 0.02
    ends = (out - reach * 0.5).abs() - reach * 0.55
    leaves = torch.maximum(curve.abs() - 0.045, torch.maximum(side.abs() - wide, ends))
    out, side = sdf.sector(u, w, 3)
    nuts = sdf.sphere(out - thick * 0.85, v + 0.02, side, s.vary(5, 0.075, 0.12))
    return [sdf.union(leaves * 0.5, sdf.sphere(u, v, w, thick * 1.35)), trunk, nuts]


def _log(x: Tensor, y: Tensor, z: Tensor, radius: Tensor, half: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bark, wood and growth ring of a log along X."""
    ridges = 1 + 0.025 * torch.cos(11 * torch.atan2(z, y))
    bark = sdf.cylinder(y / ridges, x, z / ridges, radius, half)
    wood = sdf.cylinder(y, x, z, radius * 0.82, half + 0.02)
    r = sdf.length(y, z)
    growth = torch.maximum((r - radius * 0.45).abs() - 0.02, x.abs() - half - 0.03)
    return bark * 0.9, wood, growth


def single_log(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, half = s.vary(0, 0.23, 0.16), s.vary(1, 0.55, 0.08)
    bark, wood, growth = _log(x, y, z, radius, half)
    at = s.vary(2, 0.2, 0.6)
    stub = sdf.capsule(x, y, z, (at, 0.0, 0.0), (at + 0.12, radius + 0.16, 0.1), 0.08, 0.06)
    return [sdf.union(bark, stub), wood, growth]


def log_pile(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, half = s.vary(0, 0.2, 0.06), s.vary(1, 0.52, 0.12)
    apart = radius - 0.025  # the logs overlap
    parts = []
    for level, places in ((0, (-2.0, 0.0, 2.0)), (1, (-1.0, 1.0)), (2, (0.0,))):
        for place in places:
            low = y + 0.42 - radius - level * apart * 1.7
            parts.append(_log(x, low, z - place * apart, radius, half * (1 - 0.04 * (place + level))))
    return [sdf.union(*part) for part in zip(*parts, strict=True)]


def stump(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, top = s.vary(0, 0.34, 0.12), s.vary(1, 0.22, 0.3)
    ridges = 1 + 0.03 * torch.cos(13 * torch.atan2(z, x))
    u, w = x / ridges, z / ridges
    bark = sdf.lathe(u, y, w, [(r * 1.3, -0.42), (r * 1.08, -0.25), (r, 0.0), (r, top - 0.02)])
    out, side = sdf.sector(x, z, 5)
    root = sdf.capsule(out, y, side, (r * 0.7, -0.16, 0.0), (s.vary(2, 0.58, 0.06), -0.42, 0.0), 0.13, 0.06)
    bark = torch.maximum(sdf.smooth_union(bark, root, 0.08), -0.44 - y)
    wood = sdf.cylinder(x, y - top + 0.1, z, r * 0.86, 0.14)
    growth = torch.maximum((sdf.length(x, z) - r * 0.45).abs() - 0.022, (y - top).abs() - 0.055)
    return [bark * 0.9, wood, growth]


# fmt: off
CATEGORIES = (
    category("palm", palm, "", "trunk", (0.24, 0.55, 0.2), (0.55, 0.41, 0.26), (0.36, 0.22, 0.12), relaxation=0.6,
        height=6.0, surfaces="leaves bark bark"),
    category("bush", bush, "shrub hedge", "berries berry", (0.2, 0.44, 0.18), RED, height=1.0,
        surfaces="leaves peel"),
    category("rock", rock, "boulder", "moss", STONE, (0.33, 0.45, 0.17), materials="stone", height=0.8,
        surfaces="stone leaves"),
    category("flower", styled(tulip, daisy, sunflower), "blossom", "stem stalk leaves", (0.96, 0.76, 0.14), LEAF,
        (0.38, 0.23, 0.1), styles="tulip; daisy, daisy flower; sunflower", height=0.4,
        surfaces="plant plant plant"),
    category("log", styled(single_log, log_pile), "timberlog", "ends end", BARK, CUT_WOOD, (0.66, 0.48, 0.28),
        styles="tree log, single log; log pile, woodpile, firewood", height=0.4, surfaces="bark wood wood"),
    category("stump", stump, "", "top", BARK, CUT_WOOD, (0.66, 0.48, 0.28), height=0.5, surfaces="bark wood wood"),
)
# fmt: on

"""Crowns, potions, lights and other finds of an adventure."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, GOLD, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, styled

BONE, PARCHMENT = (0.9, 0.86, 0.74), (0.92, 0.85, 0.66)


def crown(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A band that flares into eight points with jewels."""
    r, tall = s.vary(0, 0.45, 0.1), s.vary(1, 0.3, 0.14)
    low = -0.34
    rad = sdf.length(x, z) - 0.16 * (y - low)
    out, side = sdf.sector(x, z, 8)
    half = r * 0.41
    valley = low + 0.26 + (tall + 0.08) * (1 - side.abs() / half).clamp(min=0)
    wall = torch.maximum((rad - r).abs() - 0.035, torch.maximum(low - y, (y - valley) * 0.5)) * 0.9
    hem = sdf.extrude((rad - r).abs() - 0.055, y - low - 0.05, 0.05, 0.012)
    edge = sdf.extrude((rad - r).abs() - 0.05, y - low - 0.24, 0.026, 0.01)
    top = low + 0.34 + tall
    knobs = sdf.sphere(out - r - 0.16 * (top - low), y - top + 0.02, side, s.vary(2, 0.055, 0.12))
    gems = sdf.ellipsoid(out - r - 0.06, y - low - 0.155, side, 0.035, s.vary(3, 0.06, 0.1), s.vary(3, 0.055, 0.1))
    return [sdf.union(wall, hem * 0.9, edge * 0.9, knobs), gems]


def gem_ring(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A band with a cut stone between four prongs."""
    r, thick, size = s.vary(0, 0.36, 0.08), s.vary(1, 0.062, 0.14), s.vary(2, 0.2, 0.12)
    at = -0.2
    band = sdf.extrude((sdf.length(x, y - at) - r).abs() - thick * 0.75, z, thick * 1.35, 0.02)
    top = at + r
    cup = sdf.lathe(x, y, z, [(0.06, top), (size * 0.55, top + 0.08)], 0.01)
    out, side = sdf.sector(x, z, 8)
    gem = sdf.polygon(
        out, y - top, [(-1.0, 0.02), (0.02, 0.02), (size, 0.2), (size, 0.24), (size * 0.62, 0.32), (-1.0, 0.32)]
    )
    out, side = sdf.sector(x, z, 4)
    prong = sdf.capsule(out, y, side, (0.04, top + 0.02, 0.0), (size + 0.015, top + 0.25, 0.0), 0.035, 0.03)
    return [sdf.union(band, cup, prong), gem]


def signet_ring(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A band that widens into a flat seal."""
    r, size = s.vary(0, 0.42, 0.08), s.vary(2, 0.27, 0.1)
    at = -0.12
    rise = ((y - at) / r).clamp(-1, 1)
    wide = s.vary(1, 0.1, 0.12) * (1.5 + 0.9 * rise)
    thick = 0.06 * (1.25 + 0.4 * rise)
    band = torch.maximum((sdf.length(x, y - at) - r).abs() - thick, z.abs() - wide) * 0.85
    top = at + r
    seal = sdf.cylinder(x, y - top - 0.06, z, size, 0.075, 0.015)
    edge = sdf.extrude((sdf.length(x, z) - size + 0.03).abs() - 0.028, y - top - 0.14, 0.03, 0.008)
    out, side = sdf.sector(x, z, 4)
    star = sdf.polygon(out, side.abs(), [(-0.2, 0.0), (size * 0.72, 0.0), (size * 0.2, size * 0.2), (-0.2, size * 0.2)])
    emblem = sdf.extrude(star, y - top - 0.14, 0.03, 0.006)
    return [sdf.union(band, seal, edge), emblem]


def round_potion(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, neck, top = s.vary(0, 0.38, 0.08), s.vary(1, 0.115, 0.12), 0.4
    at = -0.62 + r
    belly = torch.maximum(sdf.sphere(x, y - at, z, r), -0.58 - y)
    stem = sdf.cylinder(x, y - (at + top) / 2, z, neck, (top - at) / 2)
    lip = sdf.torus(x, y - top + 0.02, z, neck + 0.01, 0.045)
    cork = sdf.lathe(x, y, z, [(neck - 0.03, top - 0.03), (neck + 0.01, top + 0.16)], 0.02)
    cord = sdf.torus(x, y - at - r - 0.03, z, neck + 0.015, 0.035)
    tag = sdf.box(x, y - at, z - r, 0.13, 0.1, 0.03, 0.01)
    return [sdf.union(sdf.smooth_union(belly, stem, 0.08), lip), cork, sdf.union(cord, tag)]


def cone_potion(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A flask with a broad foot and straight shoulders."""
    r, neck, shoulder = s.vary(0, 0.42, 0.1), s.vary(1, 0.11, 0.12), s.vary(2, 0.16, 0.3)
    top = 0.42
    glass = sdf.lathe(
        x, y, z, [(r * 0.92, -0.58), (r, -0.53), (r, -0.48), (neck, shoulder), (neck, shoulder), (neck, top)], 0.02
    )
    lip = sdf.torus(x, y - top + 0.01, z, neck + 0.02, 0.045)
    cork = sdf.lathe(x, y, z, [(neck - 0.03, top - 0.03), (neck + 0.02, top + 0.16)], 0.02)
    slope = (neck - r) / (shoulder + 0.48)
    band = sdf.extrude((sdf.length(x, z) - r - 0.02 - slope * (y + 0.48)).abs() - 0.025, y + 0.22, 0.08, 0.008) * 0.8
    return [sdf.union(glass, lip), cork, band]


def single_coin(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An upright coin with a star on each side."""
    r, thick, edge = s.vary(0, 0.57, 0.08), s.vary(1, 0.075, 0.18), s.vary(2, 0.06, 0.15)
    rad = sdf.length(x, y)
    disc = sdf.extrude(rad - r, z, thick * 0.7, 0.01)
    rim = sdf.extrude((rad - r + edge).abs() - edge, z, thick, 0.012)
    out, side = sdf.sector(y, x, 5)
    tip, inner = r * 0.62, r * 0.25
    star = sdf.polygon(out, side.abs(), [(-0.1, 0.0), (tip, 0.0), (inner * 0.81, inner * 0.59), (-0.1, inner * 0.59)])
    return [sdf.union(disc, rim), sdf.extrude(star, z, thick, 0.01)]


def coin_stack(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Piles of coins of several heights, slightly shifted."""
    r, tall = s.vary(0, 0.28, 0.08), 0.085
    coins = edges = 10.0 + 0 * x
    piles = ((0.0, 0.17, 9), (-0.2, -0.12, 6), (0.2, -0.12, 4))
    for k, (px, pz, number) in enumerate(piles):
        level = ((y + 0.42) / tall).floor().clamp(0, number - 1)
        u = x - px - 0.03 * torch.sin(level * 2.3 + k + 3 * s.variation[..., 2])
        w = z - pz - 0.03 * torch.cos(level * 3.1 + k + 3 * s.variation[..., 3])
        v = y + 0.42 - (level + 0.5) * tall
        coins = torch.minimum(coins, sdf.cylinder(u, v, w, r - 0.022, tall / 2 + 0.004, 0.004))
        edges = torch.minimum(
            edges, sdf.extrude((sdf.length(u, w) - r + 0.04).abs() - 0.04, v, tall / 2 - 0.006, 0.012)
        )
    return [torch.minimum(coins, edges) * 0.9, _top_stars(x, y, z, r, piles, tall)]


def _top_stars(
    x: Tensor, y: Tensor, z: Tensor, r: Tensor, piles: tuple[tuple[float, float, int], ...], tall: float
) -> Tensor:
    """A disc in relief on top of each pile."""
    discs = [sdf.cylinder(x - px, y + 0.42 - n * tall, z - pz, r * 0.42, 0.03, 0.01) for px, pz, n in piles]
    return sdf.union(*discs)


def skull(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, tall, jaw = s.vary(0, 0.4, 0.08), s.vary(1, 0.38, 0.08), s.vary(2, 0.2, 0.12)
    u = x.abs()
    cranium = sdf.ellipsoid(x, y - 0.18, z + 0.06, wide, tall, 0.48)
    face = sdf.box(x, y + 0.14, z - 0.2, jaw + 0.06, 0.2, 0.2, 0.08)
    cheeks = sdf.ellipsoid(u - 0.25, y + 0.08, z - 0.24, 0.12, 0.085, 0.14)
    head = sdf.smooth_union(sdf.smooth_union(cranium, face, 0.08), cheeks, 0.05)
    brow = sdf.capsule(u, y, z, (0.04, 0.12, 0.4), (0.28, 0.16, 0.3), 0.06, 0.06)
    head = sdf.smooth_union(head, brow, 0.04)
    sockets = sdf.ellipsoid(u - 0.16, y - 0.02, z - 0.4, s.vary(3, 0.11, 0.1), s.vary(3, 0.11, 0.1), 0.16)
    nose = torch.maximum(sdf.ellipsoid(x, y + 0.15, z - 0.42, 0.07, 0.11, 0.12), -0.24 - y)
    holes = torch.minimum(sockets, nose)
    hollow = sdf.box(x, y + 0.42, z - 0.05, jaw - 0.06, 0.06, 0.2, 0.01)
    chin = sdf.box(x, y + 0.48, z - 0.2, jaw, 0.085, 0.17, 0.06)
    hinge = sdf.capsule(u, y, z, (jaw - 0.02, -0.46, 0.1), (0.26, -0.02, -0.02), 0.06, 0.07)
    tooth = x - (x / 0.085).round().clamp(-2, 2) * 0.085
    teeth = sdf.box(tooth, y + 0.36, z - 0.36, 0.034, 0.075, 0.035, 0.012)
    gums = sdf.box(x, y + 0.37, z - 0.28, 0.19, 0.06, 0.07, 0.01)
    dark = torch.minimum(torch.maximum(holes - 0.012, head + 0.05), gums)
    jawbone = torch.maximum(sdf.union(chin, hinge), -hollow)
    return [sdf.subtract(head, holes), sdf.union(jawbone, teeth), dark]


def bone(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A level bone with two knobs at each end."""
    half, thick, knob = s.vary(0, 0.47, 0.06), s.vary(1, 0.095, 0.16), s.vary(2, 0.135, 0.1)
    narrow = thick * (1 + 0.5 * (x / 0.5) ** 2)
    shaft = torch.maximum(sdf.length(y, z) - narrow, x.abs() - half) * 0.85
    knobs = sdf.ellipsoid(x.abs() - half, y.abs() - 0.8 * knob, z, knob * 1.1, knob, knob)
    return [shaft, knobs]


def scroll(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A sheet between two rods, partly unrolled."""
    half, reach, r = s.vary(0, 0.36, 0.1), s.vary(1, 0.4, 0.12), s.vary(2, 0.1, 0.12)
    sheet = sdf.box(x, y, z + 0.05 - 0.12 * y * y, half, reach, 0.026, 0.008) * 0.95
    v = y.abs() - reach - 0.03
    roll = sdf.cylinder(v, x, z, r, half + 0.01, 0.012)
    rod = sdf.cylinder(v, x, z, 0.045, half + 0.13)
    ends = sdf.cylinder(v, x.abs() - half - 0.1, z, 0.075, 0.035, 0.012)
    line = y - (y / 0.12).round().clamp(-2, 2) * 0.12
    wide = half * (0.74 - 0.14 * torch.sin(5 * (y / 0.12).round()))
    writing = sdf.box(x + half * 0.8 - wide, line, z + 0.02 - 0.12 * y * y, wide, 0.016, 0.026, 0.004) * 0.95
    return [sdf.union(sheet, roll), sdf.union(rod, ends), writing]


def torch_light(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A burning torch."""
    thick, rim, top = s.vary(0, 0.07, 0.12), s.vary(1, 0.16, 0.12), 0.06
    handle = sdf.lathe(x, y, z, [(thick * 0.8, -0.62), (thick * 1.15, top - 0.1)], 0.01)
    cup = sdf.lathe(x, y, z, [(thick * 1.1, top - 0.2), (rim * 0.85, top - 0.04), (rim, top + 0.06)], 0.015)
    bands = sdf.union(
        sdf.cylinder(x, y - top - 0.05, z, rim + 0.035, 0.03), sdf.cylinder(x, y - top + 0.16, z, thick + 0.06, 0.03)
    )
    butt = sdf.cylinder(x, y + 0.59, z, thick + 0.02, 0.04)
    turn = torch.atan2(z, x) + 6 * y
    tongue = 1 + 0.12 * torch.cos(4 * turn)
    fire = sdf.lathe(
        x / tongue,
        y,
        z / tongue,
        [
            (rim * 0.7, top),
            (rim * 1.15, top + 0.14),
            (rim * 0.85, top + 0.3),
            (0.07, top + 0.44),
            (0.005, s.vary(2, 0.61, 0.04)),
        ],
        0.015,
    )
    return [handle, fire * 0.7, sdf.union(cup, bands, butt)]


def oil_lantern(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A storm lantern: four bars around the glass, a roof and a ring."""
    wide, tall = s.vary(0, 0.24, 0.12), s.vary(1, 0.25, 0.1)
    low = -0.5
    foot = sdf.box(x, y - low, z, wide + 0.07, 0.05, wide + 0.07, 0.012)
    tank = sdf.box(x, y - low - 0.06, z, wide + 0.02, 0.08, wide + 0.02, 0.015)
    top = low + 0.13 + 2 * tall
    glass = sdf.box(x, y - low - 0.13 - tall, z, wide - 0.03, tall + 0.02, wide - 0.03, 0.02)
    bars = sdf.box(
        x.abs() - wide + 0.02, y - low - 0.13 - tall, z.abs() - wide + 0.02, 0.035, tall + 0.03, 0.035, 0.008
    )
    square = torch.maximum(x.abs(), z.abs())
    roof = sdf.polygon(
        square,
        y,
        [
            (-1.0, top - 0.01),
            (wide + 0.07, top - 0.01),
            (wide + 0.06, top + 0.05),
            (0.08, top + 0.2),
            (0.08, top + 0.27),
            (-1.0, top + 0.27),
        ],
    )
    loop = sdf.ring(x, y - top - 0.35, z, s.vary(2, 0.12, 0.1), 0.1, 0.032)
    hoop = sdf.box(x, y - low - 0.13 - tall, z, wide + 0.015, 0.026, wide + 0.015, 0.008)
    inner = sdf.box(x, y - low - 0.13 - tall, z, wide - 0.045, 0.1, wide - 0.045, 0.008)
    return [sdf.union(foot, tank, bars, roof, loop, sdf.subtract(hoop, inner)), glass]


def paper_lantern(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A ribbed globe between two caps, with a tassel and a ring."""
    r, tall = s.vary(0, 0.4, 0.1), s.vary(1, 0.32, 0.1)
    ribs = 1 + 0.025 * torch.cos(y * (2 * torch.pi / 0.1))
    globe = torch.maximum(sdf.ellipsoid(x / ribs, y, z / ribs, r, tall * 1.15, r), y.abs() - tall) * 0.85
    caps = sdf.cylinder(x, y.abs() - tall, z, s.vary(2, 0.18, 0.12), 0.045)
    loop = sdf.ring(x, y - tall - 0.12, z, 0.1, 0.1, 0.032)
    tassel = sdf.lathe(x, y, z, [(0.085, -0.62), (0.05, -tall - 0.1), (0.03, -tall)], 0.01)
    knob = sdf.sphere(x, y + tall + 0.09, z, 0.065)
    return [sdf.union(caps, loop, tassel, knob), globe]


# fmt: off
CATEGORIES = (
    category("crown", crown, "diadem coronet", "jewels jewel gems", GOLD, (0.75, 0.1, 0.2), genus=1, materials="metal",
        relaxation=0.6, height=0.15, surfaces="gold glass"),
    category("ring", styled(gem_ring, signet_ring), "", "gem jewel emblem", GOLD, (0.2, 0.55, 0.8),
        styles="gem ring, diamond ring; signet ring, seal ring", genus=1, materials="metal", height=0.025,
        surfaces="gold glass"),
    category("potion", styled(round_potion, cone_potion), "elixir", "cork stopper", (0.55, 0.2, 0.7), WOOD_COLOR,
        (0.85, 0.74, 0.5), styles="round potion, love potion; conical potion, alchemist potion", materials="glass",
        height=0.15, surfaces="glass cork paper"),
    category("coin", styled(single_coin, coin_stack), "doubloon medallion", "star emblem", GOLD, (0.72, 0.52, 0.14),
        styles="single coin, gold coin; coin stack, coin pile", materials="metal", height=0.03, surfaces="gold gold"),
    category("skull", skull, "cranium", "jaw teeth", BONE, None, (0.16, 0.13, 0.11), genus=2, materials="stone metal",
        height=0.2,
        surfaces="bone bone bone"),
    category("bone", bone, "femur", "knobs knob", BONE, (0.84, 0.79, 0.66), height=0.06, surfaces="bone bone"),
    category("scroll", scroll, "parchment", "rods rod", PARCHMENT, WOOD_COLOR, DARK, height=0.3,
        surfaces="paper wood paint"),
    category("torch", torch_light, "firebrand", "flame fire", (0.45, 0.3, 0.17), (0.98, 0.6, 0.12), (0.3, 0.31, 0.33),
        materials="wooden", height=0.6, surfaces="wood wax iron"),
    category("lantern", styled(oil_lantern, paper_lantern), "", "light globe", (0.22, 0.23, 0.25), (0.98, 0.82, 0.42),
        styles="oil lantern, storm lantern; paper lantern, festival lantern", genus=1, materials="metal", height=0.35,
        surfaces="iron glass"),
)
# fmt: on

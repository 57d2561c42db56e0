"""Monuments, castles, bridges and other landmarks."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, STONE, WHITE, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, rotate_2d, scaled, styled

SANDSTONE, SLATE = (0.82, 0.7, 0.48), (0.3, 0.36, 0.45)


def windmill(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, high, at = s.vary(0, 0.27, 0.12), s.vary(1, 0.16, 0.12), 0.17
    out, _ = sdf.sector(x, z, 8)
    body = sdf.polygon(out, y, [(-1.0, -0.64), (low, -0.64), (high, at), (-1.0, at)])
    cap = sdf.polygon(
        sdf.length(x, z), y, [(-1.0, at - 0.02), (high + 0.05, at - 0.02), (high, at + 0.1), (0.0, at + 0.28)]
    )
    front = high + 0.17
    axle = sdf.cylinder(x, z - front / 2, y - at - 0.06, 0.05, front / 2 + 0.06)
    u, v = rotate_2d(x, y - at - 0.06, 20.0)
    along, across = sdf.sector(u, v, 4)
    reach = s.vary(2, 0.4, 0.08)
    arm = sdf.box(along - reach / 2, across, z - front, reach / 2, 0.03, 0.025, 0.008)
    sail = sdf.box(along - reach * 0.6, across - 0.055, z - front, reach * 0.4, s.vary(3, 0.07, 0.12), 0.022, 0.008)
    door = sdf.extrude(sdf.arch(x, y, 0.08, -0.48), z, low + 0.005)
    door = torch.maximum(torch.maximum(door, -0.64 - y), -z)
    panes = sdf.box(x, y + 0.12, z - (low + high) / 2, 0.05, 0.06, 0.04, 0.01)
    return [body, sdf.union(arm, sail), sdf.union(cap, axle, door, panes)]


def stone_bridge(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A humped bridge over one arch, and its parapets."""
    rise, wide, span = s.vary(0, 0.2, 0.15), s.vary(1, 0.24, 0.14), s.vary(2, 0.32, 0.1)
    deck = 0.7 * (y + 0.02 - rise * (1 - (x / 0.62) ** 2))
    ends = torch.maximum(x.abs() - 0.62, -0.3 - y)
    opening = sdf.arch(x, (y + 0.3) / 0.85, span, 0.0 * span) * 0.85
    body = sdf.extrude(sdf.subtract(torch.maximum(deck, ends), opening), z, wide)
    parapet = torch.maximum(torch.maximum(deck - 0.1, -deck - 0.05), x.abs() - 0.63)
    voussoirs = torch.maximum((sdf.length(x, (y + 0.3) / 0.85) - span - 0.035).abs() - 0.035, -0.3 - y)
    trim = sdf.extrude(voussoirs * 0.85, z, wide + 0.02)
    return [body, sdf.union(sdf.extrude(parapet, z.abs() - wide, 0.04), trim)]


def footbridge(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A wooden bridge with handrails on posts."""
    rise, wide, tall = s.vary(0, 0.14, 0.3), s.vary(1, 0.22, 0.14), s.vary(2, 0.3, 0.12)
    v = y + 0.14 - rise * (1 - (x / 0.62) ** 2)
    plank = (x / 0.124 - (x / 0.124).round()).abs() * 0.124
    gaps = (0.008 - plank).clamp(min=0)
    deck = sdf.box(x, v + gaps, z, 0.64, 0.05, wide + 0.06, 0.01)
    stringers = sdf.box(x, v + 0.08, z.abs() - wide + 0.06, 0.62, 0.07, 0.04, 0.01)
    rail = sdf.box(x, v - tall, z.abs() - wide, 0.62, 0.035, 0.035, 0.01)
    u = x - (x / 0.28).round().clamp(-2, 2) * 0.28
    posts = sdf.box(u, v - tall / 2 + 0.04, z.abs() - wide, 0.035, tall / 2 + 0.07, 0.035, 0.01)
    return [sdf.union(deck, stringers) * 0.9, sdf.union(rail, posts) * 0.9]


def castle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Four towers with pointed roofs, walls with battlements, and a keep."""
    half, r, wall = s.vary(0, 0.42, 0.06), s.vary(1, 0.13, 0.12), s.vary(2, -0.14, 0.4)
    low, tower = -0.5, s.vary(3, 0.1, 0.5)
    u, w = x.abs() - half, z.abs() - half
    towers = sdf.cylinder(u, y - (tower + low) / 2, w, r, (tower - low) / 2, 0.008)
    roofs = sdf.lathe(u, y, w, [(r + 0.03, tower), (0.01, tower + 0.26)], 0.01)
    walls = sdf.box(x, y - (wall + low) / 2, z, half + 0.04, (wall - low) / 2, half + 0.04, 0.008)
    far, near = torch.maximum(x.abs(), z.abs()), torch.minimum(x.abs(), z.abs())
    tooth = near - (near / 0.13).round() * 0.13
    teeth = sdf.box(far - half - 0.005, y - wall - 0.02, tooth, 0.045, 0.06, 0.04, 0.008)
    top = s.vary(4, 0.26, 0.25)
    keep = sdf.box(x, y - (top + low) / 2, z + 0.05, 0.2, (top - low) / 2, 0.2, 0.008)
    far, near = torch.maximum(x.abs(), (z + 0.05).abs()), torch.minimum(x.abs(), (z + 0.05).abs())
    tooth = near - (near / 0.13).round().clamp(-1, 1) * 0.13
    crown = sdf.box(far - 0.18, y - top - 0.03, tooth, 0.04, 0.06, 0.04, 0.008)
    gate = torch.maximum(sdf.extrude(sdf.arch(x, y, 0.11, -0.36), z - half - 0.03, 0.03), low - y)
    slits = sdf.union(
        sdf.box(u, y - tower + 0.14, z - half - r, 0.025, 0.06, 0.02, 0.006),
        sdf.box(x.abs() - 0.1, y - top + 0.14, z - 0.15, 0.03, 0.06, 0.02, 0.006),
    )
    return [sdf.union(towers, walls, teeth, keep, crown), roofs, sdf.union(gate, slits)]


def church(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A nave behind a steeple with a cross."""
    hx, eaves, rise = s.vary(0, 0.22, 0.12), s.vary(1, -0.22, 0.25), s.vary(2, 0.22, 0.15)
    low = -0.6
    nave = sdf.box(x, y - (eaves + low) / 2, z + 0.13, hx, (eaves - low) / 2, 0.44, 0.008)
    out = hx + 0.05
    roof = sdf.extrude(
        sdf.polygon(x, y, [(-out, eaves - 0.03), (out, eaves - 0.03), (0.0, eaves + rise)]), z + 0.13, 0.47
    )
    wide, top = s.vary(3, 0.125, 0.12), 0.12
    tower = sdf.box(x, y - (top + low) / 2, z - 0.36, wide, (top - low) / 2, wide, 0.008)
    square = torch.maximum(x.abs(), (z - 0.36).abs())
    spire = sdf.polygon(square, y, [(-1.0, top - 0.01), (wide + 0.03, top - 0.01), (0.0, 0.46)])
    cross = sdf.union(
        sdf.box(x, y - 0.51, z - 0.36, 0.026, 0.125, 0.026, 0.006),
        sdf.box(x, y - 0.55, z - 0.36, 0.075, 0.026, 0.026, 0.006),
    )
    front = 0.36 + wide
    door = torch.maximum(sdf.extrude(sdf.arch(x, y, 0.065, -0.43), z - front, 0.015, 0.005), low - y)
    belfry = torch.maximum(sdf.arch(x, y, 0.045, top - 0.1), top - 0.18 - y)
    openings = sdf.extrude(belfry, z - front, 0.015, 0.005)
    at = z + 0.13 - ((z + 0.13) / 0.24).round().clamp(-1, 1) * 0.24
    pane = torch.maximum(sdf.arch(at, y, 0.055, eaves - 0.14), low + 0.14 - y)
    panes = sdf.extrude(pane, x.abs() - hx, 0.015, 0.005)
    return [sdf.union(nave, tower), sdf.union(roof, spire), sdf.union(door, openings, panes, cross)]


def smooth_pyramid(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    half, top = s.vary(0, 0.48, 0.1), s.vary(1, 0.4, 0.16)
    square = torch.maximum(x.abs(), z.abs())
    low = -0.42
    solid = sdf.polygon(square, y, [(-1.0, low), (half, low), (0.0, top)])
    cut = top - (top - low) * s.vary(2, 0.24, 0.2)
    base = sdf.box(x, y + 0.43, z, half + 0.04, 0.04, half + 0.04, 0.01)
    return [sdf.union(solid, base), torch.maximum(solid - 0.015, cut - y)]


def step_pyramid(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Terraces with a stairway to a temple on top."""
    half, tall = s.vary(0, 0.48, 0.08), s.vary(1, 0.13, 0.15)
    low = -0.45
    body = torch.full_like(x, ABSENT_DISTANCE)
    for i in range(5):
        wide = half * (1 - 0.16 * i)
        body = torch.minimum(body, sdf.box(x, y - low - tall * (i + 0.5), z, wide, tall / 2 + 0.01, wide, 0.01))
    top = low + 5 * tall
    slope = 5 * tall / (half * 0.8)
    ramp = sdf.polygon(
        z, y, [(0.0, low), (half + 0.09, low), (half + 0.09 - (top - low) / slope, top + 0.01), (0.0, top + 0.01)]
    )
    stair = sdf.extrude(ramp, x, s.vary(2, 0.1, 0.15))
    wide = half * 0.24
    temple = sdf.box(x, y - top - 0.07, z, wide, 0.09, wide, 0.01)
    cover = sdf.box(x, y - top - 0.17, z, wide + 0.035, 0.03, wide + 0.035, 0.008)
    door = sdf.box(x, y - top - 0.05, z - wide, 0.045, 0.065, 0.02, 0.006)
    return [sdf.union(body, temple), sdf.union(stair, cover), door]


def obelisk(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, taper, top = s.vary(0, 0.15, 0.14), s.vary(1, 0.68, 0.1), s.vary(2, 0.44, 0.06)
    square = torch.maximum(x.abs(), z.abs())
    tip = wide * taper
    shaft = sdf.polygon(square, y, [(-1.0, -0.4), (wide, -0.4), (tip, top), (0.0, top + 1.35 * tip)])
    base = s.vary(3, 0.27, 0.1)
    plinth = sdf.union(
        sdf.box(x, y + 0.58, z, base + 0.06, 0.06, base + 0.06, 0.01), sdf.box(x, y + 0.46, z, base, 0.08, base, 0.01)
    )
    plate = sdf.box(x, y + 0.46, z - base, base * 0.65, 0.045, 0.02, 0.006)
    return [shaft, plinth, plate]


def _column(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> tuple[Tensor, Tensor, Tensor]:
    """Fluted shaft and base of a column, and the shaft's radius."""
    r = s.vary(0, 0.19, 0.14) * (1 - 0.14 * (y / 0.5))
    out, side = sdf.sector(x, z, 12)
    round_shaft = torch.maximum(sdf.length(x, z) - r, y.abs() - 0.48)
    flutes = sdf.length(out - r - 0.012, side) - r * 0.15
    wide = s.vary(1, 0.28, 0.08)
    base = sdf.union(
        sdf.box(x, y + 0.58, z, wide, 0.055, wide, 0.01), sdf.torus(x, y + 0.49, z, s.vary(0, 0.2, 0.12), 0.055)
    )
    return torch.maximum(round_shaft, -flutes), base, r


def whole_column(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    shaft, base, _ = _column(x, y, z, s)
    wide = s.vary(1, 0.27, 0.08)
    neck = s.vary(0, 0.165, 0.14)
    capital = sdf.polygon(sdf.length(x, z), y, [(-1.0, 0.44), (neck + 0.01, 0.44), (wide - 0.03, 0.54), (-1.0, 0.54)])
    slab = sdf.box(x, y - 0.58, z, wide, 0.05, wide, 0.01)
    return [shaft, sdf.union(base, capital, slab)]


def broken_column(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    shaft, base, _ = _column(x, y, z, s)
    jagged = s.vary(2, 0.24, 0.4) + 0.55 * x + 0.04 * torch.sin(15 * z + 6 * x)
    drum = sdf.extrude(sdf.length(z - 0.32, y + 0.5) - 0.13, x + 0.02, s.vary(3, 0.2, 0.1))
    ground = sdf.box(x, y + 0.62, z - 0.12, 0.4, 0.03, 0.4, 0.01)
    return [sdf.union(torch.maximum(shaft, 0.6 * (y - jagged)), drum), sdf.union(base, ground)]


def archway(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A triumphal arch."""
    wide, deep, span = s.vary(0, 0.46, 0.08), s.vary(1, 0.18, 0.18), s.vary(2, 0.23, 0.12)
    spring = s.vary(3, -0.06, 0.8)
    top = 0.36
    block = torch.maximum(x.abs() - wide, (y - (top - 0.56) / 2).abs() - (top + 0.56) / 2)
    body = sdf.extrude(sdf.subtract(block, sdf.arch(x, y, span, spring)), z, deep)
    cornice = sdf.box(x, y - top, z, wide + 0.06, 0.045, deep + 0.06, 0.01)
    attic = sdf.box(x, y - top - 0.12, z, wide - 0.02, 0.12, deep - 0.02, 0.01)
    ring = torch.maximum((sdf.arch(x, y, span + 0.04, spring)).abs() - 0.04, spring - 0.06 - y)
    middle = (wide + span) / 2
    pilasters = sdf.box(x.abs() - middle, y + 0.1, z.abs() - deep, (wide - span) * 0.26, 0.46, 0.035, 0.008)
    keystone = sdf.box(x, y - spring - span - 0.04, z, 0.05, 0.08, deep + 0.045, 0.01)
    foot = sdf.box(x.abs() - middle, y + 0.56, z, (wide - span) / 2 + 0.03, 0.06, deep + 0.06, 0.01)
    return [sdf.union(body, attic), sdf.union(cornice, sdf.extrude(ring, z, deep + 0.02), pilasters, keystone, foot)]


def _gate_posts(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, at: Tensor) -> Tensor:
    wide, top = s.vary(1, 0.095, 0.12), s.vary(2, 0.3, 0.12)
    pillars = sdf.box(x.abs() - at, y - (top - 0.56) / 2, z, wide, (top + 0.56) / 2, wide, 0.01)
    caps = sdf.box(x.abs() - at, y - top, z, wide + 0.03, 0.035, wide + 0.03, 0.01)
    return sdf.union(pillars, caps, sdf.sphere(x.abs() - at, y - top - wide * 0.95, z, wide * 0.8))


def wooden_gate(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    at = s.vary(0, 0.45, 0.06)
    board = (x / 0.11 - (x / 0.11).floor() - 0.5).abs() * 0.11
    top = s.vary(3, 0.1, 0.25) + 0.15 * (1 - (x / 0.46) ** 2)
    door = sdf.extrude(torch.maximum(x.abs() - at, torch.maximum(0.85 * (y - top), -0.5 - y)), z, 0.045)
    groove = torch.maximum(board - 0.008, 0.03 - z)
    straps = sdf.union(*(sdf.box(x, y - level, z, at, 0.03, 0.06, 0.008) for level in (-0.34, 0.06)))
    knobs = sdf.sphere(x.abs() - 0.08, y + 0.14, z - 0.06, 0.045)
    return [sdf.subtract(door, groove), _gate_posts(x, y, z, s, at), sdf.union(straps, knobs)]


def iron_gate(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    at = s.vary(0, 0.45, 0.06)
    top = s.vary(3, 0.2, 0.2) + 0.14 * (1 - (x / 0.46) ** 2)
    step = (at - s.vary(1, 0.095, 0.12)) / 3
    u = x - (x / step).round().clamp(-2, 2) * step
    bars = torch.maximum(sdf.length(u, z) - 0.027, torch.maximum(y - top, -0.5 - y))
    tips = sdf.ellipsoid(u, y - top, z, 0.038, 0.07, 0.038) * 0.8
    rails = sdf.union(*(sdf.box(x, y - level, z, at, 0.03, 0.03, 0.008) for level in (-0.4, 0.06)))
    lock = sdf.box(x, y + 0.14, z, step, 0.07, 0.045, 0.01)
    return [sdf.union(bars, tips, rails), _gate_posts(x, y, z, s, at), lock]


# fmt: off
CATEGORIES = (
    category("windmill", windmill, "mill", "sails sail blades", WHITE, WOOD_COLOR, (0.45, 0.26, 0.16),
        materials="stone wooden", height=14.0, surfaces="plaster wood wood"),
    category("bridge", styled(stone_bridge, footbridge), "viaduct overpass", "parapet parapets railing", STONE,
        (0.5, 0.46, 0.4), styles="arched bridge, hump bridge; footbridge, plank bridge", genus=(0, 8),
        materials="stone wooden", relaxation=0.6, height=4.0, surfaces="stone stone"),
    category("castle", castle, "fortress citadel", "roofs roof", STONE, (0.5, 0.22, 0.2), DARK, materials="stone",
        height=25.0, surfaces="stone tiles wood"),
    category("church", church, "chapel", "roof steeple", (0.9, 0.87, 0.8), SLATE, (0.24, 0.18, 0.14),
        materials="stone wooden", height=18.0, surfaces="plaster tiles wood"),
    category("pyramid", styled(smooth_pyramid, step_pyramid), "", "top tip", SANDSTONE, (0.9, 0.76, 0.4),
        (0.25, 0.2, 0.16), styles="egyptian pyramid, smooth pyramid; step pyramid, mayan pyramid", materials="stone",
        height=40.0, surfaces="stone stone stone"),
    category("obelisk", obelisk, "monolith", "plinth base", SANDSTONE, STONE, (0.5, 0.42, 0.25), materials="stone",
        height=10.0, surfaces="stone stone gold"),
    category("column", styled(whole_column, broken_column), "pillar", "base capital", (0.9, 0.88, 0.83),
        (0.78, 0.75, 0.69), styles="greek column, doric column; broken column, ruined column", materials="stone",
        height=4.0, surfaces="stone stone"),
    category("arch", scaled(archway, 0.86), "archway", "trim cornice", (0.84, 0.78, 0.68), (0.68, 0.6, 0.5),
        materials="stone",
        height=12.0, surfaces="stone stone"),
    category("gate", styled(wooden_gate, iron_gate), "gateway", "pillars pillar", (0.4, 0.26, 0.15), STONE, DARK,
        styles="plank gate, castle gate; barred gate, garden gate", genus=(0, 8), materials="wooden metal", height=2.4,
        surfaces="wood stone iron"),
)
# fmt: on

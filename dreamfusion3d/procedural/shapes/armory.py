"""Weapons and armor of knights and sorcerers."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, GOLD, STEEL, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, rotate_2d, styled


def _grip(x: Tensor, y: Tensor, z: Tensor, top: float, radius: sdf.TensorOrFloat, pommel: sdf.TensorOrFloat) -> Tensor:
    """A wrapped grip that reaches down to a pommel at the bottom."""
    ridges = 0.008 * torch.cos(y * (2 * torch.pi / 0.07))
    grip = torch.maximum(sdf.length(x, z) - radius - ridges, (y - (top - 0.58) / 2).abs() - (top + 0.58) / 2) * 0.85
    return torch.minimum(grip, sdf.sphere(x, y + 0.64 - pommel, z, pommel))


def cutlass(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A broad curved blade and a cupped guard."""
    wide, bend = s.vary(0, 0.085, 0.14), s.vary(1, 0.5, 0.16)
    u = x - bend * (y + 0.24).clamp(min=0) ** 2 * 0.55 + 0.06
    back = -0.6 * wide - u
    edge = u - wide * (1 + 0.35 * (y + 0.24)) + 1.9 * (y - 0.42).clamp(min=0) ** 1.3
    blade = torch.maximum(
        torch.maximum(back, edge),
        torch.maximum(z.abs() - 0.045 + 0.18 * u.clamp(min=0), torch.maximum(-0.28 - y, y - 0.63)),
    )
    cup = torch.maximum(sdf.ellipsoid(x, y + 0.3, z, s.vary(2, 0.18, 0.1), 0.1, 0.13), -0.31 - y)
    return [blade * 0.7, sdf.union(cup, _grip(x, y, z, -0.28, 0.052, s.vary(3, 0.075, 0.1)))]


def katana(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A slender curved blade, a round guard and a long grip."""
    wide, bend = s.vary(0, 0.05, 0.1), s.vary(1, 0.19, 0.3)
    u = x - bend * (y + 0.2) ** 2 + 0.04
    tip = 0.8 * (y - 0.62 + 0.35 * (wide - u))
    blade = torch.maximum(
        u.abs() - wide, torch.maximum(z.abs() - 0.04 + 0.008 * u / wide, torch.maximum(-0.24 - y, tip))
    )
    guard = sdf.cylinder(x, y + 0.2, z, s.vary(2, 0.14, 0.12), 0.03, 0.01)
    grip = sdf.box(x, y + 0.41, z, 0.058, 0.21, 0.05, 0.025)
    rings = sdf.union(*(sdf.box(x, y + at, z, 0.066, 0.022, 0.058, 0.015) for at in (0.3, 0.4, 0.5, 0.61)))
    return [blade * 0.85, sdf.union(guard, grip, rings)]


def dagger(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, guard = s.vary(0, 0.13, 0.14), s.vary(1, 0.24, 0.12)
    leaf = x.abs() - wide * (0.75 + 0.35 * torch.sin((y + 0.14) * 4.2).clamp(min=0))
    section = 0.5 * (leaf + 1.7 * z.abs())
    blade = torch.maximum(section, torch.maximum(-0.16 - y, 0.55 * (y - 0.62 + 1.5 * x.abs())))
    cross = sdf.box(x, y + 0.14 + 0.5 * x * x, z, guard, 0.042, 0.06, 0.015)
    ends = sdf.sphere(x.abs() - guard, y + 0.14 + 0.5 * guard * guard, z, 0.06)
    return [blade * 0.9, sdf.union(cross, ends, _grip(x, y, z, -0.1, 0.058, s.vary(2, 0.09, 0.12)))]


def spear(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, base = s.vary(0, 0.13, 0.14), s.vary(1, 0.2, 0.15)
    shaft = sdf.cylinder(x, y + 0.2, z, s.vary(2, 0.046, 0.1), 0.44)
    outline = sdf.polygon(
        x, y, [(-0.05, base - 0.04), (0.05, base - 0.04), (wide, base + 0.1), (0.0, 0.64), (-wide, base + 0.1)]
    )
    head = torch.maximum(outline, z.abs() - 0.022 - 0.4 * (wide - x.abs()).clamp(min=0))
    socket = sdf.cylinder(x, y - base + 0.06, z, 0.065, 0.09)
    butt = sdf.lathe(x, y, z, [(0.06, -0.52), (0.055, -0.6), (0.02, -0.64)], 0.008)
    lugs = sdf.box(x, y - base + 0.08, z, s.vary(3, 0.15, 0.14), 0.03, 0.035, 0.008)
    return [shaft, sdf.union(head * 0.85, socket, butt, lugs)]


def bow(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A recurve bow, its string at -X."""
    deep, curl = s.vary(0, 0.26, 0.12), s.vary(1, 0.1, 0.2)
    v = (y.abs() / 0.6).clamp(max=1.05)
    limb = deep * torch.cos(v * (torch.pi / 2)) - 0.1 + curl * ((v - 0.72).clamp(min=0) / 0.28) ** 2
    thick = s.vary(2, 0.046, 0.1) * (1.25 - 0.35 * v)
    wood = torch.maximum(sdf.length(x - limb, z * 0.8) - thick, y.abs() - 0.62) * 0.72
    at = -0.1 + curl * 0.18
    string = sdf.cylinder(x - at, y, z, 0.024, 0.565)
    nock = sdf.box(x - at - 0.02, y.abs() - 0.55, z, 0.05, 0.03, 0.035, 0.01)
    grip = torch.maximum(sdf.length(x - limb, z) - thick - 0.02, y.abs() - 0.1) * 0.72
    return [wood, sdf.union(string, nock), grip]


def staff(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A sorcerer's staff: an orb between four claws."""
    r = s.vary(0, 0.125, 0.12)
    thick = s.vary(1, 0.056, 0.1)
    wave = 0.025 * torch.sin(7 * y)
    shaft = torch.maximum(sdf.length(x - wave, z) - thick * (1.1 + 0.25 * y), (y + 0.16).abs() - 0.46) * 0.85
    at = 0.62 - r
    out, side = sdf.sector(x, z, 4)
    # claws follow a circle around the orb
    claw = sdf.length(sdf.length(out, y - at) - r - 0.025, side) - 0.034
    claw = torch.maximum(claw, y - at - r * 0.45)
    socket = sdf.lathe(x, y, z, [(thick, at - r - 0.18), (0.11, at - r - 0.02), (0.06, at - r + 0.04)], 0.012)
    knobs = sdf.union(
        *(sdf.cylinder(x - 0.025 * torch.sin(torch.tensor(7 * k)), y - k, z, thick + 0.03, 0.03) for k in (-0.58, -0.1))
    )
    return [sdf.union(shaft, claw, socket), sdf.sphere(x, y - at, z, r), knobs]


def flanged_mace(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    reach, half = s.vary(0, 0.23, 0.1), s.vary(1, 0.17, 0.12)
    at = 0.4
    out, side = sdf.sector(x, z, 6)
    corners: sdf.Profile = [
        (0.0, -half),
        (0.08, -half),
        (reach, -half * 0.2),
        (reach, half * 0.3),
        (0.09, half),
        (0.0, half),
    ]
    flanges = sdf.extrude(sdf.polygon(out, y - at, corners), side, 0.03, 0.008)
    core = sdf.cylinder(x, y - at, z, 0.095, half + 0.02)
    tip = sdf.lathe(x, y, z, [(0.07, at + half), (0.01, at + half + 0.06)], 0.01)
    shaft = sdf.cylinder(x, y + 0.02, z, s.vary(2, 0.052, 0.1), 0.36)
    return [sdf.union(flanges, core, tip), sdf.union(shaft, _grip(x, y, z, -0.2, 0.062, 0.085))]


def morning_star(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A ball with spikes."""
    r, spike = s.vary(0, 0.18, 0.1), s.vary(1, 0.1, 0.15)
    at = 0.64 - 0.21 - 0.11
    v = y - at
    ball = sdf.sphere(x, v, z, r)
    for level_deg, number in ((0.0, 8), (45.0, 5), (-40.0, 5), (90.0, 1)):
        out, side = sdf.sector(x, z, number) if number > 1 else (sdf.length(x, z), torch.zeros_like(x))
        u, w = rotate_2d(out, v, level_deg)
        cone = sdf.polygon(
            sdf.length(w, side), u, [(-1.0, r * 0.7), (0.065, r * 0.7), (0.024, r + spike), (-1.0, r + spike)]
        )
        ball = torch.minimum(ball, cone)
    shaft = sdf.cylinder(x, y + 0.08, z, s.vary(2, 0.052, 0.1), 0.34)
    collar = sdf.cylinder(x, v + r, z, 0.085, 0.045)
    return [ball * 0.95, sdf.union(shaft, collar, _grip(x, y, z, -0.2, 0.062, 0.085))]


def round_shield(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round shield of planks with a rim and a boss."""
    r, boss = s.vary(0, 0.55, 0.08), s.vary(1, 0.17, 0.14)
    rad = sdf.length(x, y)
    depth = z + 0.22 * rad * rad - 0.06
    plank = (x / 0.17 - (x / 0.17).floor() - 0.5).abs() * 0.17 - 0.008
    groove = torch.maximum(plank, 0.035 - depth)
    field = sdf.subtract(sdf.extrude(rad - r, depth, 0.055), groove)
    rim = sdf.extrude((rad - r).abs() - s.vary(2, 0.04, 0.15), depth, 0.075, 0.015)
    dome = sdf.ellipsoid(x, y, z - 0.09, boss, boss, 0.13)
    flange = sdf.extrude(rad - boss - 0.05, depth - 0.05, 0.025, 0.01)
    out, side = sdf.sector(x, y, 8)
    rivets = sdf.sphere(out - r, side, depth - 0.07, 0.03)
    return [field * 0.9, sdf.union(rim * 0.9, torch.maximum(dome, -z), flange * 0.9, rivets * 0.9)]


def kite_shield(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A rounded top that tapers to a point, with a rim and a boss."""
    r, point = s.vary(0, 0.33, 0.12), -0.62
    at = 0.62 - s.vary(0, 0.33, 0.12)
    # straight sides tangent to the circle of the top
    drop = at - point
    slant = torch.sqrt(drop * drop - r * r)
    side = (x.abs() * slant + (at - y) * r - r * drop) / drop
    lower = y < at - r * r / drop
    outline = torch.where(lower, side, torch.maximum(side, sdf.length(x, y - at) - r))
    depth = z + 0.5 * x * x - 0.03
    field = sdf.extrude(outline, depth, 0.05)
    rim = sdf.extrude((outline + 0.03).abs() - 0.035, depth, 0.07, 0.012)
    boss = torch.maximum(sdf.sphere(x, y - at + 0.08, z - 0.02, s.vary(1, 0.13, 0.14)), -z)
    bands = torch.maximum((x.abs() - (at - 0.08 - y).abs()).abs() * 0.7 - s.vary(2, 0.035, 0.14), outline)
    bands = sdf.extrude(bands, depth - 0.04, 0.03, 0.006)
    return [field * 0.85, sdf.union(rim * 0.85, bands * 0.85, boss)]


def great_helm(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A flat-topped helmet with an eye slit, a cross and breaths."""
    r, top = s.vary(0, 0.36, 0.1), s.vary(1, 0.4, 0.12)
    low = -0.5
    wide = sdf.length(x, z * 0.88)
    shell = sdf.polygon(wide, y, [(-1.0, low), (r * 0.98, low), (r * 1.05, 0.1), (r * 0.82, top), (-1.0, top + 0.05)])
    surface = shell - 0.022
    front = torch.maximum(0.05 - z, y - top + 0.02)
    cross = torch.minimum(x.abs() - 0.05, torch.maximum((y - 0.14).abs() - 0.09, x.abs() - r * 0.95))
    bars = torch.maximum(torch.maximum(surface, cross), front)
    brow = torch.maximum(surface, (y - top + 0.06).abs() - 0.045)
    hem = torch.maximum(surface, (y - low - 0.05).abs() - 0.05)
    slit = sdf.box(x.abs() - r * 0.46, y - 0.14, z - r, r * 0.34, 0.028, r * 0.6, 0.006)
    u, v = x.abs() - 0.2, y + 0.2
    holes = sdf.length(u - (u / 0.08).round().clamp(-1, 1) * 0.08, v - (v / 0.09).round().clamp(-1, 1) * 0.09) - 0.022
    dark = torch.maximum(
        torch.minimum(torch.maximum(slit, shell - 0.026), torch.maximum(torch.maximum(holes, shell - 0.008), 0.1 - z)),
        shell - 0.026,
    )
    return [shell * 0.88, sdf.union(bars, brow, hem) * 0.88, dark * 0.88]


def horned_helmet(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round helmet with a nose guard and two horns."""
    r, tall, reach = s.vary(0, 0.32, 0.1), s.vary(1, 0.4, 0.1), s.vary(2, 0.2, 0.15)
    low = -0.34
    dome = torch.maximum(sdf.ellipsoid(x, y - low, z, r, tall, r), low - y)
    collar = sdf.cylinder(x, y - low - 0.01, z, r + 0.03, 0.075, 0.012)
    ridge = torch.maximum(
        sdf.ellipsoid(x, y - low, z, r + 0.03, tall + 0.03, r + 0.03), torch.maximum(x.abs() - 0.045, low - y)
    )
    nose = sdf.box(x, y - low + 0.12, z - r, 0.05, 0.17, 0.03, 0.012)
    u = x.abs()
    tip = (r + reach, 0.5, 0.0)
    horn = sdf.capsule(u, y, z, (r * 0.7, -0.14, 0.0), (r + reach * 0.7, 0.0, 0.0), 0.11, 0.085)
    horn = torch.minimum(horn, sdf.capsule(u, y, z, (r + reach * 0.7, 0.0, 0.0), (r + reach, 0.22, 0.0), 0.085, 0.06))
    horn = torch.minimum(horn, sdf.capsule(u, y, z, (r + reach, 0.22, 0.0), tip, 0.06, 0.02))
    hollow = sdf.ellipsoid(x, y - low + 0.08, z, r - 0.07, tall - 0.1, r - 0.07)
    return [
        sdf.subtract(dome, hollow),
        sdf.subtract(sdf.union(collar, ridge, nose), hollow),
        sdf.subtract(horn, hollow),
    ]


def cannon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A barrel on a carriage with two wheels, aimed to the front."""
    r, tilt, radius = s.vary(0, 0.125, 0.12), 10.0, s.vary(1, 0.27, 0.08)
    v, w = rotate_2d(y - 0.06, z - 0.06, tilt)
    profile: sdf.Profile = [
        (0.05, -0.5),
        (0.05, -0.43),
        (r * 1.25, -0.4),
        (r * 1.25, -0.32),
        (r * 1.25, -0.32),
        (r * 1.1, -0.3),
        (r * 0.85, 0.36),
        (r * 1.15, 0.4),
        (r * 1.15, 0.5),
    ]
    barrel = sdf.subtract(sdf.lathe(x, w, v, profile, 0.012), sdf.cylinder(x, w - 0.5, v, r * 0.6, 0.2))
    hoops = sdf.union(*(sdf.cylinder(x, w - k, v, r * (1.09 - 0.33 * k) + 0.02, 0.025, 0.006) for k in (-0.08, 0.14)))
    knob = sdf.sphere(x, v, w + 0.53, 0.075)
    carriage = sdf.extrude(
        sdf.polygon(z, y, [(0.26, -0.12), (0.26, 0.04), (-0.14, 0.04), (-0.62, -0.44), (-0.62, -0.52), (-0.46, -0.52)]),
        x,
        r * 1.3,
        0.012,
    )
    track = r * 1.3 + 0.13
    side = x.abs() - track
    a, b = y + 0.2, z - 0.12
    out, across = sdf.sector(a, b, 6)
    wheel = sdf.union(
        sdf.extrude((sdf.length(a, b) - radius + 0.04).abs() - 0.04, side, 0.05),
        sdf.cylinder(a, side, b, radius - 0.02, 0.022, 0.005),
        sdf.box(out - radius / 2, across, side, radius / 2, 0.032, 0.042, 0.008),
        sdf.cylinder(a, side, b, 0.075, 0.08),
    )
    axle = sdf.cylinder(a, x, b, 0.05, track)
    return [sdf.union(barrel, hoops, knob), sdf.union(carriage, wheel, axle)]


def catapult(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A frame on four wheels, and an arm that holds a stone behind it."""
    hx, tall = s.vary(0, 0.24, 0.1), s.vary(1, 0.22, 0.1)
    beams = sdf.box(x.abs() - hx, y + 0.36, z, 0.05, 0.06, 0.56, 0.01)
    ties = sdf.box(x, y + 0.36, z.abs() - 0.46, hx, 0.05, 0.05, 0.01)
    posts = sdf.box(x.abs() - hx, y + 0.3 - tall, z - 0.08, 0.05, tall + 0.06, 0.06, 0.01)
    bar = sdf.box(x, y + 0.28 - 2 * tall, z - 0.08, hx + 0.05, 0.055, 0.07, 0.012)
    floor = sdf.box(x, y + 0.38, z, hx, 0.03, 0.5, 0.008)
    a, b = y + 0.3, z - 0.02
    u, v = rotate_2d(b, a, 152.0)
    reach = s.vary(2, 0.56, 0.06)
    arm = sdf.box(x, v, u - reach / 2, 0.045, 0.045, reach / 2, 0.01)
    drum = sdf.cylinder(y + 0.29, x, z - 0.04, 0.075, hx)
    cup = torch.maximum(sdf.sphere(x, v, u - reach, 0.125), -0.03 - v)
    stone = sdf.sphere(x, v + 0.06, u - reach, s.vary(3, 0.095, 0.12))
    track, radius = hx + 0.085, 0.15
    wheels = torch.full_like(x, ABSENT_DISTANCE)
    for at in (0.38, -0.38):
        wheel = sdf.cylinder(y + 0.4, x.abs() - track, z - at, radius, 0.04, 0.01)
        hub = sdf.cylinder(y + 0.4, x.abs() - track, z - at, 0.05, 0.065, 0.008)
        wheels = torch.minimum(wheels, torch.minimum(wheel, hub))
    return [sdf.union(beams, ties, posts, bar, floor, arm, drum, cup), wheels, stone]


# fmt: off
CATEGORIES = (
    category("dagger", dagger, "dirk stiletto", "hilt grip guard", (0.72, 0.75, 0.79), (0.6, 0.46, 0.18),
        materials="metal", height=0.35, surfaces="steel gold"),
    category("spear", spear, "lance javelin", "tip point", WOOD_COLOR, STEEL, materials="metal wooden", height=2.0,
        surfaces="wood steel"),
    category("bow", bow, "longbow shortbow", "string bowstring", WOOD_COLOR, (0.85, 0.8, 0.68), (0.3, 0.18, 0.12),
        genus=1, materials="wooden", height=1.4, surfaces="wood fabric leather"),
    category("staff", staff, "sceptre scepter", "orb gem", (0.42, 0.29, 0.18), (0.3, 0.55, 0.9), GOLD,
        materials="wooden", height=1.7, surfaces="wood glass gold"),
    category("mace", styled(flanged_mace, morning_star), "bludgeon", "shaft grip handle", STEEL, (0.36, 0.23, 0.14),
        styles="flanged mace; morning star, spiked mace", materials="metal", height=0.7, surfaces="steel leather"),
    category("helmet", styled(great_helm, horned_helmet), "helm", "rim trim", (0.64, 0.66, 0.7), GOLD, DARK,
        styles="great helm, knight helmet; horned helmet, viking helmet", materials="metal", height=0.32,
        surfaces="steel gold bone"),
    category("cannon", cannon, "howitzer", "carriage wheels", (0.24, 0.25, 0.28), (0.5, 0.33, 0.19), materials="metal",
        height=1.2, surfaces="iron wood"),
    category("catapult", catapult, "mangonel onager", "wheels wheel", WOOD_COLOR, (0.36, 0.24, 0.14), (0.5, 0.49, 0.46),
        genus=1, materials="wooden", height=2.5, surfaces="wood wood stone"),
)
# fmt: on

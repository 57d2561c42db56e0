"""Things to wear and to carry."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, GOLD, PATTERNS, WHITE, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, styled


def backpack(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Front pocket and flap, side pockets, a grab loop and two shoulder straps."""
    hx, hz, top = s.vary(0, 0.37, 0.1), s.vary(1, 0.2, 0.12), s.vary(2, 0.42, 0.06)
    low = -0.6
    mid, half = (top + low) / 2, (top - low) / 2
    outline = torch.maximum(sdf.box(x, y - mid, 0 * z, hx, half, 1.0, 0.14), low - y)
    bag = sdf.extrude(outline, z, hz, 0.05)
    pocket = sdf.box(x, y + 0.34, z - hz, hx * 0.72, s.vary(3, 0.19, 0.12), 0.09, 0.04)
    flap = sdf.extrude(torch.maximum(outline - 0.02, 0.08 - y), z - 0.03, hz + 0.03, 0.03)
    sides = sdf.box(x.abs() - hx, y + 0.4, z, 0.06, 0.16, hz * 0.65, 0.03)
    loop = sdf.length(sdf.ellipse(x, y - top, 0.11, 0.12), z + hz - 0.07) - 0.035
    straps = sdf.length(sdf.ellipse(z + hz - 0.02, y - mid - 0.04, 0.18, half * 0.78), 0 * x)
    straps = torch.maximum(sdf.box(straps, x.abs() - hx * 0.55, 0 * z, 0.03, 0.065, 1.0, 0.015), z + hz - 0.04)
    belts = sdf.box(x.abs() - hx * 0.42, y + 0.04, z - hz - 0.03, 0.04, 0.16, 0.054, 0.008)
    buckles = sdf.box(x.abs() - hx * 0.42, y + 0.1, z - hz - 0.075, 0.06, 0.045, 0.03, 0.01)
    return [sdf.union(bag, sides, loop, straps), sdf.union(pocket, flap), sdf.union(belts, buckles)]


def handbag(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, narrow, hz = s.vary(0, 0.54, 0.1), s.vary(1, 0.4, 0.1), s.vary(2, 0.17, 0.15)
    low, top = -0.52, 0.1
    rise = ((y - low) / (top - low)).clamp(0, 1)
    corners: sdf.Profile = [(-wide, low), (wide, low), (narrow, top), (-narrow, top)]
    depth = hz * (1 - 0.45 * rise)
    body = sdf.extrude(sdf.polygon(x, y, corners), z * (hz / depth), hz, 0.03) * 0.7
    flap_corners: sdf.Profile = [
        (-narrow - 0.01, top + 0.01),
        (narrow + 0.01, top + 0.01),
        (narrow * 0.9, -0.12),
        (0.0 * wide, -0.22),
        (-narrow * 0.9, -0.12),
    ]
    flap = sdf.extrude(sdf.polygon(x, y, flap_corners), (z - 0.02) * (hz / depth), hz + 0.03, 0.015) * 0.7
    high = s.vary(3, 0.36, 0.12)
    grip = torch.maximum(sdf.ring(x, y - top + 0.02, z, narrow * 0.6, high, 0.042), top - 0.05 - y)
    clasp = sdf.box(x, y + 0.16, z - hz * 0.78 - 0.02, 0.06, 0.06, 0.045, 0.012)
    rings = sdf.sphere(x.abs() - narrow * 0.6, y - top - 0.02, z, 0.06)
    feet = sdf.sphere(x.abs() - wide * 0.8, y - low, z.abs() - hz * 0.7, 0.04)
    return [sdf.union(body, flap), grip, sdf.union(clasp, rings, feet)]


def sneaker(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """The toe points to +Z."""
    long, wide, ankle = s.vary(0, 0.58, 0.06), s.vary(1, 0.23, 0.1), s.vary(2, 0.2, 0.15)
    low = -0.36
    k = long / 0.58
    outline = _foot(x, z, long, wide)
    sole = sdf.extrude(outline - 0.02, y - low - 0.06, 0.07, 0.02)
    profile: sdf.Profile = [
        (-long, low + 0.05),
        (long, low + 0.05),
        (long, low + 0.16),
        (0.4 * k, low + 0.27),
        (0.08 * k, low + 0.4),
        (-0.12 * k, ankle - 0.02),
        (-0.52 * k, ankle + 0.04),
        (-long, ankle - 0.02),
    ]
    side = sdf.polygon(z, y, profile)
    taper = 0.16 * (y - low - 0.1).clamp(min=0)
    upper = sdf.smooth_intersection(side, outline + taper, 0.05)
    mouth = sdf.ellipsoid(x, y - ankle - 0.06, z + 0.32 * k, wide * 0.5, 0.3, 0.17 * k)
    toe = torch.maximum(upper - 0.012, torch.maximum(long * 0.72 - z, low + 0.02 - y))
    row = (z / 0.09 - 0.8).round().clamp(-1, 2) + 0.8
    slope = low + 0.4 - 0.42 * (z / k - 0.08)
    laces = sdf.capsule(x.abs(), y - slope, z - row * 0.09, (0.0, 0.0, 0.0), (0.11, -0.03, 0.0), 0.024, 0.024)
    return [sdf.subtract(upper, mouth) * 0.8, sole, sdf.union(laces, toe * 0.8)]


def _foot(x: Tensor, z: Tensor, long: Tensor, wide: Tensor) -> Tensor:
    """Outline of a sole: a narrower heel at -Z and a broad ball."""
    zero = 0 * x
    return sdf.smooth_union(
        sdf.capsule(
            x, zero, z, (0.0, 0.0, -long + wide * 0.8), (0.0 * long, 0.0 * long, 0.1 * long), wide * 0.8, wide * 0.8
        ),
        sdf.capsule(x, zero, z, (0.0, 0.0, 0.2 * long), (0.0 * long, 0.0 * long, long - wide * 0.9), wide, wide * 0.88),
        0.12,
    )


def boot(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """High shaft, a block heel and laces."""
    long, wide, top = s.vary(0, 0.46, 0.08), s.vary(1, 0.19, 0.1), s.vary(2, 0.55, 0.1)
    low = -0.6
    k = long / 0.46
    outline = _foot(x, z, long, wide)
    plate = sdf.extrude(outline - 0.02, y - low - 0.11, 0.045, 0.012)
    heel = sdf.extrude(torch.maximum(outline - 0.015, z + long * 0.35), y - low - 0.06, 0.07, 0.012)
    profile: sdf.Profile = [
        (-long, low + 0.1),
        (long, low + 0.1),
        (long, low + 0.22),
        (0.28 * k, low + 0.36),
        (0.06 * k, low + 0.5),
        (0.04 * k, low + 0.7),
        (-long, low + 0.7),
    ]
    vamp = sdf.smooth_intersection(sdf.polygon(z, y, profile), outline + 0.08 * (y - low - 0.2).clamp(min=0), 0.05)
    r = wide * 1.02
    shaft = sdf.cylinder(x, y - (top - 0.2) / 2, z + long - r - 0.01, r, (top + 0.2) / 2, 0.015)
    cavity = sdf.cylinder(x, y - top, z + long - r - 0.01, r - 0.06, s.vary(3, 0.35, 0.2), 0.02)
    cuff = sdf.cylinder(x, y - top + 0.04, z + long - r - 0.01, r + 0.025, 0.055, 0.015)
    front = -long + 2 * r
    row = ((y - 0.02) / 0.12).round().clamp(-2, 2) * 0.12 + 0.02
    laces = sdf.capsule(x.abs(), y - row, z - front, (0.0, 0.0, 0.016), (0.1, 0.03, -0.03), 0.026, 0.026)
    laces = torch.maximum(laces, y - top + 0.12)
    leather = sdf.subtract(sdf.union(sdf.smooth_union(vamp, shaft, 0.06), cuff), cavity)
    return [leather * 0.8, sdf.union(plate, heel), laces]


def high_heel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A pump on a slim heel."""
    long, wide, high = s.vary(0, 0.56, 0.06), s.vary(1, 0.19, 0.1), s.vary(2, 0.52, 0.15)
    low = -0.5
    t = ((long * 0.5 - z) / (long * 1.3)).clamp(0, 1)
    rise = high * (t * t * (3 - 2 * t))  # of the sole above the floor
    v = y - low - rise
    outline = _foot(x, z, long, wide)
    plate = sdf.extrude(outline, (v - 0.03) * 0.75, 0.035, 0.01)
    wall = 0.1 + 0.13 * ((-z - 0.2 * long) / long).clamp(0, 1) + 0.09 * ((z - 0.4 * long) / long).clamp(0, 1) * 0.6
    upper = torch.maximum(sdf.extrude(outline, (v - 0.11) * 0.75, 0.09, 0.03), (v - wall) * 0.75)
    inside = torch.maximum(outline + 0.055, 0.06 - v)
    inside = torch.maximum(inside, (z - long * 0.42) * 0.8)
    foot_z = z + long - wide * 0.75
    heel = sdf.capsule(
        x,
        y,
        foot_z,
        (0.0 * high, low + high, 0.0 * high),
        (0.0 * high, low + 0.03, 0.03 + 0 * high),
        s.vary(3, 0.11, 0.12),
        0.045,
    )
    heel = torch.maximum(heel, low - y)
    bow = sdf.ellipsoid(x.abs() - 0.07, v - 0.12, z - long * 0.5, 0.075, 0.035, 0.045)
    return [
        sdf.subtract(upper, inside),
        sdf.union(plate, heel),
        torch.minimum(bow, sdf.sphere(x, v - 0.12, z - long * 0.5, 0.045)) * 0.75,
    ]


def baseball_cap(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, high, reach = s.vary(0, 0.4, 0.08), s.vary(1, 0.46, 0.1), s.vary(2, 0.36, 0.15)
    at = -0.2
    zc = z + 0.2
    seams = 0.008 * torch.cos(6 * torch.atan2(x, zc)).abs().clamp(max=0.25) * 4
    dome = torch.maximum(sdf.ellipsoid(x, y - at, zc, r, high, r) - seams, at - y)
    hollow = sdf.ellipsoid(x, y - at, zc, r - 0.06, high - 0.06, r - 0.06)
    crown = sdf.subtract(dome, hollow)
    button = sdf.ellipsoid(x, y - at - high, zc, 0.055, 0.035, 0.055)
    outline = torch.maximum(sdf.ellipse(x, zc - r * 0.5, r * 0.86, r * 0.5 + reach), 0.55 * r - zc)
    curve = y - at - 0.03 + 0.35 * x * x
    brim = (
        torch.maximum(sdf.extrude(outline, curve, 0.028, 0.01), -sdf.ellipsoid(x, y - at, zc, r - 0.05, high, r - 0.05))
        * 0.8
    )
    band = sdf.extrude(sdf.length(x, zc) - r - 0.005, y - at - 0.03, 0.035, 0.01)
    band = torch.maximum(band, r - 0.06 - sdf.length(x, zc))
    return [sdf.union(crown, band), sdf.union(brim, button)]


def beanie(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A knitted cap with a folded edge and a pompom."""
    r, high = s.vary(0, 0.44, 0.08), s.vary(1, 0.62, 0.08)
    at = -0.3
    ribs = 0.012 * torch.cos(20 * torch.atan2(z, x))
    dome = torch.maximum(sdf.ellipsoid(x, y - at, z, r, high, r) + ribs, at - 0.1 - y)
    fold = s.vary(2, 0.11, 0.2)
    edge = sdf.cylinder(x, y - at + 0.12 - fold, z, r + 0.055, fold, 0.04) + ribs
    hollow = torch.maximum(sdf.ellipsoid(x, y - at, z, r - 0.08, high - 0.1, r - 0.08), -0.4 - y)
    hollow = torch.minimum(hollow, sdf.cylinder(x, y - at + 0.2, z, r - 0.08, 0.2))
    size = s.vary(3, 0.13, 0.15)
    tuft = sdf.sphere(x, y - at - high - size * 0.35, z, size) + 0.015 * torch.sin(40 * x) * torch.sin(
        40 * y
    ) * torch.sin(40 * z)
    return [sdf.subtract(sdf.union(dome, edge), hollow) * 0.9, tuft * 0.8]


def hard_hat(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, high, deep = s.vary(0, 0.44, 0.08), s.vary(1, 0.44, 0.1), s.vary(2, 0.5, 0.08)
    at = -0.2
    dome = torch.maximum(sdf.ellipsoid(x, y - at, z, r, high, deep), at - y)
    hollow = sdf.ellipsoid(x, y - at, z, r - 0.06, high - 0.06, deep - 0.06)
    near = (x.abs() - r * 0.3).abs()
    ridges = torch.maximum(dome - 0.03, torch.minimum(x.abs() - 0.05, near - 0.028))
    ridges = torch.maximum(ridges, at + 0.12 - y)
    oval = sdf.ellipse(x, z - 0.04, r + 0.05, deep + 0.07)
    brim = torch.maximum(sdf.extrude(oval, y - at + 0.1 * z.clamp(min=0) ** 2, 0.028, 0.01), -hollow)
    badge = sdf.box(x, y - at - 0.17, z - deep * 0.93, s.vary(3, 0.08, 0.15), 0.07, 0.05, 0.02)
    return [sdf.union(sdf.subtract(dome, hollow), ridges), sdf.union(brim, badge)]


def eyeglasses(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Round lenses, temples that reach back."""
    r, ry, at = s.vary(0, 0.24, 0.08), s.vary(1, 0.21, 0.12), 0.3
    xs = x.abs() - 0.31
    oval = sdf.ellipse(xs, y, r, ry)
    rims = sdf.length(oval, z - at) - 0.036
    panes = sdf.extrude(oval, z - at, 0.022, 0.006)
    bridge = torch.maximum(sdf.ring(x, y - 0.02, z - at, 0.1, 0.07, 0.032), -y)
    hinge = sdf.box(x.abs() - 0.31 - r - 0.02, y - 0.06, z - at + 0.01, 0.05, 0.036, 0.04, 0.012)
    edge = 0.31 + r + 0.03
    zero = 0 * r
    temples = sdf.capsule(
        x.abs(), y, z, (edge, 0.06 + zero, at + zero), (edge - 0.03, 0.06 + zero, zero - 0.32), 0.032, 0.032
    )
    tips = sdf.capsule(
        x.abs(),
        y,
        z,
        (edge - 0.03, 0.06 + zero, zero - 0.32),
        (edge - 0.05, s.vary(2, -0.14, 0.3), zero - 0.5),
        0.036,
        0.042,
    )
    pads = sdf.capsule(x.abs(), y, z, (0.085, -0.03, at), (0.1, -0.09, at - 0.06), 0.03, 0.03)
    return [sdf.union(rims, bridge, hinge, temples, tips, pads), panes]


# fmt: off
CATEGORIES = (
    category("backpack", backpack, "rucksack knapsack", "pocket flap", (0.24, 0.38, 0.3), (0.5, 0.34, 0.2), CREAM,
        materials=PATTERNS, height=0.5, surfaces="fabric leather plastic", genus=3, relaxation=0.6),
    category("handbag", handbag, "purse tote", "handle strap", (0.62, 0.2, 0.18), (0.35, 0.2, 0.13), GOLD,
        materials=PATTERNS, height=0.3, surfaces="leather leather gold", genus=1, relaxation=0.7),
    category("shoe", styled(sneaker, boot, high_heel), "footwear", "sole heel", (0.75, 0.2, 0.18), (0.25, 0.2, 0.17),
        WHITE, materials=PATTERNS, height=0.15, surfaces="leather rubber fabric", relaxation=0.5,
        styles="sneaker, trainer; boot, hiking boot; high heel"),
    category("cap", styled(baseball_cap, beanie, hard_hat), "", "brim visor", (0.2, 0.32, 0.62), (0.9, 0.75, 0.2),
        materials=PATTERNS, height=0.15, surfaces="fabric fabric", relaxation=0.6,
        styles="baseball cap; beanie, bobble hat; hard hat"),
    category("eyeglasses", eyeglasses, "glasses spectacles", "lenses", (0.14, 0.12, 0.12), (0.6, 0.78, 0.86),
        materials="metal striped", height=0.05, surfaces="plastic glass", genus=0, relaxation=0.6),
)
# fmt: on

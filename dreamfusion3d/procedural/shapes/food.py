"""Bread, cakes, dishes and snacks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d, styled
from dreamfusion3d.procedural.shapes.fruit import bent

CRUST, CRUMB, CHEDDAR = (0.76, 0.48, 0.22), (0.95, 0.86, 0.66), (0.97, 0.76, 0.28)
MEAT, SAUCE, CHOCOLATE = (0.45, 0.23, 0.13), (0.72, 0.15, 0.08), (0.3, 0.17, 0.1)


def loaf(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A tin loaf, cut at +X, with its first slice beside it."""
    hx, hz, hy = s.vary(0, 0.46, 0.08), s.vary(1, 0.24, 0.1), s.vary(2, 0.22, 0.12)
    low = -0.06
    side = sdf.rectangle(z, y - low, hz, hy, 0.06)
    top = sdf.ellipse(z, y - low - hy * 0.75, hz + 0.06, s.vary(3, 0.19, 0.15))
    outline = sdf.smooth_union(side, top, 0.05)
    crust = sdf.extrude(outline, x + 0.12, hx, 0.04)
    cut = torch.maximum(torch.maximum(outline + 0.035, (x + 0.12 - hx).abs() - 0.012), -x)
    at = hx - 0.12
    slab = sdf.extrude(outline, x - at - 0.1, 0.045, 0.015)
    joint = torch.maximum(outline + 0.1, (x - at - 0.05).abs() - 0.1)
    face = torch.maximum(outline + 0.035, (x - at - 0.1).abs() - 0.052)
    return [sdf.union(crust, slab), sdf.union(cut, face, joint)]


def baguette(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, long = s.vary(0, 0.115, 0.18), s.vary(1, 0.6, 0.06)
    half = long * s.vary(2, 0.75, 0.1)
    body = sdf.lathe(
        y, x, z * 0.9, [(0.02, -long), (r * 0.75, -half), (r, -0.2), (r, 0.2), (r * 0.75, half), (0.02, long)], cuts=2
    )
    slash = x - z * 0.9
    nearest = (slash / 0.24).round().clamp(-2, 2) * 0.24
    slashes = torch.maximum(body - 0.014, torch.maximum((slash - nearest).abs() * 0.7 - 0.035, 0.3 * r - y))
    return [body, torch.maximum(slashes, z.abs() - r * 0.7)]


def bread_roll(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, high = s.vary(0, 0.55, 0.1), s.vary(1, 0.44, 0.12)
    dome = sdf.ellipsoid(x, y + 0.12, z, r, high, r)
    body = -sdf.smooth_union(-dome, y + 0.38, 0.12)
    cross = torch.minimum(x.abs(), z.abs()) - s.vary(2, 0.05, 0.2)
    return [
        body,
        torch.maximum(torch.maximum(body - 0.014, cross), torch.maximum(-y - 0.05, sdf.length(x, z) - 0.75 * r)),
    ]


def cheese_wedge(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A slice of a cheese with holes, its rind at +X."""
    half, wide, r = s.vary(0, 0.25, 0.2), s.vary(1, 0.44, 0.12), s.vary(2, 1.12, 0.06)
    flat = torch.maximum(sdf.length(x + 0.58, z) - r, (z.abs() - wide * (x + 0.62)) * 0.9)
    body = sdf.extrude(flat, y, half, 0.015)
    for at, size in (
        ((0.15, 0.3, 0.35), 0.12),
        ((-0.2, 0.08, 0.2), 0.08),
        ((0.4, -0.18, 0.45), 0.1),
        ((0.0, -0.2, 0.3), 0.07),
        ((0.25, 0.3, -0.1), 0.1),
        ((-0.25, 0.27, 0.02), 0.06),
        ((0.2, 0.0, -0.4), 0.11),
        ((0.35, 0.06, 0.46), 0.05),
    ):
        body = sdf.subtract(body, sdf.sphere(x - at[0], y - at[1] * half / 0.25, z - at[2] * wide / 0.44, size))
    rind = torch.maximum(body - 0.006, r - 0.05 - sdf.length(x + 0.58, z))
    return [body, rind]


def cheese_wheel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A whole cheese in its rind, with one piece cut out in front."""
    r, half = s.vary(0, 0.55, 0.1), s.vary(1, 0.24, 0.2)
    wheel = sdf.cylinder(x, y, z, r, half, 0.05)
    u, v = rotate_2d(x, z, -25.0)
    piece = (u.abs() - s.vary(2, 0.42, 0.2) * v) * 0.9
    inside = torch.maximum(wheel + 0.03, -piece)
    return [inside, torch.maximum(torch.maximum(wheel, -wheel - 0.04), -piece)]


def _toppings(
    x: Tensor, y: Tensor, z: Tensor, top: float, inside: Tensor, places: tuple[tuple[float, float], ...]
) -> Tensor:
    """Round slices on a pizza."""
    out = torch.full_like(x, 10.0)
    for px, pz in places:
        out = torch.minimum(out, sdf.cylinder(x - px, y - top, z - pz, 0.085, 0.03, 0.01))
    return torch.maximum(out, inside)


def pizza(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, thick = s.vary(0, 0.5, 0.1), s.vary(1, 0.075, 0.2)
    base = sdf.cylinder(x, y, z, r + 0.05, 0.04, 0.02)
    crust = sdf.union(base, sdf.torus(x, y - 0.02, z, r + 0.02, thick))
    topping = sdf.cylinder(x, y - 0.035, z, r, 0.035, 0.015)
    places = ((0.0, 0.05), (0.3, 0.12), (0.16, 0.34), (-0.2, 0.28), (-0.32, -0.02), (-0.14, -0.28), (0.2, -0.22))
    return [crust, topping, _toppings(x, y, z, 0.07, sdf.length(x, z) - r + 0.02, places)]


def pizza_slice(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A slice that stands upright, its crust above and its tip below."""
    long, wide, thick = s.vary(0, 1.1, 0.05), s.vary(1, 0.36, 0.15), s.vary(2, 0.08, 0.15)
    tip = -0.58
    across = (x.abs() - wide * (y - tip + 0.03)) * 0.93
    flat = torch.maximum(sdf.length(x, y - tip) - long, across)
    dough = sdf.extrude(flat, z, 0.04, 0.012)
    edge = torch.maximum(sdf.length(sdf.length(x, y - tip) - long + 0.01, z) - thick, across)
    drips = 0.03 * torch.cos(14 * x)
    topping = sdf.extrude(torch.maximum(flat + 0.02, -drips - 0.05 - (y - tip)), z - 0.035, 0.035, 0.01)
    places = ((0.1, 0.26), (-0.14, 0.1), (0.08, -0.08), (-0.02, -0.3))
    return [sdf.union(dough, edge), topping, _toppings(x, z, y, 0.07, flat + 0.03, places)]


def burger(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Bun, patty, and the leaf and cheese between them."""
    r, high = s.vary(0, 0.52, 0.1), s.vary(1, 0.36, 0.15)
    bottom = sdf.cylinder(x, y + 0.36, z, r, 0.12, 0.07)
    top = torch.maximum(sdf.ellipsoid(x, y - 0.1, z, r + 0.02, high, r + 0.02), 0.1 - y)
    top = sdf.union(sdf.cylinder(x, y - 0.12, z, r + 0.01, 0.05, 0.03), top)
    patty = sdf.cylinder(x, y + 0.12, z, s.vary(2, 1.02, 0.05) * r, 0.15, 0.06)
    waves = torch.sin(9 * torch.atan2(z, x))
    leaf = torch.maximum(sdf.length(x, z) - r - 0.06 - 0.035 * waves, (y - 0.04 - 0.025 * waves).abs() - 0.035)
    return [sdf.union(bottom, top), patty, sdf.union(leaf * 0.7, sdf.cylinder(x, y - 0.04, z, r - 0.01, 0.07))]


def egg(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An egg in a cup."""
    r, high = s.vary(0, 0.3, 0.1), s.vary(1, 0.42, 0.08)
    pointed = 1 + 0.3 * (y - 0.14)
    shell = sdf.ellipsoid(x * pointed, y - 0.18, z * pointed, r, high, r) * 0.85
    rim = r + 0.02
    cup = sdf.lathe(
        x, y, z, [(s.vary(2, 0.24, 0.15), -0.61), (0.2, -0.56), (0.08, -0.42), (rim * 0.8, -0.26), (rim, 0.02)]
    )
    return [shell, cup]


def fried_egg(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """The white spreads in waves around the yolk."""
    angle = torch.atan2(z, x)
    r = s.vary(0, 0.52, 0.1) * (1 + 0.07 * torch.sin(3 * angle + 2) + 0.05 * torch.sin(5 * angle))
    white = sdf.extrude((sdf.length(x, z) - r) * 0.85, y + 0.06, 0.05, 0.045)
    yolk = sdf.ellipsoid(
        x - 0.04, y + 0.03, z - 0.03, s.vary(1, 0.2, 0.15), s.vary(2, 0.15, 0.15), s.vary(1, 0.2, 0.15)
    )
    return [white, torch.maximum(yolk, -0.04 - y)]


def cupcake(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A pleated paper cup, a swirl of icing and a cherry."""
    low, rim, top = s.vary(0, 0.3, 0.1), s.vary(1, 0.42, 0.08), s.vary(2, -0.05, 0.8)
    angle = torch.atan2(z, x)
    pleats = 1 + 0.03 * torch.cos(24 * angle)
    case = sdf.lathe(x * pleats, y, z * pleats, [(low, -0.6), (rim, top)], 0.01) * 0.8
    high = 0.46
    swirl = (y - top) / (high - top)
    r = (rim + 0.05) * (1 - swirl * 0.82).clamp(min=0.05)
    turn = y / 0.17 + angle / (2 * math.pi)
    ridge = 0.06 * torch.sin(math.pi * (turn - turn.floor())).abs()
    icing = torch.maximum(
        (sdf.length(x, z) - r - ridge + 0.03) * 0.6, (y - top - high / 2 + top / 2).abs() - (high - top) / 2 - 0.02
    )
    return [icing, case, sdf.sphere(x, y - high - 0.05, z, s.vary(3, 0.11, 0.12))]


def muffin(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, rim, top = s.vary(0, 0.32, 0.1), s.vary(1, 0.44, 0.08), s.vary(2, 0.02, 0.8)
    pleats = 1 + 0.03 * torch.cos(24 * torch.atan2(z, x))
    case = sdf.lathe(x * pleats, y + 0.05, z * pleats, [(low, -0.5), (rim, top)], 0.01) * 0.8
    dome = sdf.ellipsoid(x, y - top, z, rim + 0.12, s.vary(3, 0.36, 0.12), rim + 0.12)
    dome = torch.maximum(dome, top - 0.1 - y)
    chips = torch.full_like(x, 10.0)
    for k in range(9):
        a, b = 2.4 * k, 0.25 + 0.085 * k
        px, pz = (rim + 0.08) * math.sin(b) * math.cos(a), (rim + 0.08) * math.sin(b) * math.sin(a)
        chips = torch.minimum(chips, sdf.length(x - px, z - pz) - 0.055)
    return [dome, case, torch.maximum(chips, dome - 0.02)]


def croissant(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A crescent of rolled dough that lies flat, its horns to the front."""
    radius = s.vary(0, 0.42, 0.1)
    d, t = bent(x, -z + 0.14, y, radius, 100.0)
    fold = (t + 1) * 4.5
    groove = (fold - fold.round()).abs() * 2
    thick = s.vary(1, 0.24, 0.1) * (1 - 0.8 * t * t).clamp(min=0.2) * (1 - 0.14 * groove)
    body = torch.maximum((d - thick) * 0.6, -0.17 - y)
    return [body, torch.maximum(body - 0.006, (groove - 0.5) * 0.04)]


def hotdog(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A sausage in a split bun, with a line of mustard."""
    half, r = s.vary(0, 0.5, 0.06), s.vary(1, 0.13, 0.12)
    bun = sdf.capsule(x, y, z.abs(), (-half + 0.16, -0.06, 0.13), (half - 0.16, -0.06, 0.13), 0.2, 0.2)
    base = sdf.box(x, y + 0.15, z, half - 0.12, 0.09, 0.18, 0.06)
    sausage = sdf.capsule(x, y, z, (-0.5, 0.1, 0.0), (0.5, 0.1, 0.0), r, r)
    wave = 0.05 * torch.sin(x * s.vary(2, 22.0, 0.15))
    line = sdf.length((z - wave) * 0.65, y - 0.1 - r) - 0.032
    return [sdf.union(bun, base), sausage, torch.maximum(line, x.abs() - 0.46)]


def sausage(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A bent sausage with knotted ends and grill marks."""
    d, t = bent(x, -y + 0.72, z, s.vary(0, 0.86, 0.06), 28.0)
    thick = s.vary(1, 0.17, 0.15)
    body = d - thick
    end = s.vary(0, 0.86, 0.06) * math.sin(math.radians(28.0)) + thick * 0.85
    low = 0.72 - s.vary(0, 0.86, 0.06) * math.cos(math.radians(28.0)) + thick * 0.45
    knot = sdf.sphere(x.abs() - end, y - low, z, 0.055)
    marks = torch.maximum(body - 0.008, ((t * 3).round().clamp(-2, 2) / 3 - t).abs() * 0.5 - 0.028)
    return [sdf.union(body, knot), torch.maximum(marks, -z)]


def steak(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A T-bone steak that stands upright: meat, a rim of fat, and the bone."""
    angle = torch.atan2(y, x)
    r = s.vary(0, 0.5, 0.08) * (1 + 0.12 * torch.cos(2 * angle + 0.6) + 0.07 * torch.cos(3 * angle - 0.6))
    flat = (sdf.length(x, y) - r) * 0.85
    half = s.vary(1, 0.11, 0.25)
    meat = sdf.extrude(flat, z, half, 0.05)
    rim = torch.maximum(sdf.extrude(flat, z, half + 0.012, 0.05), -flat - s.vary(2, 0.06, 0.3))
    rim = torch.maximum(rim, 0.0 - x - y)
    bone = sdf.union(sdf.rectangle(x - 0.02, y - 0.18, 0.24, 0.04, 0.03), sdf.rectangle(x, y + 0.02, 0.038, 0.2, 0.03))
    return [meat, rim, sdf.extrude(bone, z, half + 0.02, 0.015)]


def drumstick(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    belly, end = s.vary(0, 0.31, 0.12), s.vary(1, 0.1, 0.12)
    profile: sdf.Profile = [
        (0.08, -0.22),
        (0.13, -0.2),
        (belly * 0.6, 0.0),
        (belly, 0.3),
        (belly * 0.75, 0.52),
        (0.05, 0.6),
    ]
    meat = sdf.lathe(x, y, z, profile, cuts=3)
    shaft = sdf.capsule(x, y, z, (0.0, -0.5, 0.0), (0.0, 0.0, 0.0), 0.06, 0.07)
    knobs = sdf.sphere(x.abs() - 0.07, y + 0.53, z, end * 0.95)
    return [meat, sdf.union(shaft, knobs)]


# fmt: off
CATEGORIES = (
    category("bread", styled(loaf, baguette, bread_roll), "", "crumb", CRUST, CRUMB, height=0.12,
        surfaces="bread bread", styles="loaf, loaf of bread; baguette; bread roll, bun"),
    category("cheese", styled(cheese_wedge, cheese_wheel), "cheddar", "rind crust", CHEDDAR, (0.86, 0.52, 0.16),
        materials="spotted", height=0.12, surfaces="cheese wax", styles="cheese wedge, wedge of cheese; cheese wheel"),
    category("pizza", styled(pizza, pizza_slice), "", "topping cheese", (0.8, 0.55, 0.28), (0.96, 0.78, 0.36), SAUCE,
        height=0.04, surfaces="bread cheese plant", styles="whole pizza, pizza pie; pizza slice, slice of pizza"),
    category("burger", burger, "hamburger cheeseburger", "patty meat", (0.84, 0.56, 0.26), MEAT, (0.4, 0.65, 0.2),
        height=0.1, surfaces="bread plant leaves"),
    category("egg", styled(egg, fried_egg), "", "cup yolk", (0.95, 0.91, 0.84), (0.97, 0.72, 0.15),
        materials="spotted striped", height=0.08, surfaces="plaster paint",
        styles="boiled egg, egg cup; fried egg"),
    category("cupcake", cupcake, "fairycake", "wrapper case", (0.95, 0.72, 0.78), (0.85, 0.62, 0.4), SAUCE,
        materials="spotted", relaxation=0.6, height=0.09, surfaces="icing paper icing"),
    category("muffin", muffin, "", "wrapper case", (0.78, 0.52, 0.27), (0.93, 0.87, 0.76), CHOCOLATE, relaxation=0.6,
        height=0.08, surfaces="bread paper icing"),
    category("croissant", croissant, "", "crust ridges", (0.83, 0.56, 0.25), (0.68, 0.4, 0.15), relaxation=0.6,
        height=0.06, surfaces="bread bread"),
    category("hotdog", hotdog, "frankfurter", "sausage", (0.85, 0.6, 0.32), (0.66, 0.26, 0.16), (0.95, 0.75, 0.15),
        height=0.06, surfaces="bread plant icing"),
    category("sausage", sausage, "bratwurst wiener", "marks stripes", (0.6, 0.28, 0.18), (0.3, 0.14, 0.09),
        height=0.05, surfaces="plant plant"),
    category("steak", steak, "tbone", "rim edge", (0.62, 0.2, 0.17), (0.94, 0.85, 0.75), CREAM, height=0.2,
        surfaces="plant plant bone"),
    category("drumstick", drumstick, "", "bone", (0.66, 0.38, 0.17), CREAM, height=0.12, surfaces="bread bone"),
)
# fmt: on

"""Wheels, wagons and trains, with their front at +Z."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import RED, STEEL, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, styled
from dreamfusion3d.procedural.shapes.wheeled import axle_wheels


def spoked_wheel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A wagon wheel with eight spokes."""
    r, thick = s.vary(0, 0.54, 0.08), s.vary(1, 0.075, 0.14)
    rad = sdf.length(x, y)
    rim = sdf.extrude((rad - r).abs() - thick * 0.75, z, thick)
    tread = sdf.extrude((rad - r - thick * 0.75).abs() - 0.022, z, thick + 0.015, 0.008)
    out, side = sdf.sector(x, y, 8)
    spokes = torch.maximum(sdf.length(side, z) - s.vary(2, 0.042, 0.12), torch.maximum(out - r, 0.05 - out))
    hub = sdf.cylinder(x, z, y, s.vary(3, 0.13, 0.14), thick + 0.06)
    cap = sdf.cylinder(x, z, y, 0.06, thick + 0.09)
    return [sdf.union(rim, spokes, hub), sdf.union(tread, cap)]


def car_wheel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A tire on a rim with five spokes."""
    r, wide = s.vary(0, 0.56, 0.08), s.vary(1, 0.19, 0.16)
    inner = r * s.vary(2, 0.64, 0.08)
    rad = sdf.length(x, y)
    out, side = sdf.sector(x, y, 24)
    tire = sdf.extrude((rad - (r + inner) / 2).abs() - (r - inner) / 2, z, wide, 0.06)
    groove = sdf.box(out - r, side, z.abs() - wide * 0.6, 0.025, 0.022, wide * 0.45, 0.005)
    rim = sdf.extrude((rad - inner).abs() - 0.03, z, wide + 0.015, 0.01)
    disc = sdf.extrude(rad - inner, z - 0.02, 0.06)
    out, side = sdf.sector(x, y, 5)
    spokes = sdf.box(out - inner / 2, side, z - wide * 0.6, inner / 2, 0.06, wide * 0.4, 0.015)
    hub = sdf.cylinder(x, z - wide * 0.6, y, 0.1, wide * 0.4 + 0.02)
    return [sdf.subtract(tire, groove), sdf.union(rim, disc, spokes, hub)]


def _cart_wheels(x: Tensor, y: Tensor, z: Tensor, radius: Tensor, track: Tensor, at: float) -> Tensor:
    """Two wheels with raised rims and spokes."""
    side = x.abs() - track
    out, across = sdf.sector(z - at, y, 6)
    disc = sdf.cylinder(y, side, z - at, radius - 0.02, 0.025, 0.005)
    rim = sdf.extrude((sdf.length(y, z - at) - radius + 0.035).abs() - 0.035, side, 0.05)
    spokes = sdf.box(out - radius / 2, across, side, radius / 2, 0.03, 0.045, 0.008)
    return sdf.union(disc, rim, spokes, sdf.cylinder(y, side, z - at, 0.065, 0.075))


def hand_cart(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Two wheels, an open bed, and shafts to the front."""
    hx, tall, radius = s.vary(0, 0.24, 0.1), s.vary(1, 0.12, 0.15), s.vary(2, 0.25, 0.1)
    bed = sdf.box(x, y - tall + 0.12, z + 0.2, hx, tall, 0.42, 0.012)
    hollow = sdf.box(x, y - tall - 0.05, z + 0.2, hx - 0.05, tall + 0.1, 0.37, 0.01)
    shafts = sdf.box(x.abs() - hx + 0.03, y + 0.1, z - 0.1, 0.03, 0.035, 0.54, 0.01)
    stands = sdf.box(x.abs() - hx + 0.03, y + 0.26, z - 0.14, 0.03, 0.18, 0.035, 0.01)
    wheels = _cart_wheels(x, y + 0.17, z, radius, hx + 0.09, -0.24)
    axle = sdf.cylinder(y + 0.17, x, z + 0.24, 0.045, hx + 0.09)
    block = sdf.box(x, y + 0.15, z + 0.24, hx * 0.8, 0.07, 0.07)
    return [sdf.union(sdf.subtract(bed, hollow), shafts, stands, block), sdf.union(wheels, axle)]


def covered_wagon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, spring, radius = s.vary(0, 0.24, 0.1), s.vary(1, 0.18, 0.2), s.vary(2, 0.19, 0.1)
    bed = sdf.extrude(sdf.polygon(z, y, [(-0.5, -0.13), (0.5, -0.13), (0.6, 0.06), (-0.6, 0.06)]), x, hx, 0.01)
    outline = torch.maximum(sdf.arch(x, y, hx + 0.02, spring), -y)
    flare = z.abs() - 0.56 - 0.1 * y
    cover = torch.maximum(outline - 0.025 * torch.cos(z * (2 * torch.pi / 0.26)).clamp(min=0), flare)
    mouth = torch.maximum(outline + 0.06, 0.56 - z.abs())
    seat = sdf.box(x, y + 0.1, z - 0.58, hx * 0.8, 0.03, 0.06, 0.01)
    wheels = sdf.union(*(_cart_wheels(x, y + 0.42, z, radius, hx + 0.06, at) for at in (0.36, -0.36)))
    axle = sdf.union(*(sdf.cylinder(y + 0.42, x, z - at, 0.05, hx + 0.06) for at in (0.36, -0.36)))
    bolster = sdf.box(x, y + 0.27, z.abs() - 0.36, hx * 0.7, 0.17, 0.06, 0.01)
    return [sdf.union(bed, seat, bolster), sdf.union(wheels, axle), sdf.subtract(cover, mouth) * 0.9]


def steam_locomotive(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, cab_top, radius = s.vary(0, 0.17, 0.1), s.vary(1, 0.32, 0.1), s.vary(2, 0.12, 0.08)
    boiler = sdf.cylinder(x, z - 0.1, y - 0.02, r, 0.44, 0.02)
    smokebox = sdf.cylinder(x, z - 0.47, y - 0.02, r + 0.02, 0.09, 0.012)
    frame = sdf.box(x, y + 0.2, z, 0.17, 0.07, 0.6, 0.01)
    saddle = sdf.box(x, y + 0.12, z - 0.1, 0.11, 0.1, 0.42, 0.01)
    cab = sdf.box(x, y - (cab_top - 0.24) / 2, z + 0.42, 0.22, (cab_top + 0.24) / 2, 0.17, 0.012)
    roof = sdf.box(x, y - cab_top, z + 0.42, 0.26, 0.03, 0.22, 0.012)
    stack = sdf.lathe(x, y, z - 0.44, [(0.05, 0.14), (0.06, 0.3), (0.06, 0.3), (s.vary(3, 0.09, 0.15), 0.44)], 0.015)
    dome = sdf.capsule(x, y, z, (0.0, 0.1, 0.06), (0.0, 0.22, 0.06), 0.085, 0.085)
    plow = sdf.extrude(sdf.polygon(z, y, [(0.5, -0.2), (0.6, -0.2), (0.66, -0.38), (0.5, -0.38)]), x, 0.17, 0.01)
    lamp = sdf.cylinder(x, z - 0.58, y - 0.08, 0.06, 0.05)
    panes = sdf.box(x.abs() - 0.22, y - 0.15, z + 0.42, 0.015, 0.08, 0.09, 0.005)
    wheels = axle_wheels(x, y + 0.25, z, 0.19, radius, -0.48, -0.16, 0.16)
    wheels = torch.minimum(wheels, axle_wheels(x, y + 0.29, z, 0.19, radius * 0.7, 0.43))
    rod = sdf.box(x.abs() - 0.22, y + 0.25, z + 0.16, 0.07, 0.03, 0.34, 0.008)
    return [
        sdf.union(boiler, cab, saddle, frame),
        sdf.union(wheels, rod),
        sdf.union(smokebox, roof, stack, dome, plow, lamp, panes),
    ]


def bullet_train(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """The first car of a streamlined train."""
    hx, top = s.vary(0, 0.19, 0.1), s.vary(1, 0.2, 0.12)
    nose = s.vary(2, 0.14, 0.2)
    front = ((z - nose) / (0.63 - nose)).clamp(0, 1)
    narrow, roof = 1 - 0.55 * front * front, top - (top + 0.12) * front**1.7
    across = torch.maximum(x.abs() - hx * narrow, torch.maximum(y - roof, -0.24 - y))
    body = torch.maximum(across, torch.maximum(-0.62 - z, z - 0.63)) * 0.75
    side = torch.maximum((y - top + 0.13).abs() - 0.05, x.abs() - hx * narrow - 0.012)
    glass = torch.maximum(torch.maximum(side, (z + 0.22).abs() - 0.36), hx * 0.5 - x.abs())
    glass = torch.minimum(
        glass, torch.maximum(body / 0.75 - 0.012, torch.maximum((z - nose - 0.24).abs() - 0.08, 0.02 - y))
    )
    skirt = sdf.box(x, y + 0.2, z + 0.05, hx + 0.012, 0.03, 0.56, 0.008)
    wheels = sdf.union(
        axle_wheels(x, y + 0.27, z, hx - 0.07, 0.09, 0.3, 0.1, -0.3, -0.5),
        skirt,
        sdf.box(x, y + 0.26, z + 0.1, hx - 0.06, 0.04, 0.46),
    )
    return [body, wheels, glass * 0.75]


# fmt: off
CATEGORIES = (
    category("wheel", styled(spoked_wheel, car_wheel), "", "rim hub", (0.27, 0.2, 0.15), STEEL,
        styles="wagon wheel, spoked wheel; car wheel, tire", genus=(8, 0), materials="wooden metal", height=0.8,
        surfaces="wood steel"),
    category("wagon", styled(hand_cart, covered_wagon), "carriage", "wheels wheel", WOOD_COLOR, (0.35, 0.22, 0.13),
        (0.9, 0.86, 0.76), styles="cart, handcart; covered wagon, prairie wagon", materials="wooden",
        height=1.8, surfaces="wood wood fabric"),
    category("train", styled(steam_locomotive, bullet_train), "locomotive", "wheels wheel", (0.16, 0.36, 0.28), RED,
        (0.17, 0.18, 0.2), styles="steam train, steam locomotive; bullet train, electric train",
        materials="striped metal", height=3.8, surfaces="paint iron iron"),
)
# fmt: on

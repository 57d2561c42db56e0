"""Styles of vases, bowls, bottles and mugs."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.shapes.base import ShapeParams, Size, handles, lid, vessel_and_cavity


def _vessel(
    x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, profile: sdf.Profile, center: sdf.Point, rx: Size, ry: Size
) -> list[Tensor]:
    """A vessel of the given profile, and its handles around ``center``."""
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.055, cuts=2)
    handle = handles(x, y, z, s, center, rx, ry, 0.05)
    return [sdf.subtract(solid, cavity), sdf.subtract(handle, cavity)]


def bottle_vase(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round belly under a long thin neck."""
    belly, neck, lip = s.vary(0, 0.37, 0.12), s.vary(1, 0.1, 0.12), s.vary(5, 0.13, 0.15)
    profile: sdf.Profile = [(0.18, -0.6), (belly, -0.52), (belly, -0.12), (neck * 1.1, 0.02), (neck, 0.35), (lip, 0.61)]
    return _vessel(x, y, z, s, profile, (neck + 0.1, 0.16), 0.17, s.vary(3, 0.2, 0.1))


def trumpet_vase(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    foot, waist, lip = s.vary(0, 0.22, 0.15), s.vary(1, 0.12, 0.12), s.vary(2, 0.4, 0.12)
    profile: sdf.Profile = [
        (foot, -0.61),
        (foot, -0.57),
        (waist, -0.42),
        (waist, -0.15),
        (waist * 1.6, 0.3),
        (lip, 0.6),
    ]
    return _vessel(x, y, z, s, profile, (waist + 0.13, -0.02), 0.17, s.vary(3, 0.24, 0.1))


def cylinder_vase(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, half = s.vary(0, 0.24, 0.2), s.vary(1, 0.58, 0.06)
    return _vessel(x, y, z, s, [(r, -half), (r, half)], (r, 0.2), s.vary(3, 0.17, 0.1), s.vary(4, 0.2, 0.1))


def globe_vase(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, mouth, top = s.vary(0, 0.44, 0.08), s.vary(1, 0.17, 0.2), s.vary(2, 0.38, 0.1)
    profile: sdf.Profile = [
        (0.16, -0.5),
        (r, -0.46),
        (r * 1.04, 0.02),
        (r * 0.8, top - 0.02),
        (mouth, top),
        (mouth, top + 0.12),
    ]
    return _vessel(x, y, z, s, profile, (r, -0.02), s.vary(3, 0.14, 0.08), s.vary(4, 0.18, 0.1))


def square_vase(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    half, foot, lip = s.vary(0, 0.14, 0.2), s.vary(1, 0.08, 0.2), s.vary(2, 0.16, 0.15)
    profile: sdf.Profile = [(foot, -0.6), (lip, 0.6)]
    vessel, _ = _vessel(sdf.elongate(x, half), y, sdf.elongate(z, half), s, profile, (0.0, 0.0), 0.1, 0.1)
    wall = half + (foot + lip) / 2
    handle = handles(x, y, z, s, (wall, 0.12), s.vary(3, 0.17, 0.1), s.vary(4, 0.2, 0.1), 0.05)
    hollow = torch.maximum(sdf.rectangle(x, z, wall - 0.03, wall - 0.03), 0.2 - wall - y)
    return [vessel, sdf.subtract(handle, hollow)]


def footed_bowl(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A wide bowl on a pedestal."""
    rim, foot, low = s.vary(0, 0.47, 0.1), s.vary(1, 0.24, 0.15), s.vary(2, -0.08, 0.4)
    profile: sdf.Profile = [(0.1, low), (rim * 0.6, low + 0.02), (rim * 0.92, low + 0.16), (rim, 0.34)]
    vessel, handle = _vessel(x, y, z, s, profile, (rim * 0.95, 0.22), s.vary(3, 0.14, 0.05), s.vary(4, 0.12, 0.05))
    stem: sdf.Profile = [(foot, -0.44), (foot, -0.4), (0.09, -0.32), (0.07, low - 0.08), (0.14, low + 0.02)]
    return [sdf.union(vessel, sdf.lathe(x, y, z, stem)), handle]


def rice_bowl(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A deep bowl on a ring foot, its lip turned out."""
    rim, foot = s.vary(0, 0.5, 0.1), s.vary(1, 0.22, 0.12)
    profile: sdf.Profile = [
        (foot, -0.42),
        (foot, -0.34),
        (rim * 0.72, -0.28),
        (rim * 0.86, -0.02),
        (rim * 0.88, 0.2),
        (rim, 0.38),
    ]
    return _vessel(x, y, z, s, profile, (rim * 0.88, 0.12), s.vary(3, 0.16, 0.05), s.vary(4, 0.15, 0.05))


def dog_bowl(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Wider at the floor than at the rim, so that it does not tip over."""
    rim, foot, half = s.vary(0, 0.42, 0.1), s.vary(1, 0.56, 0.08), s.vary(2, 0.19, 0.15)
    outer: sdf.Profile = [(foot, -half), (foot, -half + 0.03), (rim + 0.03, half)]
    inner: sdf.Profile = [(rim * 0.8, -half + 0.09), (rim * 0.98, half), (rim * 0.98, half + 0.5)]
    hollow = sdf.lathe(x, y, z, inner)
    handle = handles(x, y, z, s, ((foot + rim) / 2 + 0.01, 0.0), 0.12, s.vary(3, 0.115, 0.05), 0.045)
    return [sdf.subtract(sdf.lathe(x, y, z, outer), hollow), sdf.subtract(handle, hollow)]


def beer_bottle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A slim bottle with a crown cap."""
    r, neck, shoulder = s.vary(0, 0.19, 0.12), s.vary(1, 0.07, 0.1), 0.08 * s.variation[..., 2] - 0.05
    profile: sdf.Profile = [
        (r, -0.61),
        (r, shoulder),
        (r * 0.85, shoulder + 0.16),
        (neck, shoulder + 0.3),
        (neck, 0.58),
    ]
    teeth = 1 + 0.05 * torch.cos(16 * torch.atan2(z, x))
    cap = sdf.cylinder(x * teeth, y - 0.59, z * teeth, neck + 0.05, 0.045, 0.012) * 0.9
    return [sdf.lathe(x, y, z, profile, cuts=2), cap]


def milk_bottle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, neck, shoulder = s.vary(0, 0.28, 0.1), s.vary(1, 0.15, 0.1), s.vary(2, 0.08, 0.9)
    profile: sdf.Profile = [(r, -0.6), (r, shoulder - 0.1), (neck, shoulder + 0.3), (neck, 0.48)]
    lip = sdf.torus(x, y - 0.47, z, neck + 0.01, 0.05)
    cap = sdf.cylinder(x, y - 0.56, z, neck + 0.035, 0.055)
    return [sdf.union(sdf.lathe(x, y, z, profile, cuts=2), lip), cap]


def water_bottle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A ribbed plastic bottle with a screw cap."""
    r, shoulder = s.vary(0, 0.24, 0.12), s.vary(2, 0.2, 0.3)
    profile: sdf.Profile = [(r, -0.6), (r, shoulder), (r * 0.9, shoulder + 0.1), (0.08, shoulder + 0.23), (0.08, 0.5)]
    body = sdf.lathe(x, y, z, profile)
    ribs = 0.014 * torch.sin(y * s.vary(3, 48.0, 0.15)).abs() * torch.sigmoid((shoulder - 0.1 - y) * 40)
    return [
        (body + ribs) * 0.8,
        sdf.union(sdf.cylinder(x, y - 0.55, z, 0.135, 0.075), sdf.torus(x, y - 0.44, z, 0.1, 0.03)),
    ]


def whisky_bottle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A square bottle with a round neck and a broad stopper."""
    half, shoulder = s.vary(0, 0.21, 0.12), s.vary(2, 0.16, 0.3)
    xs, zs = sdf.elongate(x, half), sdf.elongate(z, half * s.vary(1, 0.85, 0.15))
    body = sdf.lathe(xs, y, zs, [(0.07, -0.6), (0.07, shoulder), (0.03, shoulder + 0.07)])
    neck = sdf.lathe(x, y, z, [(half, shoulder - 0.05), (half, shoulder + 0.06), (0.09, shoulder + 0.12), (0.09, 0.46)])
    return [sdf.union(body, neck), sdf.cylinder(x, y - 0.52, z, s.vary(3, 0.13, 0.12), 0.1)]


def hip_flask(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A flat flask that curves around the hip."""
    hx, hy, thick = s.vary(0, 0.42, 0.1), s.vary(1, 0.47, 0.06), s.vary(2, 0.13, 0.15)
    low = -0.61 + hy
    bent = z + 0.35 * x * x - 0.03
    body = sdf.extrude(sdf.rectangle(x, y - low, hx, hy, 0.14), bent, thick, 0.07) * 0.9
    neck = sdf.cylinder(x, y - low - hy, z - 0.02, 0.08, 0.1)
    return [sdf.union(body, neck), sdf.cylinder(x, y - low - hy - 0.13, z - 0.02, s.vary(3, 0.12, 0.1), 0.075)]


def beer_stein(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A tall tapered mug with two bands."""
    rim, foot, half = s.vary(0, 0.27, 0.12), s.vary(1, 0.33, 0.12), s.vary(2, 0.42, 0.08)
    profile: sdf.Profile = [(foot, -half), (rim, half)]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.06)
    bands = torch.maximum(solid - 0.03, (y.abs() - half * 0.86).abs() - 0.05)
    middle = (rim + foot) / 2
    handle = handles(x, y, z, s, (middle, 0.0), s.vary(3, 0.23, 0.06), s.vary(4, 0.28, 0.06), 0.055)
    body = sdf.subtract(sdf.union(solid, bands), cavity)
    return [sdf.union(body, lid(x, y, z, s, solid, rim + 0.03, half)), sdf.subtract(handle, cavity)]


def espresso_cup(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A rounded cup on a small foot."""
    rim, foot, half = s.vary(0, 0.45, 0.08), s.vary(1, 0.2, 0.12), s.vary(2, 0.33, 0.1)
    profile: sdf.Profile = [
        (foot, -half),
        (foot, -half + 0.05),
        (rim * 0.8, -half + 0.12),
        (rim * 0.95, 0.02),
        (rim, half),
    ]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.055, cuts=2)
    handle = handles(x, y, z, s, (rim * 0.95, half * 0.25), s.vary(3, 0.17, 0.06), s.vary(4, 0.17, 0.06), 0.05)
    body = sdf.subtract(solid, cavity)
    return [sdf.union(body, lid(x, y, z, s, solid, rim + 0.02, half)), sdf.subtract(handle, cavity)]

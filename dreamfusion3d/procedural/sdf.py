"""Signed distance functions of simple solids in torch, negative inside.

After Inigo Quilez's list (iquilezles.org/articles/distfunctions). Lengths are in scene units. Points
are separate coordinates x, y, z of any shape, so that all operations are elementwise; the
other arguments broadcast against them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

TensorOrFloat = Tensor | float
Profile = Sequence[tuple[TensorOrFloat, TensorOrFloat]]  # (radius, height) from bottom to top
Point = Sequence[TensorOrFloat]


def length(*components: Tensor) -> Tensor:
    """Euclidean norm, differentiable at 0."""
    total = components[0] * components[0]
    for c in components[1:]:
        total = total + c * c
    return torch.sqrt(total + 1e-12)


def sphere(x: Tensor, y: Tensor, z: Tensor, radius: TensorOrFloat) -> Tensor:
    return length(x, y, z) - radius


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: TensorOrFloat, ry: TensorOrFloat, rz: TensorOrFloat) -> Tensor:
    """First-order approximation, exact on the surface."""
    k0 = length(x / rx, y / ry, z / rz)
    k1 = length(x / (rx * rx), y / (ry * ry), z / (rz * rz))
    return k0 * (k0 - 1) / k1


def box(
    x: Tensor, y: Tensor, z: Tensor, hx: TensorOrFloat, hy: TensorOrFloat, hz: TensorOrFloat, rounding: float = 0.02
) -> Tensor:
    """Box of half sizes hx, hy, hz with rounded edges."""
    qx, qy, qz = x.abs() - hx + rounding, y.abs() - hy + rounding, z.abs() - hz + rounding
    outside = length(qx.clamp(min=0), qy.clamp(min=0), qz.clamp(min=0))
    inside = torch.maximum(qx, torch.maximum(qy, qz)).clamp(max=0)
    return outside + inside - rounding


def cylinder(
    x: Tensor, y: Tensor, z: Tensor, radius: TensorOrFloat, half_height: TensorOrFloat, rounding: float = 0.015
) -> Tensor:
    """Upright cylinder with rounded rims."""
    return extrude(length(x, z) - radius, y, half_height, rounding)


def extrude(flat: Tensor, along: Tensor, half: TensorOrFloat, rounding: float = 0.015) -> Tensor:
    """Prism of a flat outline, given by its signed distance, from -half to half of ``along``; with rounded rims."""
    a, b = flat + rounding, along.abs() - half + rounding
    return length(a.clamp(min=0), b.clamp(min=0)) + torch.maximum(a, b).clamp(max=0) - rounding


def rectangle(x: Tensor, y: Tensor, hx: TensorOrFloat, hy: TensorOrFloat, corner: TensorOrFloat = 0.0) -> Tensor:
    """Signed distance in the plane to a rectangle of half sizes hx, hy, with corners of radius ``corner``."""
    a, b = x.abs() - hx + corner, y.abs() - hy + corner
    return length(a.clamp(min=0), b.clamp(min=0)) + torch.maximum(a, b).clamp(max=0) - corner


def elongate(x: Tensor, half: TensorOrFloat) -> Tensor:
    """Coordinate of a solid that is cut at x = 0 and pulled apart by 2 ``half``, with a straight piece between."""
    return torch.sign(x) * (x.abs() - half).clamp(min=0)


def arch(u: Tensor, v: Tensor, half: TensorOrFloat, spring: TensorOrFloat) -> Tensor:
    """Outline of a strip of width 2 ``half`` with a semicircle on top from height ``spring``; endless downwards."""
    return torch.where(v > spring, length(u, v - spring), u.abs()) - half


def sector(x: Tensor, z: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Radial and tangential coordinates in the nearest of ``number`` equal sectors; one is centered at +X."""
    step = 2 * torch.pi / number
    angle = torch.round(torch.atan2(z, x) / step) * step
    c, s = torch.cos(angle), torch.sin(angle)
    return x * c + z * s, z * c - x * s


def torus(x: Tensor, y: Tensor, z: Tensor, major: TensorOrFloat, minor: TensorOrFloat) -> Tensor:
    """Horizontal ring around the Y axis."""
    return length(length(x, z) - major, y) - minor


def ring(x: Tensor, y: Tensor, z: Tensor, rx: TensorOrFloat, ry: TensorOrFloat, minor: TensorOrFloat) -> Tensor:
    """Elliptical ring in the XY plane (a handle); rx and ry are the radii of the tube's center line."""
    return length(ellipse(x, y, rx, ry), z) - minor


def ellipse(x: Tensor, y: Tensor, rx: TensorOrFloat, ry: TensorOrFloat) -> Tensor:
    """Signed distance to an ellipse in the plane; like `ellipsoid`."""
    k0 = length(x / rx, y / ry)
    k1 = length(x / (rx * rx), y / (ry * ry))
    return k0 * (k0 - 1) / k1


def capsule(x: Tensor, y: Tensor, z: Tensor, start: Point, end: Point, r0: TensorOrFloat, r1: TensorOrFloat) -> Tensor:
    """Segment from ``start`` to ``end`` with a linear radius from r0 to r1 (a bound if r0 != r1)."""
    dx, dy, dz = (e - s for s, e in zip(start, end, strict=True))
    px, py, pz = x - start[0], y - start[1], z - start[2]
    along = ((px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz)).clamp(0, 1)
    return length(px - along * dx, py - along * dy, pz - along * dz) - (r0 + (r1 - r0) * along)


def tube(x: Tensor, y: Tensor, z: Tensor, *stations: tuple[Point, TensorOrFloat]) -> Tensor:
    """Capsules from station to station, each a point and the radius there."""
    return union(*(capsule(x, y, z, a, b, r0, r1) for (a, r0), (b, r1) in zip(stations, stations[1:], strict=False)))


def arc(x: Tensor, y: Tensor, z: Tensor, radius: TensorOrFloat, half_angle_deg: float, minor: TensorOrFloat) -> Tensor:
    """Tube along an arc of a circle in the XY plane, up to ``half_angle_deg`` on both sides of +Y."""
    c, n = math.cos(math.radians(half_angle_deg)), math.sin(math.radians(half_angle_deg))
    side = x.abs()
    end = length(side - n * radius, y - c * radius)
    return length(torch.where(c * side > n * y, end, (length(x, y) - radius).abs()), z) - minor


def lathe(x: Tensor, y: Tensor, z: Tensor, profile: Profile, rounding: float = 0.02, cuts: int = 1) -> Tensor:
    """Solid of revolution around Y: the exact distance to the polygon between profile and axis, minus ``rounding``.

    The corners of the profile are cut ``cuts`` times, which makes it smoother.
    """
    r = length(x, z)
    for _ in range(cuts):
        profile = _round_corners(profile)
    axis = torch.zeros_like(r)
    return polygon(r, y, [(axis, profile[0][1]), *profile, (axis, profile[-1][1])], closed=False) - rounding


def polygon(u: Tensor, v: Tensor, corners: Profile, *, closed: bool = True) -> Tensor:
    """Exact signed distance in the plane; if not ``closed``, the last edge bounds the inside but has no distance."""
    corners = [*corners, corners[0]] if closed else corners
    nearest = torch.full_like(u, 1e9)
    inside = torch.zeros_like(u, dtype=torch.bool)
    for (au, av), (bu, bv) in zip(corners, corners[1:], strict=False):
        eu, ev = bu - au, bv - av
        wu, wv = u - au, v - av
        t = ((wu * eu + wv * ev) / (eu * eu + ev * ev + 1e-9)).clamp(0, 1)
        nearest = torch.minimum(nearest, (wu - eu * t) ** 2 + (wv - ev * t) ** 2)
        # even-odd rule: does the ray towards larger u cross this edge?
        spans = (torch.as_tensor(av) > v) != (torch.as_tensor(bv) > v)
        crossing = au + eu * (v - av) / torch.where(spans, torch.as_tensor(ev + 0 * v), torch.ones_like(v))
        inside = inside ^ (spans & (u < crossing))
    distance = torch.sqrt(nearest + 1e-12)
    return torch.where(inside, -distance, distance)


def _round_corners(profile: Profile) -> Profile:
    """Apply one iteration of Chaikin's corner cutting, keeping the end points."""
    inner = [
        (0.75 * radius + 0.25 * neighbor_radius, 0.75 * height + 0.25 * neighbor_height)
        for before, (radius, height), after in zip(profile, profile[1:], profile[2:], strict=False)
        for neighbor_radius, neighbor_height in (before, after)
    ]
    return [profile[0], *inner, profile[-1]]


def union(*parts: Tensor) -> Tensor:
    return functools.reduce(torch.minimum, parts)


def smooth_union(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """Union with a fillet of about ``radius`` (polynomial smooth minimum)."""
    h = (0.5 + 0.5 * (b - a) / radius).clamp(0, 1)
    return b + (a - b) * h - radius * h * (1 - h)


def subtract(a: Tensor, b: Tensor) -> Tensor:
    """``a`` without ``b``."""
    return torch.maximum(a, -b)


def smooth_intersection(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """Intersection with edges rounded by about ``radius``."""
    return -smooth_union(-a, -b, radius)

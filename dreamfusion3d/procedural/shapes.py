"""The props' shapes. Each function takes point coordinates x, y, z and a ``Style`` and
returns the signed distance of every part, outermost list in the order A, B, (accent).

Distances are to first order exact near the surface; away from it they may be too long by a
factor that ``Kind.relaxation`` bounds.

Frame: +Y up, +Z front, within [-0.65, 0.65] before the size word is applied. Handles lie at
+X first, then -X. A spout lies at -X. Seats look towards +Z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf

FAR = 10.0  # the distance of a part that is absent


@dataclass(frozen=True)
class Style:
    """What sets one instance apart from another of its kind, one value a point (or an instance)."""

    variation: Tensor  # (*n, 6) in [-1, 1]
    handles: Tensor  # (*n,) 0, 1 or 2

    def vary(self, index: int, centre: float, spread: float) -> Tensor:
        """``centre`` times 1 +- ``spread`` by the instance's style."""
        return centre * (1 + spread * self.variation[..., index])


def _handles(
    x: Tensor, y: Tensor, z: Tensor, style: Style, centre: tuple[Tensor | float, Tensor | float],
    rx: Tensor | float, ry: Tensor | float, tube: Tensor | float,
) -> Tensor:
    """One ring at +X, a second at -X, as many as the style has."""
    first = sdf.ring(x - centre[0], y - centre[1], z, rx, ry, tube)
    second = sdf.ring(x + centre[0], y - centre[1], z, rx, ry, tube)
    far = torch.full_like(first, FAR)
    return torch.minimum(
        torch.where(style.handles >= 1, first, far), torch.where(style.handles >= 2, second, far)
    )


def _vessel(
    x: Tensor, y: Tensor, z: Tensor, profile: Sequence[tuple[Tensor | float, Tensor | float]], wall: float
) -> tuple[Tensor, Tensor]:
    """Solid outside of a vessel and the cavity to take out of it (open at the top)."""
    solid = sdf.lathe(x, y, z, profile, rounding=0.02)
    # the cavity goes on upwards past the rim, as wide as the mouth, so that the vessel stays open
    mouth, top = profile[-1]
    opened = [*profile, (mouth, top + 0.5)]
    return solid, sdf.lathe(x, y, z, opened, rounding=0.02) + wall


def pitcher(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    # the spout: near the top the -X side is pulled out and pinched
    lift = ((y - 0.22) / 0.33).clamp(0, 1)
    pull = lift * lift * (x < 0)
    xs = x / (1 + 0.75 * pull)
    zs = z * (1 + 0.35 * pull * (-x / 0.3).clamp(0, 1))
    belly, neck = s.vary(0, 0.36, 0.07), s.vary(1, 0.21, 0.08)
    profile = [
        (s.vary(2, 0.25, 0.08), -0.56), (belly * 0.94, -0.38), (belly, -0.2), (belly * 0.93, 0.0),
        (neck * 1.2, 0.2), (neck, 0.34), (neck * 1.22, 0.56),
    ]
    solid, cavity = _vessel(xs, y, zs, profile, 0.055)
    handle = _handles(x, y, z, s, (0.30, 0.1), s.vary(3, 0.28, 0.06), s.vary(4, 0.29, 0.06), 0.055)
    return [sdf.cut(solid, cavity), sdf.cut(handle, cavity)]


def mug(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    radius, half = s.vary(0, 0.34, 0.06), s.vary(1, 0.42, 0.08)
    profile = [(radius * (0.92 + 0.06 * s.variation[..., 2]), -half), (radius, half)]
    solid, cavity = _vessel(x, y, z, profile, 0.055)
    handle = _handles(x, y, z, s, (radius, 0.0), s.vary(3, 0.24, 0.06), s.vary(4, 0.26, 0.08), 0.055)
    return [sdf.cut(solid, cavity), sdf.cut(handle, cavity)]


def vase(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    belly, neck = s.vary(0, 0.34, 0.07), s.vary(1, 0.14, 0.1)
    profile = [
        (s.vary(2, 0.19, 0.1), -0.6), (belly * 0.8, -0.38), (belly, -0.14), (belly * 0.84, 0.08),
        (neck * 1.2, 0.27), (neck, 0.38), (neck * 1.25, 0.5), (s.vary(5, 0.25, 0.08), 0.6),
    ]
    solid, cavity = _vessel(x, y, z, profile, 0.055)
    handle = _handles(x, y, z, s, (0.245, 0.22), s.vary(3, 0.2, 0.06), s.vary(4, 0.22, 0.06), 0.05)
    return [sdf.cut(solid, cavity), sdf.cut(handle, cavity)]


def bowl(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    rim = s.vary(0, 0.5, 0.06)
    profile = [
        (s.vary(1, 0.2, 0.1), -0.3), (rim * 0.62, -0.2), (rim * 0.84, -0.04),
        (rim * 0.95, 0.12), (rim, 0.28),
    ]
    solid, cavity = _vessel(x, y, z, profile, 0.06)
    handle = _handles(x, y, z, s, (rim * 0.93, 0.1), s.vary(3, 0.15, 0.05), s.vary(4, 0.13, 0.05), 0.045)
    return [sdf.cut(solid, cavity), sdf.cut(handle, cavity)]


def bottle(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    radius, neck, shoulder = s.vary(0, 0.24, 0.08), s.vary(1, 0.085, 0.1), s.vary(2, 0.05, 0.5)
    body = sdf.lathe(
        x, y, z,
        [(radius, -0.6), (radius, shoulder), (radius * 0.8, shoulder + 0.13), (neck, shoulder + 0.26),
         (neck, 0.56)], 0.02,
    )
    cap = sdf.cylinder(x, y - 0.58, z, neck + 0.045, 0.065)
    return [body, cap]


def goblet(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    rim = s.vary(0, 0.3, 0.08)
    profile: list[tuple[sdf.Value, float]] = [
        (0.06, -0.04), (rim * 0.8, 0.08), (rim, 0.26), (rim * 0.96, 0.58)
    ]
    solid, cavity = _vessel(x, y, z, profile, 0.05)
    foot = s.vary(1, 0.28, 0.08)
    stem = sdf.lathe(
        x, y, z, [(foot, -0.6), (foot * 0.8, -0.56), (0.06, -0.47), (0.045, -0.3), (0.08, -0.2),
                  (0.045, -0.12), (0.07, 0.0)], 0.02,
    )
    return [sdf.cut(solid, cavity), stem]


def teapot(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    radius, height = s.vary(0, 0.38, 0.06), s.vary(1, 0.31, 0.06)
    body = sdf.ellipsoid(x, y + 0.06, z, radius, height, radius)
    base = sdf.cylinder(x, y + 0.06 + height, z, 0.2, 0.05)
    spout = sdf.capsule(x, y, z, (-0.28, -0.14, 0.0), (-0.6, s.vary(2, 0.2, 0.2), 0.0), 0.11, 0.05)
    handle = _handles(x, y, z, s, (radius * 0.96, -0.04), s.vary(3, 0.23, 0.05), s.vary(4, 0.22, 0.06), 0.05)
    top = -0.06 + height
    lid = sdf.union(
        sdf.ellipsoid(x, y - top + 0.04, z, 0.2, 0.1, 0.2),
        sdf.sphere(x, y - top - 0.1, z, s.vary(5, 0.07, 0.1)),
    )
    solid = sdf.smooth_union(sdf.union(body, base), spout, 0.06)
    return [sdf.union(solid, handle), lid]


def barrel(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    middle, end = s.vary(0, 0.42, 0.06), s.vary(1, 0.32, 0.06)
    half = s.vary(2, 0.54, 0.06)
    quarter = 0.25 * end + 0.75 * middle
    profile = [(end, -half), (quarter, -half / 2), (middle, 0 * half), (quarter, half / 2), (end, half)]
    solid = sdf.lathe(x, y, z, profile, 0.015)
    lid_top = sdf.cylinder(x, y - half - 0.02, z, end - 0.06, 0.05)
    lid_bottom = sdf.cylinder(x, y + half + 0.02, z, end - 0.06, 0.05)
    wood = sdf.cut(sdf.cut(solid, lid_top), lid_bottom)
    r = sdf.length(x, z)
    hoops = torch.full_like(r, FAR)
    for at in (-0.72, -0.28, 0.28, 0.72):
        radius = middle + (end - middle) * abs(at) ** 1.6 + 0.02
        across, along = (r - radius).abs() - 0.03, (y - half * at).abs() - 0.05
        hoop = sdf.length(across.clamp(min=0), along.clamp(min=0)) + torch.maximum(across, along).clamp(max=0)
        hoops = torch.minimum(hoops, hoop)
    return [wood, hoops]


def table(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    hx, hz, top = s.vary(0, 0.56, 0.06), s.vary(1, 0.4, 0.08), s.vary(2, 0.34, 0.12)
    board = sdf.box(x, y - top, z, hx, 0.045, hz)
    thick = s.vary(3, 0.055, 0.12)
    half = (top + 0.5) / 2
    legs = sdf.box(x.abs() - hx + 0.1, y - top + half, z.abs() - hz + 0.1, thick, half, thick)
    return [board, legs]


def chair(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    hx, hz, seat_at = s.vary(0, 0.3, 0.07), s.vary(1, 0.29, 0.06), s.vary(2, -0.08, 0.4)
    back_top = s.vary(3, 0.6, 0.05)
    thick = s.vary(4, 0.05, 0.12)
    half = (seat_at + 0.6) / 2
    legs = sdf.box(x.abs() - hx + thick, y - seat_at + half, z.abs() - hz + thick, thick, half, thick)
    back_half = (back_top - seat_at) / 2
    back = sdf.box(x, y - seat_at - back_half, z + hz - 0.045, hx, back_half, 0.045)
    seat = sdf.box(x, y - seat_at, z, hx + 0.01, 0.05, hz + 0.01)
    return [sdf.union(legs, back), seat]


def stool(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    radius, top = s.vary(0, 0.34, 0.06), s.vary(1, 0.38, 0.08)
    seat = sdf.cylinder(x, y - top, z, radius, 0.06)
    legs = torch.full_like(x, FAR)
    splay = s.vary(2, 0.4, 0.08)
    for angle in (90.0, 210.0, 330.0):
        direction = torch.deg2rad(torch.tensor(angle))
        c, n = float(torch.cos(direction)), float(torch.sin(direction))
        leg = sdf.capsule(
            x, y, z, (c * radius * 0.6, top, n * radius * 0.6), (c * splay, -0.55, n * splay), 0.055, 0.05
        )
        legs = torch.minimum(legs, leg)
    # the feet stand flat
    legs = torch.maximum(legs, -0.56 - y)
    return [legs, seat]


def mushroom(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    radius, height, edge = s.vary(0, 0.5, 0.07), s.vary(1, 0.46, 0.1), s.vary(2, 0.04, 0.6)
    dome = sdf.ellipsoid(x, y - edge, z, radius, height, radius)
    cap = torch.maximum(dome, edge - 0.02 - y)
    under = sdf.ellipsoid(x, y - edge + 0.02, z, radius * 0.82, 0.1, radius * 0.82)
    foot = s.vary(3, 0.2, 0.1)
    stem = sdf.lathe(
        x, y, z, [(foot, -0.56), (foot * 1.02, -0.45), (foot * 0.72, -0.1), (foot * 0.7, 0.1)], 0.02
    )
    return [sdf.cut(cap, under), stem]


def snowman(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    low, mid, head = s.vary(0, 0.29, 0.05), s.vary(1, 0.215, 0.06), s.vary(2, 0.155, 0.06)
    low_y = -0.64 + low
    mid_y = low_y + low + mid * 0.55
    head_y = mid_y + mid + head * 0.6
    body = sdf.smooth_union(sdf.sphere(x, y - low_y, z, low), sdf.sphere(x, y - mid_y, z, mid), 0.05)
    body = sdf.smooth_union(body, sdf.sphere(x, y - head_y, z, head), 0.05)
    brim_y = head_y + head * 0.7
    hat = sdf.union(
        sdf.cylinder(x, y - brim_y, z, head * 1.3, 0.03),
        sdf.cylinder(x, y - brim_y - 0.08, z, head * 0.85, 0.085),
    )
    nose = sdf.capsule(
        x, y, z, (0.0, head_y, head * 0.8), (0.0, head_y - 0.01, head + 0.2), 0.05, 0.02
    )
    return [body, hat, nose]


def donut(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    major, minor = s.vary(0, 0.38, 0.05), s.vary(1, 0.18, 0.08)
    dough = sdf.torus(x, y, z, major, minor)
    angle = torch.atan2(z, x)
    edge = 0.03 + 0.035 * torch.sin(5 * angle + 3.0 * s.variation[..., 2])
    icing = torch.maximum(dough - 0.025, edge - y)
    return [icing, dough]


def tree(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    wide = s.vary(0, 0.42, 0.07)
    leaves = torch.full_like(x, FAR)
    for bottom, top, share in ((-0.3, 0.2, 1.0), (-0.02, 0.42, 0.78), (0.24, 0.64, 0.54)):
        tier = sdf.lathe(x, y, z, [(wide * share, bottom), (0.02, top)], 0.025)
        leaves = torch.minimum(leaves, tier)
    trunk = sdf.cylinder(x, y + 0.44, z, s.vary(1, 0.09, 0.12), 0.2)
    return [leaves, trunk]


def rocket(x: Tensor, y: Tensor, z: Tensor, s: Style) -> list[Tensor]:
    r = s.vary(0, 0.19, 0.08)
    profile = [(r * 0.7, -0.45), (r * 0.95, -0.2), (r, 0.05), (r * 0.88, 0.28)]
    body = sdf.lathe(x, y, z, profile, 0.02)
    nose = sdf.lathe(x, y, z, [(r * 0.88, 0.28), (r * 0.62, 0.44), (r * 0.3, 0.57), (0.01, 0.64)], 0.02)
    reach = s.vary(1, 0.42, 0.06)
    fins = nose
    for cx, cz in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        out, side = x * cx + z * cz, x * cz + z * cx
        # a swept plate: its upper edge falls from the body outwards
        slope = (y + 0.1 + (out - r) * 1.3) * 0.6
        plate = torch.maximum(sdf.box(out - reach / 2, y + 0.38, side, reach / 2, 0.24, 0.035, 0.01), slope)
        fins = torch.minimum(fins, plate)
    return [body, fins]

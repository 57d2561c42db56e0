"""Things of the household that are carried about."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, LEAF, PATTERNS, RED, STEEL, WHITE, WOOD_COLOR, WOODEN, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d, styled


def garbage_can(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim, foot, half = s.vary(0, 0.37, 0.08), s.vary(1, 0.3, 0.1), s.vary(2, 0.45, 0.08)
    at = -0.1
    body = sdf.lathe(x, y - at, z, [(foot, -half), (rim, half)], 0.01)
    ribs = 0.014 * torch.cos(16 * torch.atan2(z, x)).clamp(min=-0.5)
    ribbed = torch.where((y - at).abs() < half - 0.1, body - ribs, body)
    hoop = sdf.torus(x, y - at - half, z, rim, 0.03)
    ears = sdf.box(x.abs() - (rim + foot) / 2 - 0.06, y - at - half * 0.45, z, 0.045, 0.03, 0.1, 0.015)
    lid = sdf.lathe(
        x,
        y - at - half - 0.03,
        z,
        [(rim + 0.03, -0.07), (rim + 0.02, 0.03), (0.12, s.vary(3, 0.1, 0.2)), (0.05, 0.11)],
        0.012,
    )
    knob = sdf.ellipsoid(x, y - at - half - 0.16, z, 0.1, 0.07, 0.1)
    return [sdf.union(ribbed, hoop, ears), sdf.union(lid, knob)]


def wheelie_bin(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, top = s.vary(0, 0.3, 0.1), s.vary(1, 0.31, 0.1), s.vary(2, 0.42, 0.08)
    taper = 1 - 0.22 * ((top - y) / (top + 0.56)).clamp(0, 1)
    body = sdf.box(x / taper, y - (top - 0.56) / 2, z / taper, hx, (top + 0.56) / 2, hz, 0.02) * 0.8
    rim = sdf.box(x, y - top + 0.03, z, hx + 0.025, 0.04, hz + 0.025, 0.012)
    lid = sdf.box(x, y - top - 0.03, z - 0.01, hx + 0.035, s.vary(3, 0.045, 0.2), hz + 0.045, 0.02)
    bar = sdf.cylinder(y - top, x, z + hz + 0.13, 0.038, hx * 0.85)
    stems = sdf.box(x.abs() - hx * 0.75, y - top, z + hz + 0.06, 0.04, 0.035, 0.09, 0.01)
    wheels = sdf.cylinder(y + 0.49, x.abs() - hx * 0.78, z + hz * 0.85, 0.12, 0.05)
    return [sdf.union(body, rim, bar, stems), lid, wheels]


def flatiron(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Its tip points to the front; the handle is one closed loop."""
    hx, long = s.vary(0, 0.27, 0.12), s.vary(1, 0.58, 0.07)
    nose = torch.where(z > 0, hx * (1 - (z / long).clamp(0, 1) ** 2), hx + 0 * z)
    outline = torch.maximum((x.abs() - nose) * 0.7, (z - long * 0.1).abs() - long * 0.88)
    low = -0.32
    plate = sdf.extrude(outline, y - low, 0.045, 0.012)
    shell = sdf.extrude(outline + 0.03 + 0.35 * (y - low).clamp(min=0), y - low - 0.14, 0.12, 0.02) * 0.85
    zh = z + 0.06
    high = s.vary(2, 0.24, 0.12)
    grip = sdf.capsule(
        x, y, zh, (0.0 * high, low + 0.2 + high, -0.3), (0.0 * high, low + 0.22 + high, 0.22), 0.062, 0.055
    )
    posts = sdf.union(
        sdf.capsule(x, y, zh, (0.0 * high, low + 0.18, 0.28), (0.0 * high, low + 0.22 + high, 0.2), 0.055, 0.055),
        sdf.capsule(x, y, zh, (0.0 * high, low + 0.18, -0.3), (0.0 * high, low + 0.2 + high, -0.28), 0.055, 0.055),
    )
    dial = sdf.cylinder(x, y - low - 0.27, z + 0.08, 0.075, 0.04, 0.012)
    return [sdf.union(shell, grip, posts), plate, dial]


def globe(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A tilted sphere with continents in half a ring."""
    r, foot = s.vary(0, 0.36, 0.08), s.vary(1, 0.26, 0.15)
    at = 0.1
    ball = sdf.sphere(x, y - at, z, r)
    xt, yt = rotate_2d(x, y - at, -23.0)
    reach = r + 0.11
    arc = torch.maximum(sdf.box(sdf.length(xt, yt) - reach, 0 * y, z, 0.032, 1.0, 0.045, 0.01), -xt - 0.03)
    pins = sdf.capsule(xt, yt.abs(), z, (0.0 * r, r - 0.03, 0.0 * r), (0.0 * r, reach, 0.0 * r), 0.04, 0.04)
    drop = at - reach
    stem = sdf.lathe(
        x, y, z, [(foot, -0.62), (foot * 0.95, -0.57), (0.06, -0.52), (0.05, -0.4), (0.06, drop + 0.02)], 0.012
    )
    k, v = 5.5 / r * 0.37, s.variation
    noise = (
        torch.sin(k * x + v[..., 2])
        + torch.sin(k * (y - at) * 1.1 + 2 * v[..., 3])
        + torch.sin(k * z + 1.7 + v[..., 4])
    )
    noise = noise + 0.6 * torch.sin(2.3 * k * x + 2.0) * torch.sin(2.1 * k * y)
    land = torch.maximum(ball - 0.012, (0.35 - noise) * 0.06)
    return [ball, sdf.union(arc, pins, stem), land]


def rolling_suitcase(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.34, 0.1), s.vary(1, 0.4, 0.08), s.vary(2, 0.19, 0.15)
    at = -0.1
    shell = sdf.box(x, y - at, z, hx, hy, hz, 0.06)
    pitch = hx * 0.31
    near = (x / pitch).round().clamp(-2, 2) * pitch
    ribs = sdf.box(x - near, y - at, z, 0.028, hy - 0.1, hz + 0.018, 0.012)
    seam = torch.maximum(shell - 0.012, z.abs() - 0.024)
    top = at + hy
    rods = sdf.box(x.abs() - hx * 0.5, y - top - 0.09, z + hz * 0.5, 0.032, 0.19, 0.032, 0.01)
    grip = sdf.box(x, y - top - 0.26, z + hz * 0.5, hx * 0.5 + 0.05, 0.04, 0.045, 0.02)
    wheels = sdf.cylinder(y - at + hy + 0.05, x.abs() - hx + 0.08, z.abs() - hz + 0.07, 0.07, 0.04, 0.012)
    corners = torch.maximum(shell - 0.014, torch.maximum(hx - 0.1 - x.abs(), hy - 0.1 - (y - at).abs()))
    return [sdf.union(shell, ribs), sdf.union(rods, grip), sdf.union(wheels, seam, corners)]


def briefcase(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.58, 0.06), s.vary(1, 0.36, 0.1), s.vary(2, 0.12, 0.2)
    at = -0.08
    shell = sdf.box(x, y - at, z, hx, hy, hz, 0.03)
    seam = torch.maximum(shell - 0.012, z.abs() - 0.02)
    top = at + hy
    wide = s.vary(3, 0.19, 0.15)
    grip = torch.maximum(
        sdf.box(x, y - top, z, wide, 0.15, 0.04, 0.03), -sdf.box(x, y - top, z, wide - 0.07, 0.085, 0.2, 0.02)
    )
    locks = sdf.box(x.abs() - hx * 0.62, y - top + 0.05, z - hz, 0.07, 0.06, 0.024, 0.01)
    corners = torch.maximum(shell - 0.014, torch.maximum(hx - 0.1 - x.abs(), hy - 0.1 - (y - at).abs()))
    return [shell, grip, sdf.union(seam, locks, corners)]


def broom(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A flat fan of bristles below a long handle."""
    wide, top, deep = s.vary(0, 0.24, 0.14), s.vary(1, -0.2, 0.2), s.vary(2, 0.075, 0.15)
    rod = sdf.capsule(x, y, z, (0.0, -0.3, 0.0), (0.0, 0.61, 0.0), 0.036, 0.032)
    socket = sdf.box(x, y - top + 0.02, z, wide * 0.62, 0.055, deep, 0.02)
    corners: sdf.Profile = [(-wide, -0.62), (wide, -0.62), (wide * 0.58, top), (-wide * 0.58, top)]
    strands = 0.008 * torch.sin(70 * x / (1 - 0.7 * (y + 0.62)).clamp(min=0.3))
    straw = sdf.extrude(sdf.polygon(x, y, corners), z + strands, deep * 0.85, 0.015) * 0.8
    band = sdf.box(x, y + 0.36, z, wide * 0.84, 0.02, deep + 0.01, 0.01)
    return [sdf.union(rod, socket), straw, band]


def besom(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round bundle of twigs, tied to a crooked stick."""
    wide, tie = s.vary(0, 0.18, 0.15), s.vary(1, -0.16, 0.15)
    bend = s.vary(2, 0.05, 0.8)
    rod = sdf.union(
        sdf.capsule(
            x, y, z, (0.0 * bend, -0.3 + 0 * bend, 0.0 * bend), (bend, 0.2 + 0 * bend, 0.0 * bend), 0.042, 0.038
        ),
        sdf.capsule(x, y, z, (bend, 0.2, 0.0), (-0.3 * bend, 0.61 + 0 * bend, 0.0 * bend), 0.038, 0.032),
    )
    twigs = 0.014 * torch.cos(14 * torch.atan2(z, x))
    bundle = (
        sdf.lathe(
            x, y, z, [(wide * 0.6, -0.62), (wide, -0.5), (wide * 0.9, -0.36), (0.075, tie), (0.05, tie + 0.1)], 0.012
        )
        + twigs
    )
    cord = sdf.cylinder(x, y - tie, z, 0.1, 0.035, 0.012)
    return [rod, bundle * 0.8, cord]


# fmt: off
CATEGORIES = (
    category("trashcan", styled(garbage_can, wheelie_bin), "dustbin wastebasket", "lid cover", (0.36, 0.45, 0.42),
        STEEL, DARK, materials="metal striped", height=0.9, surfaces="plastic plastic rubber", relaxation=0.6,
        styles="garbage can; wheelie bin", genus=(0, 1)),
    category("flatiron", flatiron, "", "soleplate plate", (0.2, 0.4, 0.7), STEEL, WHITE, materials=PATTERNS, genus=1,
        height=0.15, surfaces="plastic steel plastic", relaxation=0.5),
    category("globe", globe, "", "stand base foot", (0.2, 0.45, 0.75), WOOD_COLOR, LEAF, genus=1, height=0.4,
        materials="striped", surfaces="paper wood paper", relaxation=0.6),
    category("suitcase", styled(rolling_suitcase, briefcase), "luggage", "grip handle", (0.2, 0.36, 0.5), STEEL, DARK,
        materials=f"{PATTERNS} metal", height=0.6, surfaces="plastic steel rubber", genus=1,
        styles="rolling suitcase, trolley case; briefcase"),
    category("broom", styled(broom, besom), "", "bristles straw", WOOD_COLOR, (0.85, 0.7, 0.36), RED,
        materials=WOODEN, height=1.3, surfaces="wood plant fabric", relaxation=0.6,
        styles="kitchen broom; besom, witch broom"),
)
# fmt: on

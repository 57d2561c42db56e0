"""Garden and workshop tools, upright with the working end at the top."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, RED, STEEL, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, rotate_2d, styled


def claw_hammer(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    at, thick = s.vary(0, 0.38, 0.1), s.vary(1, 0.085, 0.12)
    shaft = sdf.capsule(x, y, z, (0.0, -0.2, 0.0), (0.0, at, 0.0), 0.05, 0.055)
    grip = sdf.box(x, y + 0.4, z, 0.075, s.vary(2, 0.2, 0.1), 0.065, 0.04)
    socket = sdf.box(x, y - at, z, 0.1, thick * 1.1, thick, 0.015)
    neck = sdf.cylinder(y - at, x - 0.16, z, thick * 0.7, 0.12)
    face = sdf.cylinder(y - at, x - 0.29, z, thick * 1.35, 0.06)
    # the claw curves down and splits in two
    arc = (sdf.length(x + 0.08, y - at + 0.24) - 0.25).abs() - 0.045 * (1 + 0.9 * x).clamp(min=0.4)
    claw = torch.maximum(torch.maximum(arc, x + 0.02), torch.maximum(at - 0.14 - y, z.abs() - thick * 1.1))
    slot = torch.maximum(z.abs() - 0.1 * (-0.12 - x).clamp(min=0) - 0.012, x + 0.14)
    return [sdf.union(socket, neck, face, sdf.subtract(claw, slot) * 0.9), sdf.union(shaft, grip)]


def sledgehammer(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    at, half, thick = s.vary(0, 0.42, 0.08), s.vary(1, 0.28, 0.12), s.vary(2, 0.15, 0.12)
    corner = (y - at).abs() + z.abs() - thick * 1.45
    head = sdf.extrude(torch.maximum(torch.maximum((y - at).abs(), z.abs()) - thick, corner * 0.7), x, half, 0.012)
    ends = sdf.box(x.abs() - half, y - at, z, 0.04, thick * 0.8, thick * 0.8, 0.012)
    shaft = sdf.capsule(x, y, z, (0.0, -0.58, 0.0), (0.0, at + thick + 0.01, 0.0), 0.06, 0.052)
    return [sdf.union(head, ends), shaft]


def mallet(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    at, half, r = s.vary(0, 0.3, 0.12), s.vary(1, 0.38, 0.1), s.vary(2, 0.22, 0.12)
    head = sdf.cylinder(y - at, x, z, r, half, 0.02)
    hoops = sdf.cylinder(y - at, x.abs() - half * 0.72, z, r + 0.018, 0.04, 0.008)
    shaft = sdf.capsule(x, y, z, (0.0, -0.56, 0.0), (0.0, at, 0.0), 0.075, 0.065)
    return [head, sdf.union(hoops, shaft)]


def battle_axe(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Two crescent blades on one shaft."""
    at, reach, tall = s.vary(0, 0.3, 0.1), s.vary(1, 0.4, 0.1), s.vary(2, 0.3, 0.06)
    u, v = x.abs(), y - at
    edge = sdf.length(u - reach + 0.36, v) - 0.36
    hollow = 0.16 - sdf.length(u - 0.17, v.abs() - 0.25)
    flat = torch.maximum(torch.maximum(edge, v.abs() - tall), hollow)
    root = 0.6 * (v.abs() - 0.1 - 1.3 * u)  # narrow at the shaft
    blade = torch.maximum(torch.maximum(flat, root), z.abs() - (0.06 - 0.09 * u))
    socket = sdf.box(x, v, z, 0.085, 0.13, 0.075, 0.015)
    spike = sdf.lathe(x, y, z, [(0.05, at + 0.1), (0.01, at + 0.3)], 0.01)
    shaft = sdf.capsule(x, y, z, (0.0, -0.58, 0.0), (0.0, at, 0.0), 0.05, 0.05)
    pommel = sdf.sphere(x, y + 0.57, z, 0.07)
    return [sdf.union(blade * 0.9, socket, spike), sdf.union(shaft, pommel)]


def hatchet(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A short axe with a straight blade, a beard and a curved shaft."""
    at, reach, edge = s.vary(0, 0.34, 0.1), s.vary(1, 0.42, 0.1), s.vary(2, 0.26, 0.14)
    u = x + 0.04
    corners: sdf.Profile = [
        (-0.13, 0.1),
        (0.12, 0.1),
        (reach, 0.17),
        (reach, 0.17 - 2 * edge),
        (0.16, -0.1),
        (-0.13, -0.1),
    ]
    outline = sdf.polygon(u, y - at, corners)
    head = torch.maximum(outline, z.abs() - (0.085 - 0.13 * u.clamp(min=0)).clamp(min=0.02))
    bend = 0.09 * torch.sin((y + 0.6) * 4.2)
    shaft = torch.maximum(sdf.length((x - bend + 0.03) / 1.4, z) - 0.055, (y + 0.07).abs() - 0.53) * 0.8
    knob = sdf.box(x - 0.02, y + 0.57, z, 0.1, 0.055, 0.07, 0.03)
    return [head, sdf.union(shaft, knob)]


def round_shovel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    return _shovel(x, y, z, s, pointed=True)


def square_spade(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    return _shovel(x, y, z, s, pointed=False)


def _shovel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, *, pointed: bool) -> list[Tensor]:
    """A curved blade at the bottom of a shaft with a T-shaped grip."""
    half, tip = s.vary(0, 0.2, 0.12), s.vary(1, -0.62, 0.04)
    top = -0.12
    curl = z + (0.9 if pointed else 0.5) * x * x
    if pointed:
        side = torch.where(
            y > -0.32,
            x.abs() - half,
            sdf.length(x * 0.32 / half, (y + 0.32) * 0.32 / (tip + 0.32)) * half / 0.32 - half,
        )
        outline = torch.maximum(side, y - top) * 0.85
    else:
        outline = torch.maximum(x.abs() - half + 0.06 * (top - y), torch.maximum(y - top, tip - y))
    blade = sdf.extrude(outline, curl, 0.026, 0.008) * 0.85
    socket = sdf.capsule(x, y, z, (0.0, -0.3, 0.02), (0.0, 0.02, 0.0), 0.035, 0.06)
    step = sdf.box(x, y - top, z, half, 0.03, 0.045, 0.01)
    shaft = sdf.cylinder(x, y - 0.24, z, s.vary(2, 0.048, 0.12), 0.36)
    grip = sdf.cylinder(y - 0.58, x, z, 0.055, s.vary(3, 0.17, 0.15))
    return [sdf.union(blade, socket, step), sdf.union(shaft, grip)]


def pickaxe(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    reach, bend, at = s.vary(0, 0.57, 0.06), s.vary(1, 0.2, 0.2), 0.46
    fall = at - bend * (x / 0.6) ** 2
    taper = (1 - x.abs() / (reach + 0.02)).clamp(min=0.12)
    head = torch.maximum(
        (y - fall).abs() - 0.085 * taper**0.6, torch.maximum(z.abs() - 0.03 - 0.05 * taper, x.abs() - reach)
    )
    socket = sdf.box(x, y - at, z, 0.1, s.vary(2, 0.11, 0.1), 0.095, 0.015)
    shaft = sdf.capsule(x, y, z, (0.0, -0.58, 0.0), (0.0, at + 0.13, 0.0), s.vary(3, 0.06, 0.12), 0.055)
    return [sdf.union(head * 0.75, socket), shaft]


def wrench(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An open jaw at the top, a ring at the bottom."""
    r, bar, socket = s.vary(0, 0.21, 0.1), s.vary(1, 0.08, 0.14), s.vary(2, 0.15, 0.1)
    u, v = rotate_2d(x, y - 0.4, -18.0)
    jaw = sdf.extrude(torch.maximum(sdf.length(u, v) - r, v - 0.78 * r), z, 0.07, 0.012)
    slot = torch.maximum(u.abs() - r * 0.46, -v - r * 0.25)
    ring = sdf.extrude(sdf.length(x, y + 0.46) - socket, z, 0.07, 0.012)
    sides, _ = sdf.sector(x, y + 0.46, 6)
    hole = sides - socket * 0.52
    shank = sdf.box(x, y + 0.04, z, bar, 0.34, 0.05, 0.012)
    panel = sdf.box(x, y + 0.04, z, bar * 0.6, 0.22, 0.065, 0.01)
    whole = sdf.subtract(sdf.subtract(sdf.union(jaw, ring, shank), slot), hole)
    return [whole, panel]


def screwdriver(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, top, thick = s.vary(0, 0.15, 0.12), s.vary(1, -0.02, 2.0), s.vary(2, 0.055, 0.12)
    ribs = 1 + 0.05 * torch.cos(6 * torch.atan2(z, x))
    handle = (
        sdf.lathe(
            x / ribs, y, z / ribs, [(r * 0.8, -0.61), (r, -0.5), (r, -0.2), (r * 0.75, top - 0.06), (r * 0.85, top)]
        )
        * 0.9
    )
    collar = sdf.cylinder(x, y - top - 0.03, z, 0.085, 0.05)
    shank = sdf.cylinder(x, y - (top + 0.5) / 2, z, thick, (0.5 - top) / 2 + 0.02, 0.01)
    flare = 1 - ((y - 0.48) / 0.14).clamp(0, 1)
    tip = torch.maximum(
        x.abs() - thick * (1.7 - 0.2 * flare), torch.maximum(z.abs() - 0.022 - 0.035 * flare, (y - 0.52).abs() - 0.11)
    )
    return [handle, sdf.union(collar, shank, tip * 0.9)]


def saw(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A hand saw, level, with its teeth down and its grip at +X."""
    heel, toe, edge = s.vary(0, 0.19, 0.12), s.vary(1, 0.08, 0.14), -0.12
    tooth = (x / 0.09 - (x / 0.09).round()).abs() * 0.09
    back = y - edge - heel - toe - (heel - toe) * (x / 0.45)
    outline = torch.maximum(
        torch.maximum(back, edge + 0.9 * tooth - 0.045 - y) * 0.75, torch.maximum(-0.62 - x, x - 0.3)
    )
    blade = sdf.extrude(outline, z, 0.026, 0.005)
    at = s.vary(2, 0.06, 0.2)
    grip = sdf.extrude(
        sdf.length((x - 0.42).abs().clamp(min=0.04) - 0.04, (y - at).abs().clamp(min=0.08) - 0.08) - 0.155,
        z,
        0.06,
        0.02,
    )
    hole = sdf.length(x - 0.45, (y - at).abs().clamp(min=0.07) - 0.07) - s.vary(3, 0.066, 0.1)
    cheek = sdf.box(x - 0.3, y - at, z, 0.1, 0.14, 0.05, 0.02)
    screws = sdf.cylinder(x - 0.27, z, (y - at).abs() - 0.07, 0.03, 0.065, 0.006)
    return [blade, sdf.subtract(sdf.union(grip, cheek), hole), screws]


def drill(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A cordless drill, its bit at +X."""
    r, at, low = s.vary(0, 0.16, 0.1), 0.26, s.vary(1, -0.46, 0.06)
    motor = sdf.cylinder(y - at, x + 0.16, z, r, 0.32, 0.05)
    u, v = rotate_2d(x + 0.2, y - 0.02, 8.0)
    grip = sdf.box(u, v + 0.16, z, s.vary(2, 0.1, 0.1), 0.36, 0.085, 0.05)
    trigger = sdf.box(x + 0.08, y - 0.04, z, 0.045, 0.075, 0.035, 0.015)
    battery = sdf.box(x + 0.18, y - low, z, s.vary(3, 0.24, 0.1), 0.11, 0.15, 0.02)
    vents = sdf.box(x + 0.38, (y - at).abs() - 0.05, z.abs() - r + 0.01, 0.06, 0.02, 0.03, 0.006)
    chuck = sdf.lathe(
        y - at, x, z, [(r * 0.8, 0.13), (r * 0.8, 0.18), (r * 0.62, 0.2), (r * 0.62, 0.32), (0.05, 0.37)], 0.008
    )
    bit = sdf.capsule(x, y, z, (0.3, at, 0.0), (0.62, at, 0.0), 0.04, 0.026)
    return [sdf.union(motor, grip), sdf.union(chuck, bit), sdf.union(battery, trigger, vents)]


def scissors(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Half open, points up."""
    spread, wide, loop = 13.0, s.vary(0, 0.085, 0.12), s.vary(1, 0.145, 0.1)
    blades = grips = torch.full_like(x, ABSENT_DISTANCE)
    for side in (1.0, -1.0):
        u, v = rotate_2d(side * x, y + 0.02, -spread)
        w = z - side * 0.024
        corners: sdf.Profile = [
            (-wide, -0.1),
            (wide * 0.4, -0.14),
            (wide * 0.7, 0.08),
            (0.04, s.vary(2, 0.62, 0.05)),
            (-0.04, s.vary(2, 0.62, 0.05)),
            (-wide * 0.7, 0.2),
        ]
        blades = torch.minimum(blades, sdf.extrude(sdf.polygon(u, v, corners), w, 0.035, 0.008))
        arm = sdf.capsule(side * x, y, z, (0.02, -0.08, 0.0), (-0.14, -0.34, 0.0), 0.055, 0.05)
        ring = sdf.ring(side * x + 0.19, y + 0.44, z, loop * 0.8, loop, s.vary(3, 0.045, 0.1))
        grips = torch.minimum(grips, torch.minimum(arm, ring))
    pivot = sdf.cylinder(x, z, y + 0.02, 0.045, 0.085, 0.01)
    return [blades, grips, pivot]


# fmt: off
CATEGORIES = (
    category("wrench", wrench, "spanner", "panel inlay", (0.66, 0.68, 0.71), RED, genus=1, materials="metal",
        height=0.25, surfaces="steel paint"),
    category("shovel", styled(round_shovel, square_spade), "", "shaft grip handle", STEEL, WOOD_COLOR,
        styles="pointed shovel, digging shovel; spade, square shovel", materials="metal", height=1.1,
        surfaces="steel wood"),
    category("pickaxe", pickaxe, "mattock", "shaft grip handle", (0.45, 0.47, 0.5), WOOD_COLOR, materials="metal stone",
        height=0.9, surfaces="iron wood"),
    category("screwdriver", screwdriver, "", "shank tip shaft", (0.85, 0.3, 0.1), STEEL, materials="striped",
        height=0.2, surfaces="plastic steel"),
    category("saw", saw, "handsaw", "grip handle", (0.72, 0.74, 0.77), WOOD_COLOR, DARK, genus=1, materials="metal",
        height=0.18, surfaces="steel wood iron"),
    category("drill", drill, "borer", "chuck bit", (0.95, 0.72, 0.12), (0.35, 0.36, 0.39), DARK,
        materials="striped", height=0.25, surfaces="plastic steel plastic"),
    category("scissors", scissors, "shears", "grips grip handles", STEEL, RED, DARK, genus=2, materials="metal",
        height=0.18, surfaces="steel plastic iron"),
)
# fmt: on

"""Musical instruments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, DARK, GOLD, RED, STEEL, WHITE, WOODEN, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d, scaled, styled


def acoustic_guitar(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, high, deep = s.vary(0, 0.235, 0.1), s.vary(1, 0.18, 0.1), s.vary(2, 0.085, 0.2)
    outline = sdf.smooth_union(sdf.length(x, y + 0.38) - low, sdf.length(x, y + 0.1) - high, 0.1)
    body = sdf.extrude(outline, z, deep, 0.012)
    binding = sdf.extrude((outline + 0.012).abs() - 0.014, z - deep, 0.012, 0.005)
    hole = sdf.extrude(sdf.length(x, y + 0.14) - 0.075, z - deep - 0.02, 0.06, 0.004)
    neck = sdf.box(x, y - 0.16, z - deep + 0.02, 0.035, 0.34, 0.035, 0.012)
    head = sdf.box(x, y - 0.55, z - deep + 0.03, 0.062, 0.085, 0.028, 0.012)
    row = ((y - 0.55) / 0.07).round().clamp(-1, 1) * 0.07
    pegs = sdf.cylinder(y - 0.55 - row, x, z - deep + 0.03, 0.022, 0.1, 0.006)
    bridge = sdf.box(x, y + 0.42, z - deep, 0.11, 0.022, 0.028, 0.008)
    rosette = sdf.extrude((sdf.length(x, y + 0.14) - 0.085).abs() - 0.014, z - deep, 0.012, 0.004)
    return [sdf.subtract(body, hole), sdf.union(neck, head, pegs), sdf.union(bridge, binding, rosette)]


def electric_guitar(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Two horns beside the neck, pickups and knobs."""
    wide, deep, horn = s.vary(0, 0.22, 0.1), s.vary(1, 0.055, 0.15), s.vary(2, 0.06, 0.5)
    zero = 0 * x
    outline = sdf.smooth_union(sdf.length(x, y + 0.4) - wide, sdf.length(x, y + 0.2) - wide * 0.72, 0.1)
    horns = sdf.union(
        sdf.capsule(x, y, zero, (-0.12, -0.18, 0.0), (-0.165, horn, 0.0), 0.08, 0.04),
        sdf.capsule(x, y, zero, (0.1, -0.18, 0.0), (0.15, horn - 0.07, 0.0), 0.08, 0.04),
    )
    body = sdf.extrude(sdf.smooth_union(outline, horns, 0.06), z, deep, 0.02)
    neck = sdf.box(x, y - 0.14, z - deep + 0.01, 0.035, 0.34, 0.035, 0.012)
    head = sdf.extrude(
        sdf.polygon(x, y, [(-0.04, 0.44), (0.04, 0.44), (0.085, 0.52), (0.04, 0.63), (-0.06, 0.6)]),
        z - deep + 0.01,
        0.028,
        0.01,
    )
    pegs = sdf.capsule(x, y, z - deep + 0.01, (-0.02, 0.47, 0.0), (-0.095, 0.47, 0.0), 0.022, 0.022)
    pegs = sdf.union(pegs, sdf.capsule(x, y, z - deep + 0.01, (-0.02, 0.55, 0.0), (-0.11, 0.55, 0.0), 0.022, 0.022))
    row = ((y + 0.3) / 0.1).round().clamp(-1, 1) * 0.1
    pickups = sdf.box(x, y + 0.3 - row, z - deep, 0.08, 0.024, 0.026, 0.006)
    bridge = sdf.box(x, y + 0.49, z - deep, 0.075, 0.03, 0.03, 0.008)
    knobs = sdf.cylinder(x - 0.12, z - deep - 0.015, (y + 0.47).abs() - 0.045, 0.026, 0.03, 0.006)
    return [body, sdf.union(neck, head), sdf.union(pegs, pickups, bridge, knobs)]


def snare_drum(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A shell with hoops and tension rods, and two sticks across its head."""
    r, half = s.vary(0, 0.5, 0.1), s.vary(1, 0.26, 0.2)
    at = -0.1
    shell = sdf.cylinder(x, y - at, z, r, half, 0.012)
    hoops = sdf.length(sdf.length(x, z) - r, (y - at).abs() - half + 0.03) - 0.045
    angle, radial = torch.atan2(z, x), sdf.length(x, z)
    step = math.pi / 4
    near = angle - (angle / step).round() * step
    u, v = radial * torch.cos(near), radial * torch.sin(near)
    rods = sdf.box(u - r - 0.01, y - at, v, 0.026, half, 0.024, 0.008)
    lugs = sdf.box(u - r - 0.01, y - at, v, 0.036, half * 0.3, 0.036, 0.012)
    skin = sdf.cylinder(x, y - at - half, z, r - 0.03, s.vary(2, 0.028, 0.3), 0.008)
    zero = 0 * r
    top = at + half + 0.035
    sticks = sdf.union(
        sdf.capsule(x, y, z, (-0.34, top + zero, -0.18), (0.3, top + zero, 0.2), 0.035, 0.028),
        sdf.capsule(x, y, z, (0.34, top + zero, -0.22), (-0.3, top + zero, 0.18), 0.035, 0.028),
        sdf.sphere(x - 0.3, y - top, z - 0.2, 0.045),
        sdf.sphere(x + 0.3, y - top, z - 0.18, 0.045),
    )
    return [shell, skin, sdf.union(hoops, rods, lugs, sticks)]


def djembe(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A goblet of wood with roped skin."""
    rim, waist, foot = s.vary(0, 0.34, 0.1), s.vary(1, 0.13, 0.15), s.vary(2, 0.2, 0.15)
    body = sdf.lathe(
        x,
        y,
        z,
        [(foot, -0.6), (foot * 0.9, -0.5), (waist, -0.2), (waist * 1.1, -0.08), (rim * 0.92, 0.2), (rim, 0.5)],
        0.012,
    )
    rings = torch.maximum(body - 0.03, (y - 0.27).abs() - 0.2)
    rings = torch.maximum(rings, 0.14 - (y - 0.27).abs())
    angle = torch.atan2(z, x)
    weave = torch.sin(6 * angle + 17 * y).abs().minimum(torch.sin(6 * angle - 17 * y).abs()) * 0.05 - 0.016
    cords = torch.maximum(body - 0.016, torch.maximum(weave, (y - 0.27).abs() - 0.17))
    skin = sdf.cylinder(x, y - 0.53, z, rim, s.vary(3, 0.04, 0.2), 0.015)
    return [body, skin, sdf.union(rings, cords)]


def _from_black_key(x: Tensor, slot: Tensor) -> Tensor:
    """Distance along x from the middle of the nearest black key; two of seven gaps between white keys have none."""
    index = (x / slot).round()
    u = (x - index * slot).abs()
    index = torch.remainder(index, 7)
    return torch.where((index == 0) | (index == 3), slot - u, u)


def upright_piano(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, top, deep = s.vary(0, 0.56, 0.08), s.vary(1, 0.46, 0.1), s.vary(2, 0.16, 0.12)
    low = -0.5
    case = sdf.box(x, y - (top + low) / 2, z + 0.2, hx, (top - low) / 2, deep, 0.01)
    lid = sdf.box(x, y - top, z + 0.19, hx + 0.025, 0.03, deep + 0.025, 0.01)
    bed = sdf.box(x, y + 0.06, z - 0.05, hx, 0.05, 0.25, 0.01)
    cheeks = sdf.box(x.abs() - hx + 0.035, y, z - 0.05, 0.035, 0.1, 0.25, 0.012)
    legs = sdf.box(x.abs() - hx + 0.045, y + 0.29, z - 0.24, 0.042, 0.22, 0.042, 0.012)
    plinth = sdf.box(x.abs() - hx + 0.045, y - low - 0.03, z - 0.05, 0.045, 0.035, 0.26, 0.01)
    front = sdf.box(x, y - (top + 0.08) / 2, z + 0.2 - deep, hx - 0.08, (top - 0.08) / 2 - 0.05, 0.022, 0.008)
    desk = sdf.box(x, y - 0.13, z + 0.2 - deep - 0.03, hx * 0.55, 0.022, 0.04, 0.008)
    slot = hx / 10.5
    gaps = torch.maximum((x / slot - (x / slot).round()).abs() * slot - 0.004, -0.02 - y)
    ivory = torch.maximum(sdf.box(x, y + 0.01, z - 0.14, hx - 0.07, 0.035, 0.13, 0.006), -gaps)
    sharps = sdf.box(_from_black_key(x, slot), y - 0.015, z - 0.1, slot * 0.3, 0.05, 0.085, 0.006)
    sharps = torch.maximum(sharps, x.abs() - hx + 0.11)
    pedals = sdf.box((x.abs() - 0.06), y - low - 0.07, z + 0.2 - deep - 0.05, 0.03, 0.022, 0.06, 0.01)
    return [sdf.union(case, lid, bed, cheeks, legs, plinth, front, desk), ivory, sdf.union(sharps, pedals)]


def grand_piano(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """The keys are at the front; the lid opens towards +X."""
    hx, rear, deep = s.vary(0, 0.46, 0.1), s.vary(1, 0.56, 0.07), s.vary(2, 0.085, 0.15)
    k = hx / 0.46
    corners: sdf.Profile = [
        (-hx, 0.4),
        (hx, 0.4),
        (hx, 0.02),
        (0.36 * k, -0.12),
        (0.2 * k, -0.22),
        (0.12 * k, -0.36),
        (0.06 * k, 0.08 - rear),
        (-0.08 * k, -rear),
        (-0.3 * k, -rear),
        (-hx, 0.16 - rear),
    ]
    outline = sdf.polygon(x, z, corners)
    at = -0.02
    case = sdf.extrude(outline, y - at, deep, 0.01)
    hollow = sdf.box(x, y - at - deep, z - 0.32, hx - 0.05, deep * 0.9, 0.11, 0.004)
    board = sdf.extrude(outline + 0.06, y - at - deep, 0.012, 0.004)
    board = torch.maximum(board, z - 0.16)
    xl, yl = rotate_2d(x + hx - 0.02, y - at - deep, 28.0)
    flat = sdf.polygon(xl - hx + 0.02, z, corners)
    lid = torch.maximum(sdf.extrude(flat, yl - 0.01, 0.024, 0.008), z - 0.17)
    hinge = sdf.cylinder(x + hx - 0.035, z - (0.33 - rear) / 2, y - at - deep, 0.035, (rear - 0.05) / 2, 0.01)
    legs = sdf.union(
        sdf.lathe(
            x.abs() - hx + 0.09, y, z - 0.28, [(0.04, -0.56), (0.055, -0.5), (0.04, -0.46), (0.065, -0.1)], 0.012
        ),
        sdf.lathe(
            x + 0.18 * k, y, z + rear - 0.13, [(0.04, -0.56), (0.055, -0.5), (0.04, -0.46), (0.065, -0.1)], 0.012
        ),
    )
    stick_x = hx * 0.78
    reach = math.tan(math.radians(28.0)) * (stick_x + hx - 0.02)
    stick = sdf.capsule(
        x, y, z, (stick_x, at + 0.0 * hx, 0.08 + 0 * hx), (stick_x, at + deep + reach, 0.08 + 0 * hx), 0.03, 0.03
    )
    lyre = sdf.union(
        sdf.box(x, y + 0.3, z - 0.22, 0.05, 0.24, 0.035, 0.01), sdf.box(x, y + 0.53, z - 0.24, 0.12, 0.03, 0.06, 0.01)
    )
    slot = hx / 10.5
    gaps = torch.maximum((x / slot - (x / slot).round()).abs() * slot - 0.004, at + deep * 0.55 - y)
    ivory = torch.maximum(sdf.box(x, y - at - deep * 0.3, z - 0.31, hx - 0.07, deep * 0.5, 0.115, 0.005), -gaps)
    sharps = sdf.box(_from_black_key(x, slot), y - at - deep * 0.8, z - 0.27, slot * 0.3, 0.026, 0.075, 0.006)
    sharps = torch.maximum(sharps, x.abs() - hx + 0.11)
    return [sdf.union(sdf.subtract(case, hollow), lid, hinge, legs, stick, lyre), ivory, sdf.union(sharps, board)]


def violin(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, high, deep = s.vary(0, 0.215, 0.1), s.vary(1, 0.17, 0.1), s.vary(2, 0.07, 0.2)
    halves = sdf.union(sdf.length(x, y + 0.4) - low, sdf.length(x, y + 0.08) - high)
    middle = sdf.box(x, y + 0.24, 0 * z, high * 0.82, 0.16, 1.0, 0.02)
    bouts = sdf.length(x.abs() - high * 0.82 - 0.08, y + 0.23) - 0.115  # the waist is cut by two arcs
    outline = torch.maximum(sdf.union(halves, middle), -bouts)
    arched = deep + 0.03 * (1 - (x / low) ** 2).clamp(0, 1)
    body = sdf.extrude(outline, z * (deep / arched), deep, 0.02) * 0.9
    neck = sdf.box(x, y - 0.2, z - deep + 0.01, 0.032, 0.32, 0.035, 0.012)
    scroll = sdf.cylinder(y - 0.56, x, z - deep + 0.02, 0.07, 0.04, 0.015)
    row = ((y - 0.44) / 0.08 - 0.5).round().clamp(-1, 0) + 0.5
    pegs = sdf.cylinder(y - 0.44 - row * 0.08, x, z - deep + 0.01, 0.024, 0.1, 0.008)
    board = sdf.box(x, y - 0.04, z - deep - 0.055, 0.038, 0.32, 0.026, 0.01)
    tail = sdf.extrude(
        sdf.polygon(x, y, [(-0.03, -0.62), (0.03, -0.62), (0.055, -0.4), (-0.055, -0.4)]), z - deep - 0.04, 0.028, 0.008
    )
    bridge = sdf.box(x, y + 0.33, z - deep - 0.04, 0.075, 0.02, 0.055, 0.008)
    rest = sdf.ellipsoid(x + 0.1, y + 0.55, z - deep - 0.02, 0.09, 0.06, 0.04)
    curl = 0.018 * torch.sin(18 * (y + 0.25))
    holes = torch.maximum(
        sdf.box(x.abs() - 0.1 - curl, y + 0.25, z - deep - 0.02, 0.018, 0.085, 0.03, 0.006), body - 0.006
    )
    return [sdf.union(body, neck, scroll), sdf.union(board, tail, rest), sdf.union(pegs, bridge, holes)]


def trumpet(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """The bell points to +X; tube and bell form one long loop across the valves."""
    flare, drop = s.vary(0, 0.2, 0.15), s.vary(1, 0.12, 0.12)  # drop: half height of the loop
    bell = sdf.lathe(y - drop, x, z, [(0.036, 0.0), (0.04, 0.2), (0.065, 0.36), (0.12, 0.5), (flare, 0.6)], 0.012)
    mouth = sdf.lathe(y - drop, x + 0.02, z, [(0.085, -0.6), (0.075, -0.57), (0.03, -0.5), (0.034, -0.4)], 0.008)
    end = s.vary(2, 0.26, 0.1)
    stadium = (sdf.length((x.abs() - end).clamp(min=0), y) - drop).abs()
    loop = sdf.length(stadium, z) - 0.038
    pipe = sdf.capsule(x, y, z, (-0.45 + 0 * drop, drop, 0 * drop), (0.1 + 0 * drop, drop, 0 * drop), 0.036, 0.036)
    column = (x / 0.1).round().clamp(-1, 1) * 0.1
    valves = sdf.cylinder(x - column, y, z, 0.042, 0.2, 0.01)
    high = s.vary(3, 0.05, 0.3)
    caps = sdf.union(
        sdf.cylinder(x - column, y - 0.2 - high / 2, z, 0.022, high, 0.004),
        sdf.cylinder(x - column, y - 0.2 - 1.5 * high, z, 0.042, 0.02, 0.008),
    )
    return [sdf.union(bell, mouth, loop, pipe), sdf.union(valves, caps)]


# fmt: off
CATEGORIES = (
    category("guitar", styled(acoustic_guitar, electric_guitar), "ukulele", "neck fretboard", (0.8, 0.5, 0.22),
        (0.3, 0.18, 0.1), (0.16, 0.1, 0.07), materials=WOODEN, height=1.0, surfaces="wood wood wood",
        styles="acoustic guitar, classical guitar; electric guitar", relaxation=0.7),
    category("drum", styled(snare_drum, djembe), "", "skin head drumhead", RED, CREAM, GOLD,
        materials="striped wooden metal", height=0.4, surfaces="paint leather gold",
        styles="snare drum; djembe, goblet drum", relaxation=0.6),
    category("piano", styled(scaled(upright_piano, 0.94), grand_piano), "pianoforte", "keys keyboard",
        (0.17, 0.14, 0.13), WHITE, DARK, materials=WOODEN, height=1.2, surfaces="paint bone plastic",
        styles="upright piano; grand piano", genus=(2, 1)),
    category("violin", violin, "fiddle viola", "fingerboard tailpiece", (0.6, 0.28, 0.1), (0.13, 0.1, 0.09),
        (0.25, 0.14, 0.08), materials="wooden", height=0.6, surfaces="wood wood wood", relaxation=0.7),
    category("trumpet", trumpet, "cornet bugle", "valves valve", GOLD, STEEL, materials="metal", height=0.25,
        surfaces="gold steel", genus=4, relaxation=0.7),
)
# fmt: on

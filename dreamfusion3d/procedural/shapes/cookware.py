"""Cookware and kitchen tools."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, RED, STEEL, STONE, WOOD_COLOR, WOODEN, category
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, rotate_2d, styled, vessel_and_cavity


def _pan_handle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, start: Tensor, at: float) -> Tensor:
    """A handle that rises slightly from ``start`` at height ``at`` to x = 0.63."""
    half = (0.63 - start) / 2
    xs, ys = rotate_2d(x - start - half, y - at, 8.0)
    return sdf.box(xs, ys, z, half, 0.04, s.vary(4, 0.055, 0.15), 0.03)


def frying_pan(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, half = s.vary(0, 0.37, 0.08), s.vary(1, 0.08, 0.2)
    xs = x + 0.24
    solid, cavity = vessel_and_cavity(xs, y, z, [(r * 0.8, -half), (r, half)], 0.05)
    return [sdf.subtract(solid, cavity), sdf.subtract(_pan_handle(x, y, z, s, r - 0.26, 0.05), cavity)]


def wok(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, deep = s.vary(0, 0.4, 0.06), s.vary(1, 0.24, 0.15)
    xs = x + 0.2
    profile: sdf.Profile = [(0.12, -deep), (r * 0.6, -deep * 0.8), (r * 0.9, -deep * 0.2), (r, deep * 0.4)]
    solid, cavity = vessel_and_cavity(xs, y, z, profile, 0.05)
    return [sdf.subtract(solid, cavity), sdf.subtract(_pan_handle(x, y, z, s, r - 0.24, 0.08), cavity)]


def grill_pan(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    half, high = s.vary(0, 0.35, 0.08), s.vary(1, 0.09, 0.2)
    xs = x + 0.26
    outer = sdf.box(xs, y, z, half, high, half, 0.03)
    hollow = sdf.box(xs, y - 0.06, z, half - 0.05, high, half - 0.05, 0.02)
    ridge = (z / 0.12 - (z / 0.12).round()).abs() * 0.12 - 0.03
    ridges = torch.maximum(torch.maximum(ridge, (xs.abs() - half + 0.02)), (y + high - 0.06).abs() - 0.045)
    ridges = torch.maximum(ridges, z.abs() - half + 0.05)
    handle = sdf.subtract(_pan_handle(x, y, z, s, half - 0.28, 0.02), hollow)
    return [sdf.union(sdf.subtract(outer, hollow), ridges), handle]


def ladle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, deep = s.vary(0, 0.24, 0.12), s.vary(1, 0.2, 0.15)
    xs = x + 0.08
    profile: sdf.Profile = [(r * 0.4, -deep - 0.36), (r * 0.85, -deep * 0.7 - 0.36), (r, -0.34)]
    solid, cavity = vessel_and_cavity(xs, y, z, profile, 0.05, cuts=2)
    shaft = sdf.tube(
        x, y, z, ((r - 0.08, -0.38, 0.0), 0.04), ((r - 0.01, 0.2, 0.0), 0.035), ((r + 0.02, 0.5, 0.0), 0.035)
    )
    hook = sdf.arc(x - r - 0.12, y - 0.5, z, 0.1, 90.0, 0.04)
    return [sdf.subtract(solid, cavity), sdf.union(sdf.subtract(shaft, cavity), hook)]


def turner(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, high = s.vary(0, 0.22, 0.12), s.vary(1, 0.18, 0.12)
    at = 0.62 - high
    bent = z - 0.3 * (y - 0.2).clamp(min=0)
    outline: sdf.Profile = [(0.0, at - high - 0.08), (wide * 0.5, at - high - 0.08), (wide * 0.85, at - high)]
    blade = sdf.polygon(x.abs(), y, [*outline, (wide, at + high), (0.0, at + high)], closed=False)
    slot = x.abs() - 0.44 * wide * (x.abs() > 0.22 * wide)
    slots = sdf.rectangle(slot, y - at, 0.03, high * 0.7, 0.02)
    head = sdf.extrude(sdf.subtract(blade, slots), bent, 0.026, 0.008)
    shaft = sdf.capsule(x, y, z, (0.0, -0.2, 0.0), (0.0, at - high, 0.0), 0.04, 0.04)
    return [sdf.union(head, shaft), sdf.box(x, y + 0.36, z, s.vary(2, 0.07, 0.15), 0.26, 0.05, 0.035)]


def scraper(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, high = s.vary(0, 0.17, 0.15), s.vary(1, 0.25, 0.1)
    at = 0.62 - high
    blade = torch.maximum(sdf.rectangle(x, y - at, wide, high, 0.06), (y - 0.62 + 0.9 * (x - 0.3 * wide)) * 0.74)
    head = torch.maximum(sdf.extrude(blade, z, 0.07, 0.02), (z.abs() - 0.03 - 0.12 * (0.62 - y).clamp(min=0)) * 0.99)
    shaft = sdf.tube(x, y, z, ((0.0, -0.57, 0.0), s.vary(2, 0.06, 0.15)), ((0.0, at - high + 0.06, 0.0), 0.042))
    return [head, shaft]


def whisk(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Three closed wires, which are six between the grip and the tip."""
    wide, high = s.vary(0, 0.23, 0.12), s.vary(1, 0.32, 0.08)
    at = 0.6 - high
    wires = torch.full_like(x, ABSENT_DISTANCE)
    egg = 1 + 0.45 * (y - at)  # wider at the top
    for angle in (0.0, 60.0, 120.0):
        u, v = rotate_2d(x, z, angle)
        wires = torch.minimum(wires, sdf.ring(u / egg, y - at, v, wide, high, 0.028))
    grip = sdf.tube(x, y, z, ((0.0, -0.56, 0.0), s.vary(2, 0.08, 0.15)), ((0.0, at - high + 0.06, 0.0), 0.06))
    return [sdf.union(wires, sdf.sphere(x, y - at - high, z, 0.05)), grip]


def rolling_pin(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, half = s.vary(0, 0.15, 0.2), s.vary(1, 0.37, 0.08)
    grip = s.vary(2, 0.07, 0.15)
    handles = sdf.lathe(
        y, x.abs(), z, [(0.05, half - 0.05), (0.05, half + 0.03), (grip, half + 0.1), (grip * 0.8, 0.62)]
    )
    return [sdf.cylinder(y, x, z, r, half, 0.03), handles]


def cutting_board(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy = s.vary(0, 0.38, 0.15), s.vary(1, 0.58, 0.08)
    outline = sdf.rectangle(x, y, hx, hy, 0.08)
    hole = sdf.rectangle(x, y - hy + 0.13, s.vary(2, 0.13, 0.2), 0.045, 0.045)
    board = sdf.extrude(sdf.subtract(outline, hole), z, s.vary(3, 0.045, 0.2), 0.015)
    groove = sdf.rectangle(x, y + 0.09, hx - 0.07, hy - 0.16, 0.05).abs() - 0.018
    inlay = torch.maximum(board - 0.004, groove)
    return [board, inlay]


def cheese_board(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round board with a handle at the top and a band of another wood."""
    r, wide = s.vary(0, 0.42, 0.1), s.vary(1, 0.085, 0.15)
    disk = sdf.length(x, y + 0.62 - r) - r
    handle = sdf.rectangle(x, y - 0.32, wide, 0.31, 0.06)
    outline = sdf.subtract(sdf.smooth_union(disk, handle, 0.12), sdf.length(x, y - 0.53) - 0.038)
    board = sdf.extrude(outline, z, s.vary(2, 0.045, 0.2), 0.015)
    return [board, torch.maximum(board - 0.005, (x - r * 0.45).abs() - s.vary(3, 0.05, 0.3))]


def mortar(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim, waist, top = s.vary(0, 0.46, 0.08), s.vary(1, 0.27, 0.12), s.vary(2, 0.14, 0.3)
    profile: sdf.Profile = [
        (waist * 1.2, -0.6),
        (waist * 1.2, -0.5),
        (waist, -0.4),
        (rim * 0.8, -0.2),
        (rim * 0.95, top),
    ]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.1)
    low, high = (0.0, -0.42, 0.0), (0.17, s.vary(3, 0.54, 0.08), 0.0)
    pestle = sdf.tube(x, y, z, (low, 0.11), ((0.03, -0.3, 0.0), 0.1), ((0.08, 0.0, 0.0), 0.06), (high, 0.075))
    return [sdf.subtract(solid, cavity), pestle]


def grater(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A box grater: rows of teeth in front, slots at the sides, a handle on top."""
    wide, deep, high = s.vary(0, 0.3, 0.12), s.vary(1, 0.22, 0.12), s.vary(2, 0.44, 0.08)
    low = -0.16
    shrink = 1 - 0.25 * (y - low + high) / (2 * high)
    body = 0.97 * sdf.box(x / shrink, y - low, z / shrink, wide, high, deep, 0.02) * 0.75
    xs = x - (x / 0.13).round().clamp(-1, 1) * 0.13
    row = ((y - low) / 0.13).round().clamp(-2, 2) * 0.13
    teeth = sdf.ellipsoid(xs, y - low - row, z - deep * shrink, 0.045, 0.03, 0.045)
    slots = sdf.box(x.abs() - wide * shrink, y - low - row, z, 0.03, 0.025, deep * 0.5, 0.01)
    top = low + high
    bow = sdf.ring(x, y - top, z, s.vary(3, 0.17, 0.12), s.vary(4, 0.2, 0.12), 0.045)
    return [sdf.union(sdf.subtract(body, slots), teeth), torch.maximum(bow, top - 0.03 - y)]


# fmt: off
CATEGORIES = (
    category("pan", styled(frying_pan, wok, grill_pan), "frypan", "handle grip", DARK, WOOD_COLOR, materials="metal",
        height=0.08, surfaces="iron wood", styles="frying pan, skillet; wok; grill pan, griddle"),
    category("ladle", ladle, "", "handle shaft grip", STEEL, materials=WOODEN, height=0.3, surfaces="steel steel"),
    category("spatula", styled(turner, scraper), "", "handle shaft grip", DARK, WOOD_COLOR, materials=WOODEN,
        genus=(3, 0), height=0.3, surfaces="plastic wood", styles="turner, slotted spatula; scraper, dough scraper"),
    category("whisk", whisk, "eggbeater", "handle grip", STEEL, WOOD_COLOR, genus=5, materials="metal", height=0.28,
        surfaces="steel wood"),
    category("rollingpin", rolling_pin, "", "handles handle grips", (0.76, 0.56, 0.34), RED,
        materials=f"{WOODEN} stone", height=0.07, surfaces="wood paint"),
    category("board", styled(cutting_board, cheese_board), "", "groove band edge", (0.72, 0.52, 0.32),
        (0.45, 0.28, 0.15), materials=f"{WOODEN} stone", genus=1, height=0.4, surfaces="wood wood",
        styles="cutting board, chopping board; cheese board, bread board"),
    category("mortar", mortar, "", "pestle", STONE, WOOD_COLOR, materials=f"{WOODEN} stone", height=0.15,
        surfaces="stone wood"),
    category("grater", grater, "", "handle grip", STEEL, RED, genus=1, materials="metal", relaxation=0.7, height=0.22,
        surfaces="steel plastic"),
)
# fmt: on

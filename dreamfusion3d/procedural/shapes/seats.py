"""Styles of chairs, stools, benches and sofas; the categories are in `furniture`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, rotate_2d

FLOOR = -0.56


def armchair(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz = s.vary(0, 0.5, 0.12), s.vary(1, 0.45, 0.12)
    arm, back = s.vary(2, 0.29, 0.15), s.vary(3, 0.54, 0.1)  # half heights
    arms = sdf.box(x.abs() - hx + 0.09, y - FLOOR - 0.08 - arm, z - 0.02, 0.09, arm, hz - 0.02, 0.03)
    rear = sdf.box(x, y - FLOOR - 0.08 - back + 0.04, z + hz - 0.1, hx - 0.03, back - 0.02, 0.1, 0.03)
    base = sdf.box(x, y - FLOOR - 0.24, z, hx - 0.05, 0.16, hz - 0.04)
    filling = sdf.box(x, y - FLOOR - 0.1 - back * 0.9, z + hz - 0.18, hx - 0.1, back * 0.9, 0.14)  # behind the pillow
    feet = sdf.box(x.abs() - hx + 0.08, y - FLOOR - 0.05, z.abs() - hz + 0.08, 0.045, 0.07, 0.045, 0.008)
    seat = sdf.box(x, y - FLOOR - 0.38, z - 0.09, hx - 0.17, 0.1, hz - 0.11, 0.035)
    zb, yb = rotate_2d(z + hz - 0.25, y - FLOOR - 0.42, 8.0)
    pillow = sdf.box(x, yb - back * 0.62, zb, hx - 0.17, back * 0.6, 0.09, 0.04)
    return [sdf.union(arms, rear, base, filling, feet), sdf.union(seat, pillow)]


def rocking_chair(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, back = s.vary(0, 0.3, 0.1), s.vary(1, 0.66, 0.12)
    curve = s.vary(2, 1.0, 0.15)  # radius of the runners
    side = x.abs() - hx
    arc = sdf.length(y - FLOOR - curve, z) - curve + 0.03
    runners = torch.maximum(sdf.box(arc, side, z - 0.02, 0.035, 0.035, 0.56, 0.01), y)
    legs = torch.maximum(sdf.box(side, y + 0.34, z.abs() - 0.24, 0.035, 0.26, 0.035, 0.01), arc)
    zb, yb = rotate_2d(z + 0.24, y + 0.12, 12.0)
    posts = sdf.box(side, yb - back / 2, zb, 0.035, back / 2, 0.035, 0.01)
    rail = sdf.box(x, yb - back + 0.02, zb, hx + 0.05, 0.07, 0.035, 0.015)
    slats = sdf.box(x.abs() - hx * 0.36, yb - back / 2, zb, 0.035, back / 2, 0.025, 0.01)
    arm_at = s.vary(3, 0.16, 0.15)
    arms = sdf.box(side, y - arm_at, z + 0.02, 0.05, 0.03, 0.33, 0.015)
    supports = sdf.box(side, y - arm_at / 2 + 0.05, z - 0.24, 0.03, arm_at / 2 + 0.06, 0.03, 0.01)
    seat = sdf.box(x, y + 0.1, z - 0.01, hx + 0.04, 0.04, 0.32, 0.015)
    return [sdf.union(runners, legs, posts, rail, slats, arms, supports), seat]


def office_chair(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, reach, seat_at = s.vary(0, 0.31, 0.12), s.vary(1, 0.36, 0.1), s.vary(2, 0.5, 0.1) + FLOOR
    back = s.vary(3, 0.22, 0.15)  # half height
    column = sdf.cylinder(x, y - (seat_at + FLOOR) / 2 - 0.04, z, 0.05, (seat_at - FLOOR) / 2 - 0.04)
    hub = sdf.cylinder(x, y - FLOOR - 0.13, z, 0.085, 0.06)
    base = sdf.union(column, hub)
    for i in range(5):
        cx, cz = math.cos(math.radians(90 + 72 * i)) * reach, math.sin(math.radians(90 + 72 * i)) * reach
        base = torch.minimum(base, sdf.capsule(x, y, z, (0.0, FLOOR + 0.14, 0.0), (cx, FLOOR + 0.1, cz), 0.05, 0.035))
        base = torch.minimum(base, sdf.sphere(x - cx, y - FLOOR - 0.055, z - cz, 0.06))
    zb, yb = rotate_2d(z + 0.28, y - seat_at, 7.0)
    spine = sdf.box(x, yb - 0.14, zb + 0.06, 0.06, 0.2, 0.035)
    rest = sdf.box(x, yb - 0.14 - back, zb, hx - 0.03, back, 0.06, 0.045)
    stems = sdf.box(x.abs() - hx - 0.03, y - seat_at - 0.1, z + 0.02, 0.035, 0.15, 0.05, 0.015)
    pads = sdf.box(x.abs() - hx - 0.03, y - seat_at - 0.25, z - 0.02, 0.05, 0.03, 0.2, 0.02)
    seat = sdf.box(x, y - seat_at, z, hx, 0.06, 0.31, 0.045)
    return [sdf.union(base, spine, rest, stems, pads), seat]


def folding_chair(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, spread, top = s.vary(0, 0.32, 0.12), s.vary(1, 0.34, 0.12), s.vary(2, 0.56, 0.08)
    side = x.abs() - hx
    zero = 0 * hx
    long = sdf.capsule(side, y, z, (0.0, FLOOR + 0.04, spread), (0.0, top, -spread), 0.04, 0.04)
    short = sdf.capsule(side, y, z, (0.0, FLOOR + 0.04, -spread), (0.0, -0.07 + zero, spread - 0.04), 0.04, 0.04)
    feet = sdf.box(side, y - FLOOR - 0.03, z.abs() - spread, 0.045, 0.03, 0.05, 0.01)
    bar = sdf.capsule(x, y, z, (-hx, FLOOR + 0.06, -spread), (hx, FLOOR + 0.06, -spread), 0.035, 0.035)
    tilt = torch.atan2(2 * spread, top - FLOOR - 0.04)
    c, n = torch.cos(tilt), torch.sin(tilt)
    along, across = (y - top) * c - (z + spread) * n, (z + spread) * c + (y - top) * n
    rest = sdf.box(x, along + 0.16, across, hx, s.vary(3, 0.13, 0.15), 0.035, 0.015)
    seat = sdf.box(x, y + 0.05, z - 0.06, hx + 0.02, 0.035, spread, 0.015)
    return [sdf.union(long, short, feet, bar, rest), seat]


def bar_stool(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, top, foot = s.vary(0, 0.25, 0.14), s.vary(1, 0.53, 0.1), s.vary(2, 0.3, 0.12)
    seat = sdf.cylinder(x, y - top, z, radius, 0.075, 0.035)
    column = sdf.cylinder(x, y - (top - 0.5) / 2, z, 0.05, (top + 0.5) / 2)
    rest_at = s.vary(3, 0.36, 0.2) + FLOOR
    rest = sdf.torus(x, y - rest_at, z, 0.21, 0.035)
    spokes = sdf.box(x, y - rest_at, z, 0.21, 0.03, 0.035, 0.01)

    def feet(*angles_deg: float) -> Tensor:
        out = torch.full_like(x, ABSENT_DISTANCE)
        for angle in angles_deg:
            c, n = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            end = (c * foot, FLOOR + 0.03, n * foot)
            out = torch.minimum(out, sdf.capsule(x, y, z, (0.0, FLOOR + 0.16, 0.0), end, 0.055, 0.045))
        return torch.maximum(out, FLOOR - y)

    base = torch.where(s.count == 3, feet(90.0, 210.0, 330.0), feet(45.0, 135.0, 225.0, 315.0))
    return [sdf.union(column, rest, spokes, base), seat]


def ottoman(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round, padded footstool on stub legs."""
    radius, half = s.vary(0, 0.54, 0.1), s.vary(1, 0.19, 0.2)
    drum = sdf.cylinder(x, y, z, radius, half, 0.02)
    band = sdf.cylinder(x, y + half - 0.04, z, radius + 0.015, 0.035, 0.01)
    pad = sdf.cylinder(x, y - half - 0.05, z, radius - 0.005, 0.08, 0.06)
    button = sdf.ellipsoid(x, y - half - 0.13, z, 0.06, 0.025, 0.06)
    foot = s.vary(2, 0.1, 0.2)

    def legs(*angles_deg: float) -> Tensor:
        out = torch.full_like(x, ABSENT_DISTANCE)
        for angle in angles_deg:
            c, n = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            at = radius - 0.1
            out = torch.minimum(out, sdf.cylinder(x - c * at, y + half + foot / 2, z - n * at, 0.055, foot / 2 + 0.03))
        return out

    stubs = torch.where(s.count == 3, legs(90.0, 210.0, 330.0), legs(45.0, 135.0, 225.0, 315.0))
    return [sdf.union(drum, band, stubs), sdf.union(pad, button)]


def plank_bench(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, thick = s.vary(0, 0.59, 0.08), s.vary(1, 0.19, 0.15), s.vary(2, 0.05, 0.2)
    half = s.vary(3, 0.18, 0.2)
    seat = sdf.box(x, y - half, z, hx, thick, hz, 0.015)
    lean = (x.abs() - hx * 0.72) - 0.12 * (half - y)  # the feet stand farther out
    panels = sdf.box(lean, y + 0.02, z, 0.05, half + 0.02, hz * 0.85, 0.015)
    return [seat, torch.maximum(panels, -half - y)]


def garden_bench(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Armrests, and upright slats in the back."""
    hx, hz, at = s.vary(0, 0.58, 0.07), s.vary(1, 0.24, 0.12), s.vary(2, 0.3, 0.12) - 0.4
    high = s.vary(3, 0.42, 0.12)
    seat = sdf.box(x, y - at, z, hx, 0.045, hz, 0.012)
    end = x.abs() - hx + 0.04
    rear = sdf.box(end, y - (at + high - 0.4) / 2, z + hz - 0.04, 0.045, (at + high + 0.4) / 2, 0.04, 0.01)
    front = sdf.box(end, y - (at + 0.2 - 0.4) / 2, z - hz + 0.04, 0.045, (at + 0.2 + 0.4) / 2, 0.045, 0.01)
    arms = sdf.box(end, y - at - 0.21, z, 0.055, 0.03, hz + 0.02, 0.012)
    rails = sdf.box(x, y - at - high, z + hz - 0.04, hx, 0.06, 0.045, 0.015)
    pitch = hx * 0.29
    nearest = (x / pitch).round().clamp(-2, 2) * pitch
    slats = sdf.box(x - nearest, y - at - high / 2, z + hz - 0.04, 0.045, high / 2, 0.03, 0.01)
    return [sdf.union(seat, arms, rails, slats), sdf.union(rear, front)]


def chesterfield(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Rolled arms as high as the rolled, buttoned back."""
    hx, hz, roll = s.vary(0, 0.54, 0.05), s.vary(1, 0.27, 0.1), s.vary(2, 0.085, 0.15)
    top = s.vary(3, 0.18, 0.3)
    base = sdf.box(x, y + 0.23, z, hx, 0.1, hz, 0.015)
    arms = sdf.box(x.abs() - hx + 0.06, y - (top - 0.3) / 2, z, 0.06, (top + 0.3) / 2, hz, 0.015)
    back = sdf.box(x, y - (top - 0.3) / 2, z + hz - 0.07, hx, (top + 0.3) / 2, 0.07, 0.015)
    arm_rolls = sdf.cylinder(x.abs() - hx + 0.02, z, y - top, roll, hz + 0.01)
    back_roll = sdf.cylinder(y - top, x, z + hz - 0.05, roll, hx)
    pitch = hx * 0.4
    column = (x / pitch).round().clamp(-1, 1) * pitch
    buttons = sdf.sphere(x - column, y - top + 0.13, z + hz - 0.14, 0.03)
    feet = sdf.sphere(x.abs() - hx + 0.08, y + 0.35, z.abs() - hz + 0.08, 0.06)
    half = (hx - 0.1) / 2
    cushions = sdf.box(x.abs() - half, y + 0.08, z - 0.06, half - 0.006, 0.08, hz - 0.05, 0.035)
    return [sdf.union(base, arms, back, arm_rolls, back_roll, buttons, feet), cushions]


def corner_sofa(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An L: the left seat reaches forward."""
    hx, depth, back = s.vary(0, 0.57, 0.06), s.vary(1, 0.23, 0.1), s.vary(2, 0.26, 0.15)
    reach = s.vary(3, 0.5, 0.1)
    rear = -0.45
    base = sdf.box(x, y + 0.24, z - rear - depth, hx, 0.1, depth, 0.02)
    chaise = sdf.box(x + hx - depth, y + 0.24, z - rear - reach, depth, 0.1, reach, 0.02)
    rest = sdf.box(x, y + 0.34 - back, z - rear - 0.07, hx, back, 0.07, 0.03)
    side = sdf.box(x + hx - 0.07, y + 0.34 - back, z - rear - depth, 0.07, back, depth, 0.03)
    arm = sdf.box(x - hx + 0.06, y + 0.34 - back * 0.75, z - rear - depth, 0.06, back * 0.75, depth, 0.03)
    feet = sdf.box(x.abs() - hx + 0.1, y + 0.36, z - rear - depth, 0.05, 0.06, depth - 0.06, 0.01)
    tip = sdf.box(x + hx - depth, y + 0.36, z - rear - 2 * reach + 0.1, depth - 0.06, 0.06, 0.05, 0.01)
    inner = hx - depth  # half width of the seats beside the long one
    half = (inner - 0.06) / 2
    mid = x - depth + 0.06
    seats = sdf.box(mid.abs() - half, y + 0.1, z - rear - depth - 0.06, half - 0.008, 0.06, depth - 0.06, 0.03)
    long_seat = sdf.box(x + hx - depth - 0.06, y + 0.1, z - rear - reach - 0.06, depth - 0.07, 0.06, reach - 0.06, 0.03)
    pillows = sdf.box(x + hx - depth - 0.1, y - 0.06, z - rear - 0.18, 0.13, 0.11, 0.06, 0.045)
    return [sdf.union(base, chaise, rest, side, arm, feet, tip), sdf.union(seats, long_seat, pillows)]


def chaise_longue(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A long seat with one raised, rolled end."""
    hx, hz, rise = s.vary(0, 0.57, 0.06), s.vary(1, 0.22, 0.12), s.vary(2, 0.34, 0.15)
    base = sdf.box(x, y + 0.14, z, hx, 0.06, hz, 0.015)
    xb, yb = rotate_2d(x + hx - 0.1, y + 0.14, -14.0)
    head = sdf.box(xb, yb - rise / 2, z, 0.06, rise / 2, hz, 0.02)
    roll = sdf.cylinder(xb + 0.02, z, yb - rise, 0.085, hz + 0.01)
    feet = sdf.capsule(x.abs(), y, z.abs(), (hx - 0.1, -0.16, hz - 0.06), (hx - 0.04, -0.38, hz - 0.04), 0.05, 0.03)
    seat = sdf.box(x - 0.06, y + 0.04, z, hx - 0.07, 0.07, hz - 0.01, 0.035)
    bolster = sdf.cylinder(x + hx - 0.27, z, y - 0.09, 0.085, hz - 0.05, 0.03)
    return [sdf.union(base, head, roll, feet), sdf.union(seat, bolster)]

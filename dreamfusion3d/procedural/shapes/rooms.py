"""Styles of tables, lamps, beds and chests; the categories are in `furniture`."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d


def _column(x: Tensor, y: Tensor, z: Tensor, top: Tensor, floor: float, thick: Tensor, foot: Tensor) -> Tensor:
    """The single leg of a table: a turned column on a round foot."""
    profile: sdf.Profile = [
        (foot, floor),
        (foot, floor + 0.05),
        (thick, floor + 0.12),
        (thick * 1.5, (floor + top) / 2),
        (thick, top),
    ]
    return sdf.lathe(x, y, z, profile, 0.012)


def coffee_table(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A low table with rounded ends on splayed, tapered legs."""
    hx, hz, top = s.vary(0, 0.59, 0.07), s.vary(1, 0.34, 0.12), s.vary(2, 0.18, 0.2)
    outline = sdf.length((x.abs() - hx + hz).clamp(min=0), z) - hz
    board = sdf.extrude(outline, y - top, 0.045)
    legs = sdf.capsule(
        x.abs(),
        y,
        z.abs(),
        (hx * 0.6, top - 0.04, hz * 0.45),
        (hx * 0.76, -0.22, hz * 0.72),
        0.06,
        s.vary(3, 0.035, 0.2),
    )
    return [board, torch.where(s.count == 1, _column(x, y, z, top, -0.25, s.vary(3, 0.07, 0.2), hz * 0.8), legs)]


def round_table(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, top = s.vary(0, 0.54, 0.1), s.vary(1, 0.34, 0.15)
    board = sdf.union(
        sdf.cylinder(x, y - top, z, radius, 0.035, 0.012), sdf.cylinder(x, y - top + 0.06, z, radius * 0.8, 0.05)
    )
    foot = radius * 0.62
    legs = sdf.capsule(
        x.abs(), y, z.abs(), (foot * 0.7, top - 0.05, foot * 0.7), (foot, -0.48, foot), 0.065, s.vary(2, 0.04, 0.15)
    )
    legs = torch.maximum(legs, -0.5 - y)
    return [
        board,
        torch.where(s.count == 1, _column(x, y, z, top, -0.5, s.vary(2, 0.06, 0.2), s.vary(3, 0.3, 0.15)), legs),
    ]


def writing_desk(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A board with a set of drawers below its right end."""
    hx, hz, top = s.vary(0, 0.59, 0.06), s.vary(1, 0.3, 0.12), s.vary(2, 0.32, 0.15)
    floor = -0.46
    board = sdf.box(x, y - top, z, hx, 0.04, hz, 0.01)
    wide, deep = s.vary(3, 0.19, 0.15), s.vary(4, 0.22, 0.2)  # of the drawers, half
    case_x, case_y = x - hx + wide + 0.13, y - top + deep
    case = sdf.box(case_x, case_y, z, wide, deep, hz - 0.04, 0.01)
    fronts = sdf.box(case_x, (case_y.abs() - deep / 2), z - hz + 0.04, wide - 0.025, deep / 2 - 0.02, 0.02, 0.008)
    knobs = sdf.sphere(case_x, case_y.abs() - deep / 2, z - hz + 0.005, 0.035)
    half = (top - floor) / 2
    legs = sdf.box(x.abs() - hx + 0.07, y - top + half, z.abs() - hz + 0.07, 0.045, half, 0.045, 0.01)
    single = sdf.union(
        sdf.box(x, y - top + half, z, 0.08, half, 0.08, 0.01),
        sdf.box(x, y - floor - 0.03, z, hx * 0.6, 0.035, hz * 0.8, 0.01),
    )
    return [sdf.union(board, case, fronts, knobs), torch.where(s.count == 1, single, legs)]


def floor_light(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A shade on a tall, thin pole."""
    low, high, at = s.vary(0, 0.26, 0.12), s.vary(1, 0.17, 0.15), s.vary(2, 0.26, 0.2)
    shade = sdf.lathe(x, y, z, [(low, at), (high, 0.6)], 0.01)
    foot = s.vary(3, 0.22, 0.15)
    pole = sdf.lathe(x, y, z, [(foot, -0.63), (foot, -0.59), (0.06, -0.56), (0.035, -0.48), (0.035, 0.3)], 0.008)
    knob = sdf.sphere(x, y + 0.2, z, 0.06)
    tip = sdf.sphere(x, y - 0.59, z, 0.045)
    return [shade, sdf.union(pole, knob, tip)]


def desk_light(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A cone on a jointed arm, which leans back and reaches forward over -X."""
    foot, elbow_x, elbow_y = s.vary(0, 0.25, 0.12), s.vary(1, 0.24, 0.2), s.vary(2, 0.18, 0.3)
    tip_x, tip_y = s.vary(3, -0.18, 0.25), 0.48
    base = sdf.cylinder(x - 0.06, y + 0.58, z, foot, 0.05)
    zero = 0 * elbow_x
    lower = sdf.capsule(x, y, z, (0.06, -0.55, 0.0), (elbow_x + 0.04, elbow_y, zero), 0.04, 0.04)
    upper = sdf.capsule(x, y, z, (elbow_x + 0.04, elbow_y, 0.0), (tip_x, tip_y + zero, zero), 0.04, 0.04)
    joints = sdf.union(
        sdf.cylinder(x - elbow_x - 0.04, z, y - elbow_y, 0.065, 0.065), sdf.cylinder(x - 0.06, z, y + 0.51, 0.06, 0.06)
    )
    xs, ys = rotate_2d(x - tip_x, y - tip_y, -32.0)
    wide = s.vary(4, 0.2, 0.12)
    head = sdf.lathe(xs, ys, z, [(wide, -0.27), (wide * 0.85, -0.2), (0.09, 0.0), (0.075, 0.06)], 0.012)
    inside = sdf.ellipsoid(xs, ys + 0.31, z, wide - 0.05, 0.16, wide - 0.05)
    bulb = sdf.sphere(xs, ys + 0.17, z, 0.07)
    return [sdf.union(sdf.subtract(head, inside), bulb), sdf.union(base, lower, upper, joints)]


def bunk_bed(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, gap = s.vary(0, 0.3, 0.12), s.vary(1, 0.55, 0.06), s.vary(2, 0.25, 0.12)
    high = s.vary(3, 0.5, 0.06)
    posts = sdf.box(x.abs() - hx, y + 0.03, z.abs() - hz, 0.045, high, 0.045, 0.01)
    tier = torch.where(y > -0.05, y - gap + 0.05, y + gap + 0.1)  # of the nearer bed
    frames = sdf.box(x, tier, z, hx + 0.01, 0.06, hz + 0.01, 0.01)
    boards = sdf.box(x, tier - 0.08, z.abs() - hz, hx, 0.14, 0.03, 0.01)
    quilts = sdf.box(x, tier - 0.09, z - 0.12, hx - 0.03, 0.06, hz - 0.15, 0.03)
    pillows = sdf.box(x, tier - 0.11, z + hz - 0.18, hx * 0.68, 0.07, 0.11, 0.05)
    return [sdf.union(posts, frames, boards), quilts, pillows]


def canopy_bed(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Four posts that carry a frame."""
    hx, hz, high = s.vary(0, 0.42, 0.1), s.vary(1, 0.53, 0.06), s.vary(2, 0.5, 0.1)
    posts = sdf.box(x.abs() - hx, y - high / 2 + 0.27, z.abs() - hz, 0.045, high / 2 + 0.27, 0.045, 0.01)
    outer = sdf.box(x, y - high, z, hx + 0.045, 0.045, hz + 0.045, 0.01)
    top = sdf.subtract(outer, sdf.box(x, y - high, z, hx - 0.045, 0.2, hz - 0.045, 0.01))
    frame = sdf.box(x, y + 0.33, z, hx, 0.08, hz, 0.01)
    head = sdf.box(x, y + 0.18, z + hz, hx, s.vary(3, 0.24, 0.15), 0.035, 0.01)
    quilt = sdf.box(x, y + 0.22, z - 0.12, hx - 0.01, 0.08, hz - 0.14, 0.04)
    pillow = sdf.box(x.abs() - hx * 0.48, y + 0.19, z + hz - 0.17, hx * 0.4, 0.08, 0.11, 0.05)
    return [sdf.union(posts, top, frame, head), quilt, pillow]


def steamer_trunk(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A flat-topped trunk with slats, metal corners and a clasp."""
    hx, hy, hz = s.vary(0, 0.57, 0.06), s.vary(1, 0.29, 0.14), s.vary(2, 0.31, 0.12)
    body = sdf.box(x, y, z, hx, hy, hz, 0.012)
    seam = torch.maximum((y - hy * 0.45).abs() - 0.012, -(body + 0.02))
    at = (x.abs() - hx * 0.5).abs() - 0.045
    slats = torch.maximum(body - 0.025, at)
    corners = torch.maximum(
        body - 0.03, torch.maximum(hx - 0.11 - x.abs(), torch.maximum(hy - 0.11 - y.abs(), hz - 0.11 - z.abs()))
    )
    rim = torch.maximum(body - 0.02, ((y - hy * 0.45).abs() - 0.07).abs() - 0.022)
    clasp = sdf.box(x, y - hy * 0.45, z - hz - 0.01, s.vary(3, 0.07, 0.2), 0.1, 0.045, 0.012)
    return [sdf.union(sdf.subtract(body, seam), slats), sdf.union(corners, rim, clasp)]


def toolbox(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A gabled box with a bar handle."""
    hx, hy, hz = s.vary(0, 0.58, 0.06), s.vary(1, 0.19, 0.15), s.vary(2, 0.27, 0.12)
    roof = s.vary(3, 0.16, 0.15)
    corners: sdf.Profile = [(-hz, -hy), (hz, -hy), (hz, hy), (hz * 0.45, hy + roof), (-hz * 0.45, hy + roof), (-hz, hy)]
    body = sdf.extrude(sdf.polygon(z, y + 0.12, corners), x, hx, 0.012)
    seam = torch.maximum((y + 0.12 - hy).abs() - 0.012, -(body + 0.02))
    top = hy + roof - 0.12
    grip = sdf.box(x, y - top - 0.13, z, hx * 0.5, 0.035, 0.04, 0.012)
    stems = sdf.box(x.abs() - hx * 0.46, y - top - 0.06, z, 0.04, 0.1, 0.035, 0.01)
    clasps = sdf.box(x.abs() - hx * 0.55, y + 0.12 - hy, z - hz, 0.06, 0.09, 0.035, 0.01)
    return [sdf.subtract(body, seam), sdf.union(grip, stems, clasps)]

"""Toys."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, PATTERNS, RED, STEEL, WHITE, category
from dreamfusion3d.procedural.shapes.base import ShapeParams


def snowman(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, mid, head = s.vary(0, 0.29, 0.09), s.vary(1, 0.215, 0.11), s.vary(2, 0.155, 0.11)
    low_y = -0.64 + low
    mid_y = low_y + low + mid * 0.55
    head_y = mid_y + mid + head * 0.6
    body = sdf.smooth_union(sdf.sphere(x, y - low_y, z, low), sdf.sphere(x, y - mid_y, z, mid), 0.05)
    body = sdf.smooth_union(body, sdf.sphere(x, y - head_y, z, head), 0.05)
    brim_y = head_y + head * 0.7
    hat = sdf.union(
        sdf.cylinder(x, y - brim_y, z, head * 1.3, 0.03), sdf.cylinder(x, y - brim_y - 0.08, z, head * 0.85, 0.085)
    )
    nose = sdf.capsule(x, y, z, (0.0, head_y, head * 0.8), (0.0, head_y - 0.01, head + 0.2), 0.05, 0.02)
    return [body, hat, nose]


def ball(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r = s.vary(0, 0.52, 0.11)
    whole = sdf.sphere(x, y, z, r)
    belt = torch.maximum(whole - 0.025, y.abs() - s.vary(1, 0.09, 0.2))
    return [whole, belt]


def duck(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A bath duck, looking to the front."""
    body = sdf.ellipsoid(x, y + 0.26, z + 0.04, s.vary(0, 0.36, 0.11), 0.27, s.vary(1, 0.46, 0.11))
    tail = sdf.capsule(x, y, z, (0.0, -0.22, -0.3), (0.0, 0.02, -0.54), 0.14, 0.04)
    head_y, head_z, r = s.vary(2, 0.22, 0.15), 0.24, s.vary(3, 0.25, 0.11)
    head = sdf.sphere(x, y - head_y, z - head_z, r)
    wings = sdf.ellipsoid(x.abs() - 0.33, y + 0.22, z + 0.06, 0.09, 0.15, 0.27)
    beak = sdf.ellipsoid(x, y - head_y + 0.05, z - head_z - r, 0.13, 0.06, 0.15)
    eyes = sdf.sphere(x.abs() - 0.12, y - head_y - 0.08, z - head_z - r * 0.8, 0.06)
    whole = sdf.smooth_union(sdf.smooth_union(body, tail, 0.08), head, 0.08)
    return [sdf.union(whole, wings), beak, eyes]


def robot(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx = s.vary(0, 0.26, 0.14)
    body = sdf.box(x, y + 0.08, z, hx, 0.24, 0.18, 0.04)
    legs = sdf.box(x.abs() - 0.13, y + 0.44, z, 0.09, 0.18, 0.1, 0.02)
    feet = sdf.box(x.abs() - 0.13, y + 0.58, z - 0.05, 0.11, 0.05, 0.17, 0.02)
    arms = sdf.capsule(x.abs(), y, z, (hx, 0.05, 0.0), (hx + 0.15, s.vary(1, -0.26, 0.2), 0.06), 0.08, 0.08)
    neck = sdf.cylinder(x, y - 0.2, z, 0.08, 0.08)
    head = sdf.box(x, y - 0.39, z, s.vary(2, 0.22, 0.14), 0.16, 0.17, 0.03)
    knob = sdf.union(sdf.cylinder(x, y - 0.56, z, 0.035, 0.05), sdf.sphere(x, y - 0.6, z, 0.06))
    eyes = sdf.sphere(x.abs() - 0.09, y - 0.42, z - 0.16, 0.06)
    return [sdf.union(body, legs, feet, arms, neck), sdf.union(head, knob), eyes]


# fmt: off
CATEGORIES = (
    category("snowman", snowman, "", "hat", (0.94, 0.95, 0.97), (0.14, 0.14, 0.17), (0.95, 0.45, 0.08), height=1.6,
        surfaces="snow fabric peel"),
    category("ball", ball, "sphere", "belt ring", RED, WHITE, materials=PATTERNS, height=0.22,
        surfaces="rubber rubber"),
    category("duck", duck, "duckling", "beak bill", (0.96, 0.82, 0.15), (0.95, 0.5, 0.1), DARK, height=0.1,
        surfaces="rubber rubber rubber"),
    category("robot", robot, "android", "head", STEEL, None, (0.95, 0.8, 0.2), materials="metal striped", height=0.3,
        surfaces="steel steel plastic"),
)
# fmt: on

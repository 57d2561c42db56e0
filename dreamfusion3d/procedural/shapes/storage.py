"""Jars, shakers, cans and baskets."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, DARK, GLASS, PATTERNS, RED, STEEL, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, styled, vessel_and_cavity, where_present


def jam_jar(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, half = s.vary(0, 0.36, 0.12), s.vary(1, 0.44, 0.12)
    low = -0.1
    neck, top = r * s.vary(2, 0.82, 0.06), low + half
    glass = sdf.lathe(
        x, y, z, [(r, low - half), (r, top - 0.16), (r * 0.97, top - 0.04), (neck, top), (neck, top + 0.08)]
    )
    cover = sdf.cylinder(x, y - top - 0.11, z, neck + 0.055, s.vary(3, 0.085, 0.12))
    label = torch.maximum(glass - 0.01, (y - low + 0.06).abs() - half * s.vary(4, 0.42, 0.15))
    return [glass, cover, torch.maximum(label, sdf.rectangle(x, z - 1.0, r * 0.8, 1.0))]


def cookie_jar(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, foot, top = s.vary(0, 0.44, 0.1), s.vary(1, 0.3, 0.12), s.vary(2, 0.22, 0.2)
    body = sdf.lathe(
        x, y, z, [(foot, -0.58), (r, -0.4), (r, top - 0.25), (r * 0.72, top), (r * 0.72, top + 0.04)], cuts=2
    )
    dome = sdf.lathe(
        x, y, z, [(r * 0.82, top + 0.03), (r * 0.82, top + 0.06), (r * 0.6, top + 0.15), (0.06, top + 0.2)], cuts=2
    )
    return [body, sdf.union(dome, sdf.sphere(x, y - top - 0.26, z, s.vary(3, 0.085, 0.15)))]


def ginger_jar(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, foot, neck = s.vary(0, 0.4, 0.1), s.vary(1, 0.22, 0.15), s.vary(2, 0.18, 0.12)
    profile: sdf.Profile = [
        (foot, -0.6),
        (foot, -0.52),
        (r * 0.85, -0.05),
        (r, 0.16),
        (r * 0.8, 0.32),
        (neck, 0.36),
        (neck, 0.42),
    ]
    cap = sdf.lathe(x, y, z, [(neck + 0.06, 0.4), (neck + 0.06, 0.46), (neck * 0.8, 0.56), (0.03, 0.58)])
    return [sdf.lathe(x, y, z, profile, cuts=2), sdf.union(cap, sdf.sphere(x, y - 0.59, z, 0.05))]


def _shaker(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, across: Tensor, body: sdf.Profile) -> list[Tensor]:
    """A body of the given profile, ``across`` from its axis, under a domed cap with holes."""
    high, top = body[-1]
    dome = sdf.ellipsoid(x, y - top, z, high + 0.05, s.vary(3, 0.24, 0.15), high + 0.05)
    cap = sdf.union(torch.maximum(dome, top - y), sdf.cylinder(x, y - top, z, high + 0.06, 0.09))
    pitch = 0.42 * high
    xs, zs = (u - (u / pitch).round().clamp(-1, 1) * pitch for u in (x, z))
    holes = torch.maximum(sdf.length(xs, zs) - 0.026, top + 0.13 - y)
    return [sdf.lathe(across, y, 0 * z, body, 0.015), sdf.subtract(cap, torch.maximum(holes, -dome - 0.04))]


def salt_shaker(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, high, top = s.vary(0, 0.32, 0.12), s.vary(1, 0.22, 0.12), s.vary(2, 0.24, 0.25)
    octagon = torch.maximum(torch.maximum(x.abs(), z.abs()), (x.abs() + z.abs()) * 0.7071)
    return _shaker(x, y, z, s, octagon, [(low, -0.6), (low, -0.5), (high, top)])


def sugar_shaker(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, waist, top = s.vary(0, 0.3, 0.1), s.vary(1, 0.24, 0.1), s.vary(2, 0.18, 0.25)
    profile: sdf.Profile = [(low, -0.6), (low, -0.3), (waist, -0.05), (waist * 1.1, top)]
    return _shaker(x, y, z, s, sdf.length(x, z), profile)


def pepper_mill(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    foot, waist, top = s.vary(0, 0.22, 0.12), s.vary(1, 0.12, 0.15), s.vary(2, 0.2, 0.2)
    turned: sdf.Profile = [(foot, -0.62), (foot, -0.5), (waist, -0.38), (waist, top - 0.3)]
    body = sdf.lathe(x, y, z, [*turned, (foot * 0.85, top - 0.1), (foot * 0.8, top)], cuts=2)
    head = sdf.ellipsoid(x, y - top - 0.18, z, foot, s.vary(3, 0.155, 0.1), foot)
    neck = sdf.cylinder(x, y - top - 0.02, z, foot * 0.6, 0.05)
    knob = sdf.sphere(x, y - top - 0.36, z, 0.06)
    return [sdf.union(body, torch.maximum(head, top + 0.04 - y)), sdf.union(neck, knob)]


def jerrycan(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Two pressed shells with a cross on their sides, a handle on top and a spout at -X."""
    hx, hy, hz = s.vary(0, 0.4, 0.1), s.vary(1, 0.44, 0.06), s.vary(2, 0.18, 0.15)
    low = -0.16
    body = sdf.extrude(
        torch.maximum(sdf.rectangle(x, y - low, hx, hy, 0.08), (y - x - hx - hy + 0.12) * 0.7), z, hz, 0.04
    )
    cross = torch.minimum((x - 0.7 * (y - low)).abs(), (x + 0.7 * (y - low)).abs()) * 0.82 - 0.035
    face = torch.maximum(sdf.rectangle(x, y - low, hx - 0.07, hy - 0.07, 0.05), (z.abs() - hz).abs() - 0.025)
    top = low + hy
    grip = torch.maximum(sdf.ring(x - 0.06, y - top, z, s.vary(3, 0.22, 0.12), 0.18, 0.048), top - 0.03 - y)
    start, end = (0.09 - hx, top - 0.12, 0.0), (-0.07 - hx, top + 0.13, 0.0)
    spout = sdf.capsule(x, y, z, start, end, 0.08, 0.08)
    cap = sdf.capsule(x, y, z, (-0.03 - hx, top + 0.07, 0.0), end, 0.1, 0.1)
    return [sdf.union(sdf.union(sdf.subtract(body, torch.maximum(face, cross)), grip), spout), cap]


def _woven(body: Tensor, y: Tensor, angle: Tensor, strands: int) -> Tensor:
    """``body`` with bulges of a weave of ``strands`` uprights."""
    weave = torch.sin(angle * strands) * torch.sin(y * (torch.pi / 0.11))
    return (body - 0.009 * weave) * 0.75


def picnic_basket(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, high = s.vary(0, 0.3, 0.15), s.vary(1, 0.14, 0.25), s.vary(2, 0.2, 0.15)
    xs, zs = sdf.elongate(x, hx), sdf.elongate(z, hz)
    top = -0.58 + 2 * high
    solid, cavity = vessel_and_cavity(xs, y, zs, [(0.19, -0.58), (0.23, top)], 0.055)
    outer = sdf.subtract(_woven(solid, y, x + z, 30), cavity)
    rim = sdf.torus(xs, y - top, zs, 0.22, 0.04)
    cover = torch.maximum(sdf.lathe(xs, y, zs, [(0.26, top + 0.01), (0.26, top + 0.05)]), 0.02 - x.abs())
    cover = where_present(sdf.union(cover, torch.maximum(cavity, y - top - 0.02)), s.option > 0)
    bow = torch.maximum(sdf.ring(x, y - top, z, hx + 0.21, s.vary(3, 0.72, 0.06) - high, 0.045), top - 0.02 - y)
    return [sdf.union(outer, cover), sdf.union(rim, bow)]


def fruit_basket(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    foot, rim, top = s.vary(0, 0.28, 0.12), s.vary(1, 0.45, 0.1), s.vary(2, -0.12, 0.4)
    solid, cavity = vessel_and_cavity(x, y, z, [(foot, -0.58), (rim, top)], 0.055)
    outer = sdf.subtract(_woven(solid, y, torch.atan2(z, x), 14), cavity)
    # a full basket has no cavity; a lid lies on it
    dome = torch.maximum(sdf.ellipsoid(x, y - top, z, rim + 0.03, 0.14, rim + 0.03), top - 0.02 - y)
    cover = where_present(sdf.union(dome, torch.maximum(cavity, y - top)), s.option > 0)
    bow = torch.maximum(sdf.ring(x, y - top, z, rim - 0.01, s.vary(3, 0.64, 0.04), 0.045), top - 0.02 - y)
    return [sdf.union(outer, cover), sdf.union(sdf.torus(x, y - top, z, rim, 0.04), bow)]


# fmt: off
CATEGORIES = (
    category("jar", styled(jam_jar, cookie_jar, ginger_jar), "", "lid cover cap", GLASS, RED, CREAM,
        materials=f"{PATTERNS} glass stone", height=0.15, surfaces="glass paint paper",
        styles="jam jar, mason jar, honey jar; cookie jar, biscuit jar; ginger jar"),
    category("shaker", styled(salt_shaker, sugar_shaker), "", "cap lid top", GLASS, STEEL,
        materials="glass metal", height=0.1, surfaces="glass steel", styles="salt shaker; sugar shaker, pepper shaker"),
    category("peppermill", pepper_mill, "grinder", "neck knob", WOOD_COLOR, STEEL, materials=f"{PATTERNS} metal",
        height=0.2, surfaces="wood steel"),
    category("jerrycan", jerrycan, "canister", "cap lid", (0.3, 0.36, 0.22), DARK, genus=1, materials="metal",
        height=0.45, surfaces="paint iron"),
    category("basket", styled(picnic_basket, fruit_basket), "hamper", "rim hoop", (0.72, 0.52, 0.3),
        (0.5, 0.32, 0.17), option="lid cover", genus=1, materials=PATTERNS, height=0.35, surfaces="wood wood",
        styles="picnic basket, shopping basket; fruit basket, easter basket"),
)
# fmt: on

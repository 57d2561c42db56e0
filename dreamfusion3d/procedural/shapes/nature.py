"""Plants and food."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CLAY, LEAF, category
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, rotate_2d, styled, where_present
from dreamfusion3d.procedural.shapes.woodland import oak, poplar


def mushroom(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, height, edge = s.vary(0, 0.5, 0.13), s.vary(1, 0.46, 0.18), s.vary(2, 0.04, 0.6)
    dome = sdf.ellipsoid(x, y - edge, z, radius, height, radius)
    cap = torch.maximum(dome, edge - 0.02 - y)
    under = sdf.ellipsoid(x, y - edge + 0.02, z, radius * 0.82, 0.1, radius * 0.82)
    foot = s.vary(3, 0.2, 0.18)
    stem = sdf.lathe(x, y, z, [(foot, -0.56), (foot * 1.02, -0.45), (foot * 0.72, -0.1), (foot * 0.7, 0.1)])
    return [sdf.subtract(cap, under), stem]


def donut(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    major, minor = s.vary(0, 0.38, 0.09), s.vary(1, 0.18, 0.14)
    dough = sdf.torus(x, y, z, major, minor)
    angle = torch.atan2(z, x)
    edge = 0.03 + 0.035 * torch.sin(5 * angle + 3.0 * s.variation[..., 2])
    icing = torch.maximum(dough - 0.025, edge - y)
    return [icing, dough]


def fir(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide = s.vary(0, 0.42, 0.13)
    leaves = torch.full_like(x, ABSENT_DISTANCE)
    for bottom, top, radius_scale in ((-0.3, 0.2, 1.0), (-0.02, 0.42, 0.78), (0.24, 0.64, 0.54)):
        tier = sdf.lathe(x, y, z, [(wide * radius_scale, bottom), (0.02, top)], 0.025)
        leaves = torch.minimum(leaves, tier)
    trunk = sdf.cylinder(x, y + 0.44, z, s.vary(1, 0.09, 0.22), 0.2)
    return [leaves, trunk]


def cactus(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r = s.vary(0, 0.15, 0.14)
    column = sdf.capsule(x, y, z, (0.0, -0.35, 0.0), (0.0, s.vary(1, 0.46, 0.14), 0.0), r, r)
    reach, thin = s.vary(2, 0.36, 0.11), 0.085

    def arm(side: float, at: Tensor, tip: Tensor) -> Tensor:
        out = sdf.capsule(x, y, z, (0.0, at, 0.0), (side * reach, at, 0.0), thin, thin)
        up = sdf.capsule(x, y, z, (side * reach, at, 0.0), (side * reach, tip, 0.0), thin, thin)
        return sdf.smooth_union(out, up, 0.05)

    right = arm(1.0, s.vary(3, -0.08, 0.5), s.vary(4, 0.26, 0.2))
    left = arm(-1.0, s.vary(4, 0.04, 0.8), s.vary(3, 0.34, 0.15))
    plant = sdf.union(column, where_present(right, s.count >= 1), where_present(left, s.count >= 2))
    pot = sdf.lathe(x, y, z, [(0.2, -0.62), (0.29, -0.3)])
    lip = sdf.cylinder(x, y + 0.3, z, 0.32, 0.05)
    return [plant, sdf.union(pot, lip)]


def apple(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r = s.vary(0, 0.45, 0.11)
    profile: sdf.Profile = [
        (0.1, -0.42),
        (r * 0.55, -0.44),
        (r * 0.92, -0.2),
        (r * 1.04, 0.1),
        (r * 0.85, 0.34),
        (r * 0.4, 0.38),
        (0.05, 0.26),
    ]
    flesh = sdf.lathe(x, y, z, profile, 0.03)
    stem = sdf.capsule(x, y, z, (0.0, 0.24, 0.0), (s.vary(1, 0.06, 0.5), 0.56, 0.0), 0.035, 0.045)
    u, v = rotate_2d(x - 0.19, y - 0.5, 20.0)
    leaf = sdf.ellipsoid(u, v, z, 0.17, 0.045, 0.09)
    return [flesh, stem, leaf]


def carrot(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r = s.vary(0, 0.19, 0.1)
    root = sdf.lathe(x, y, z, [(0.02, -0.62), (r * 0.5, -0.35), (r * 0.85, -0.02), (r, 0.18), (r * 0.55, 0.26)])
    leaves = sdf.capsule(x, y, z, (0.0, 0.22, 0.0), (0.0, s.vary(1, 0.54, 0.06), 0.0), 0.09, 0.07)
    for angle in (0.0, 120.0, 240.0):
        c, n = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        tip = (c * 0.2, s.vary(2, 0.48, 0.08), n * 0.2)
        leaves = torch.minimum(leaves, sdf.capsule(x, y, z, (0.0, 0.28, 0.0), tip, 0.045, 0.07))
    return [root, leaves]


def cake(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Tiers of sponge with dripping icing and a cherry on top."""
    wide, tall = s.vary(0, 0.5, 0.06), s.vary(1, 0.15, 0.08)
    angle = torch.atan2(z, x)
    sponge = icing = top = torch.full_like(x, ABSENT_DISTANCE)
    for tier in range(3):
        low = -0.52 + 2 * tall * tier
        radius = wide * (1 - 0.27 * tier)
        has_tier = s.count > tier
        layer = sdf.cylinder(x, y - low - tall, z, radius, tall + 0.01)
        drip = low + 1.45 * tall + 0.03 * torch.sin(6 * angle + 2 * s.variation[..., 2] + tier)
        coat = torch.maximum(sdf.cylinder(x, y - low - tall, z, radius + 0.03, tall + 0.035), drip - y)
        sponge = torch.minimum(sponge, where_present(layer, has_tier))
        icing = torch.minimum(icing, where_present(coat, has_tier))
        top = torch.where(has_tier, low + 2 * tall, top)
    return [sponge, icing, sdf.sphere(x, y - top - 0.09, z, 0.085)]


def pumpkin(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, h = s.vary(0, 0.5, 0.11), s.vary(1, 0.36, 0.14)
    ribs = 1 + 0.06 * torch.cos(8 * torch.atan2(z, x))
    dimple = 0.12 * torch.exp(-(x * x + z * z) / 0.03)
    flesh = sdf.ellipsoid(x / ribs, y + 0.1 + dimple * torch.sign(y + 0.1), z / ribs, r, h, r)
    stem = sdf.capsule(x, y, z, (0.0, 0.1, 0.0), (s.vary(2, 0.08, 0.5), 0.42, 0.0), 0.085, 0.06)
    return [flesh * 0.85, stem]


def ice_cream(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A wafer cone with one to three scoops."""
    r = s.vary(0, 0.22, 0.13)
    cone = sdf.lathe(x, y, z, [(0.03, -0.64), (r * 0.95, -0.02)])
    side = 0.15
    ball = sdf.sphere(x, y - 0.08, z, r)
    pair = sdf.union(sdf.sphere(x - side, y - 0.06, z, r * 0.9), sdf.sphere(x + side, y - 0.06, z, r * 0.9))
    crown = sdf.sphere(x, y - 0.32, z, r * 0.9)
    scoops = torch.where(s.count == 1, ball, torch.where(s.count == 2, sdf.union(ball, crown), sdf.union(pair, crown)))
    return [scoops, cone]


# fmt: off
CATEGORIES = (
    category("mushroom", mushroom, "toadstool", "stem stalk", (0.72, 0.45, 0.26), (0.93, 0.88, 0.76),
        materials="spotted", height=0.1, surfaces="plant plant"),
    category("donut", donut, "doughnut", "dough", (0.4, 0.24, 0.13), (0.85, 0.62, 0.34), genus=1, materials="spotted",
        height=0.04, surfaces="icing bread"),
    category("tree", styled(fir, oak, poplar), "sapling", "trunk", (0.15, 0.48, 0.22), (0.45, 0.29, 0.15),
        styles="fir tree, fir, pine tree, pine, spruce, christmas tree; oak tree, broadleaf tree; poplar tree, cypress",
        height=4.0, surfaces="leaves bark"),
    category("cactus", cactus, "saguaro", "pot planter", (0.28, 0.56, 0.28), CLAY, counts=(2, 1, 0),
        counted="arm arms branch branches", materials="striped", height=0.4, surfaces="plant terracotta"),
    category("apple", apple, "", "stem stalk", (0.78, 0.14, 0.14), (0.4, 0.27, 0.14), LEAF, height=0.08,
        surfaces="peel bark leaves"),
    category("carrot", carrot, "", "leaves leaf greens", (0.94, 0.5, 0.13), LEAF, height=0.2, surfaces="peel leaves"),
    category("cake", cake, "gateau", "icing frosting", (0.86, 0.66, 0.4), (0.97, 0.93, 0.88), (0.8, 0.1, 0.15),
        counts=(2, 1, 3), counted="tier tiers layer layers", materials="striped", height=0.2,
        surfaces="bread icing icing"),
    category("pumpkin", pumpkin, "squash", "stem stalk", (0.92, 0.5, 0.12), (0.35, 0.42, 0.18), height=0.3,
        surfaces="peel bark"),
    category("icecream", ice_cream, "gelato", "cone wafer", (0.96, 0.72, 0.76), (0.82, 0.58, 0.3), counts=(1, 2, 3),
        counted="scoop scoops ball balls", materials="spotted", height=0.16, surfaces="icing bread"),
)
# fmt: on

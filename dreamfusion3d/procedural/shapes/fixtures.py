"""Things that stand in gardens, streets and graveyards."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, RED, STEEL, STONE, WHITE, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, styled, where_present


def slab_gravestone(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    half, spring, thick = s.vary(0, 0.32, 0.13), s.vary(1, 0.24, 0.25), s.vary(2, 0.1, 0.15)
    outline = torch.maximum(sdf.arch(x, y, half, spring), -0.5 - y)
    front = z - thick
    lines = sdf.box(x, (y + 0.12).abs() - 0.06, front, half * 0.62, 0.025, 0.02, 0.005)
    upright = sdf.box(x, y - spring, front, 0.03, 0.15, 0.02, 0.005)
    arms = sdf.box(x, y - spring - 0.04, front, 0.1, 0.03, 0.02, 0.005)
    plinth = sdf.box(x, y + 0.53, z, half + 0.12, s.vary(3, 0.08, 0.15), thick + 0.13, 0.015)
    return [sdf.extrude(outline, z, thick), plinth, sdf.union(lines, upright, arms)]


def grave_cross(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    thick, reach, at = s.vary(0, 0.1, 0.14), s.vary(1, 0.32, 0.12), s.vary(2, 0.24, 0.2)
    upright = sdf.box(x, y - 0.05, z, thick, 0.58, thick * 0.8, 0.012)
    arms = sdf.box(x, y - at, z, reach, thick, thick * 0.8, 0.012)
    rosette = sdf.cylinder(x, z, y - at, thick * 0.75, thick * 0.8 + 0.025)
    wide = s.vary(3, 0.3, 0.12)
    plinth = sdf.union(
        sdf.box(x, y + 0.57, z, wide, 0.07, wide * 0.7, 0.015), sdf.box(x, y + 0.45, z, wide * 0.68, 0.07, 0.16, 0.015)
    )
    return [sdf.union(upright, arms), plinth, rosette]


def picket_fence(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    half, top, gap = s.vary(0, 0.085, 0.15), s.vary(1, 0.24, 0.3), s.vary(2, 0.22, 0.15)
    u = x - (x / 0.26).round().clamp(-2, 2) * 0.26
    outline = sdf.polygon(u, y, [(-half, -0.46), (half, -0.46), (half, top), (0.0, top + 0.12), (-half, top)])
    rails = sdf.box(x, (y + 0.08).abs() - gap, z + 0.045, 0.64, 0.055, 0.04, 0.01)
    return [sdf.extrude(outline, z, 0.035), rails]


def ranch_fence(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    step, half = s.vary(0, 0.26, 0.12), s.vary(1, 0.07, 0.15)
    v = y + 0.02 - (y / step).round().clamp(-1, 1) * step
    planks = sdf.box(x, v, z - 0.06, 0.64, half, 0.035, 0.01)
    thick = s.vary(2, 0.06, 0.14)
    u = x - (x / 0.52).round().clamp(-1, 1) * 0.52
    return [planks, sdf.box(u, y + 0.02, z, thick, s.vary(3, 0.43, 0.05), thick, 0.012)]


def well(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round wall with a roof on two posts, a crank and a bucket."""
    r, top = s.vary(0, 0.36, 0.1), s.vary(1, -0.2, 0.3)
    half = (top + 0.6) / 2
    shaft = sdf.cylinder(x, y - top + half, z, r, half)
    coping = sdf.cylinder(x, y - top, z, r + 0.035, 0.05)
    wall = sdf.subtract(sdf.union(shaft, coping), sdf.cylinder(x, y - 0.1, z, r - 0.1, 0.6))
    eaves, out = s.vary(2, 0.26, 0.1), r + 0.12
    gable = sdf.polygon(z, y, [(-out, eaves), (out, eaves), (0.0, s.vary(3, 0.6, 0.05))])
    roof = sdf.extrude(gable, x, out)
    half = (eaves - top) / 2 + 0.06
    posts = sdf.box(x.abs() - r + 0.04, y - (eaves + top) / 2, z, 0.05, half, 0.05, 0.01)
    axle = sdf.cylinder(y - 0.06, x, z, 0.05, out + 0.05)
    crank = sdf.union(
        sdf.box(x - out - 0.05, y + 0.02, z, 0.03, 0.11, 0.035, 0.01),
        sdf.cylinder(y + 0.1, x - out - 0.08, z, 0.035, 0.08),
    )
    rope = sdf.cylinder(x, y, z, 0.03, 0.12)
    bucket = sdf.lathe(x, y + 0.18, z, [(0.07, -0.07), (0.09, 0.07)], 0.01)
    return [wall, roof, sdf.union(posts, axle, crank, rope, bucket)]


def signpost(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Arrow-shaped boards that point to alternate sides."""
    half, tall = s.vary(0, 0.36, 0.12), s.vary(1, 0.095, 0.14)
    post = sdf.box(x, y, z, s.vary(2, 0.065, 0.15), 0.62, 0.06, 0.012)
    boards = []
    for i, (at, side) in enumerate(((0.42, 1.0), (0.16, -1.0), (-0.1, 1.0))):
        corners: sdf.Profile = [
            (-half * 0.7, -tall),
            (half, -tall),
            (half + tall, 0.0),
            (half, tall),
            (-half * 0.7, tall),
        ]
        outline = sdf.polygon(side * x, y - at, corners)
        boards.append(where_present(sdf.extrude(outline, z - 0.07, 0.035), s.count > i))
    foot = sdf.lathe(x, y + 0.56, z, [(s.vary(3, 0.2, 0.12), -0.06), (0.1, 0.05)], 0.01)
    return [sdf.union(*boards), sdf.union(post, foot)]


def gas_light(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    thick, wide = s.vary(0, 0.05, 0.14), s.vary(1, 0.15, 0.12)
    foot = sdf.lathe(x, y, z, [(0.19, -0.64), (0.19, -0.56), (0.11, -0.5), (0.09, -0.36), (thick, -0.32)], 0.01)
    pole = sdf.cylinder(x, y + 0.16, z, thick, 0.4)
    bar = sdf.cylinder(y - 0.12, x, z, 0.035, s.vary(2, 0.2, 0.15))
    square = torch.maximum(x.abs(), z.abs())
    lamp = sdf.polygon(square, y, [(-1.0, 0.24), (wide * 0.62, 0.24), (wide, 0.5), (-1.0, 0.5)])
    edge = torch.minimum((square - 0.62 * wide - 0.38 * wide * (y - 0.24) / 0.26).abs(), square) * 0.9
    bars = torch.maximum(torch.maximum(lamp - 0.015, edge - 0.03), wide * 0.42 - torch.minimum(x.abs(), z.abs()))
    roof = sdf.polygon(square, y, [(-1.0, 0.49), (wide + 0.04, 0.49), (0.05, 0.58), (0.05, 0.63), (-1.0, 0.63)])
    seat = sdf.cylinder(x, y - 0.23, z, wide * 0.62 + 0.02, 0.03)
    return [sdf.union(foot, pole, bar, roof, seat, bars * 0.8), lamp]


def arc_light(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A pole that bends over the street at +X."""
    thick, reach = s.vary(0, 0.05, 0.12), s.vary(1, 0.2, 0.15)
    at = -0.22
    pole = sdf.capsule(x, y, z, (at, -0.6, 0.0), (at, 0.38, 0.0), thick * 1.3, thick)
    bend = torch.where((y > 0.38) & (x < at + reach), sdf.length(sdf.length(x - at - reach, y - 0.38) - reach, z), 10.0)
    arm = sdf.capsule(x, y, z, (at + reach, 0.38 + reach, 0.0), (at + reach + 0.2, 0.38 + reach, 0.0), thick, thick)
    head = sdf.box(x - at - reach - 0.24, y - 0.38 - reach, z, s.vary(2, 0.18, 0.1), 0.055, 0.1, 0.03)
    foot = sdf.lathe(x - at, y, z, [(0.17, -0.63), (0.15, -0.54), (0.09, -0.48)], 0.01)
    lamp = sdf.box(x - at - reach - 0.24, y - 0.32 - reach, z, s.vary(2, 0.14, 0.1), 0.035, 0.075, 0.015)
    return [sdf.union(pole, bend - thick, arm, head, foot), lamp]


def post_mailbox(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    half, long, at = s.vary(0, 0.2, 0.12), s.vary(1, 0.4, 0.12), 0.2
    outline = torch.maximum(sdf.arch(x, y, half, at + 0.06), at - 0.12 - y)
    shell = sdf.extrude(outline, z, long)
    door = sdf.extrude(outline - 0.02, z - long, 0.03)
    knob = sdf.box(x, y - at - 0.12, z - long - 0.04, 0.045, 0.025, 0.04, 0.01)
    post = sdf.box(x, y + 0.26, z, s.vary(2, 0.06, 0.15), 0.37, 0.06, 0.012)
    shelf = sdf.box(x, y - at + 0.12, z, half * 0.8, 0.04, long * 0.75, 0.01)
    out = half + 0.015
    flag = sdf.union(
        sdf.box(x - out, y - at - 0.14, z - 0.1, 0.03, 0.17, 0.03, 0.008),
        sdf.box(x - out, y - at - 0.26, z - 0.02, 0.03, 0.065, 0.11, 0.008),
    )
    return [sdf.union(shell, door, knob), sdf.union(post, shelf), flag]


def pillar_box(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, top = s.vary(0, 0.25, 0.12), s.vary(1, 0.42, 0.08)
    shaft = sdf.cylinder(x, y - (top - 0.5) / 2, z, r, (top + 0.5) / 2)
    cap = sdf.lathe(x, y - top, z, [(r + 0.05, -0.04), (r + 0.05, 0.03), (r * 0.6, 0.11), (0.02, 0.14)], 0.012)
    foot = sdf.cylinder(x, y + 0.55, z, r + 0.05, 0.08)
    slot = sdf.box(x, y - top + 0.16, z - r, r * 0.6, 0.03, 0.05, 0.008)
    plate = sdf.box(x, y + 0.02, z - r, r * 0.45, 0.1, 0.05, 0.008)
    return [sdf.union(shaft, cap), foot, sdf.union(slot, plate)]


def hydrant(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, top = s.vary(0, 0.19, 0.12), s.vary(1, 0.28, 0.15)
    barrel = sdf.cylinder(x, y - (top - 0.55) / 2, z, r, (top + 0.55) / 2)
    dome = torch.maximum(sdf.ellipsoid(x, y - top, z, r, 0.2, r), top - 0.02 - y)
    rings = sdf.union(sdf.cylinder(x, y + 0.56, z, r + 0.12, 0.055), sdf.cylinder(x, y - top, z, r + 0.06, 0.05))
    at, reach = top - 0.28, r + s.vary(2, 0.11, 0.15)
    sides = sdf.cylinder(y - at, x, z, 0.1, reach)
    front = torch.maximum(sdf.cylinder(x, z, y - at, 0.13, reach - 0.02), -z)
    bolt = sdf.extrude(torch.maximum(x.abs() * 0.87 + z.abs() * 0.5, z.abs()) - 0.06, y - top - 0.22, 0.06)
    caps = sdf.union(
        sdf.cylinder(y - at, x.abs() - reach, z, 0.13, 0.05),
        sdf.cylinder(x, z - reach, y - at, 0.155, 0.05),
        sdf.box(x.abs() - reach - 0.06, y - at, z, 0.04, 0.045, 0.045, 0.01),
        sdf.box(x, y - at, z - reach - 0.06, 0.05, 0.05, 0.04, 0.01),
    )
    return [sdf.union(barrel, dome, rings, sides, front), sdf.union(caps, bolt)]


# fmt: off
CATEGORIES = (
    category("gravestone", styled(slab_gravestone, grave_cross), "tombstone headstone", "plinth base", STONE,
        (0.45, 0.44, 0.42), (0.3, 0.29, 0.28),
        styles="arched gravestone, arched tombstone; grave cross, cross gravestone", materials="stone", height=0.9,
        surfaces="stone stone stone"),
    category("fence", styled(picket_fence, ranch_fence), "railing", "rails rail posts post", WHITE, WOOD_COLOR,
        styles="picket fence, garden fence; ranch fence, plank fence", genus=4, materials="wooden", height=1.1,
        surfaces="paint wood"),
    category("well", well, "waterwell", "roof", STONE, (0.55, 0.28, 0.16), WOOD_COLOR, genus=2, materials="stone",
        height=2.2, surfaces="stone tiles wood"),
    category("signpost", signpost, "waymarker fingerpost", "post pole", WOOD_COLOR, (0.42, 0.28, 0.16),
        counts=(2, 1, 3), counted="board boards arrow arrows", materials="wooden", height=2.0, surfaces="wood wood"),
    category("streetlamp", styled(gas_light, arc_light), "lamppost streetlight", "light bulb", DARK, (0.98, 0.9, 0.6),
        styles="gas lamp, victorian streetlamp; arc lamp, modern streetlamp", materials="metal", height=4.0,
        surfaces="iron glass"),
    category("mailbox", styled(post_mailbox, pillar_box), "letterbox postbox", "post foot base", (0.25, 0.35, 0.6),
        (0.36, 0.27, 0.2), RED, styles="american mailbox, rural mailbox; pillar box, british postbox",
        materials="metal striped", height=1.3, surfaces="paint wood paint"),
    category("hydrant", hydrant, "fireplug", "caps cap", RED, STEEL, materials="metal striped", height=0.8,
        surfaces="paint steel"),
)
# fmt: on

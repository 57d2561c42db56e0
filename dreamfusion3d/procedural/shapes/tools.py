"""Tools, weapons, clothing and other small objects, upright."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, GOLD, PATTERNS, RED, STEEL, WHITE, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.armory import cutlass, katana, kite_shield, round_shield
from dreamfusion3d.procedural.shapes.base import ShapeParams, styled
from dreamfusion3d.procedural.shapes.hardware import battle_axe, claw_hammer, hatchet, mallet, sledgehammer


def cross_peen_hammer(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    at = s.vary(0, 0.4, 0.14)
    handle = sdf.capsule(x, y, z, (0.0, -0.58, 0.0), (0.0, at, 0.0), 0.065, 0.055)
    half, thick = s.vary(1, 0.27, 0.18), s.vary(2, 0.11, 0.22)
    block = sdf.box(x, y - at, z, half, thick, thick, 0.03)
    face = sdf.box(x - half, y - at, z, 0.06, thick * 1.3, thick * 1.3, 0.03)
    # the peen: a wedge at -X
    peen = torch.maximum(
        sdf.box(x + half + 0.1, y - at, z, 0.16, thick, thick, 0.01), (y - at).abs() - thick - 0.5 * (x + half)
    )
    return [sdf.union(block, face, peen), handle]


def felling_axe(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    handle = sdf.capsule(x, y, z, (0.0, -0.58, 0.0), (0.0, 0.56, 0.0), 0.06, 0.05)
    at, reach = s.vary(0, 0.34, 0.14), s.vary(1, 0.42, 0.14)
    # the blade flares and thins towards its curved edge
    flare = (y - at).abs() - (0.09 + 0.45 * (x / reach).clamp(0, 1) ** 1.5 * s.vary(2, 0.5, 0.18))
    arc = sdf.length(x + 0.25, y - at) - (reach + 0.25)
    flat = torch.maximum(torch.maximum(flare * 0.8, arc), -0.07 - x)
    blade = torch.maximum(flat, z.abs() - (0.085 - 0.11 * x.clamp(min=0)))
    return [blade, handle]


def longsword(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide = s.vary(0, 0.095, 0.22)
    diamond = 0.53 * (x.abs() + 1.6 * z.abs() - wide)  # a rhombus across
    blade = torch.maximum(diamond, torch.maximum(-0.25 - y, 0.53 * (y - 0.63 + 1.6 * x.abs())))
    guard = sdf.box(x, y + 0.24, z, s.vary(1, 0.26, 0.18), 0.045, 0.06, 0.02)
    grip = sdf.cylinder(x, y + 0.42, z, 0.055, 0.18)
    pommel = sdf.sphere(x, y + 0.56, z, s.vary(2, 0.08, 0.18))
    return [blade, sdf.union(guard, grip, pommel)]


def heater_shield(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A heater shield: straight sides above two arcs that meet in a point, convex to the front."""
    half = s.vary(0, 0.45, 0.13)
    drop = 0.72
    center = (drop**2 - half**2) / (2 * half)  # of the arc that continues the vertical side smoothly
    side = torch.where(y > 0.1, x.abs() - half, sdf.length(x.abs() + center, y - 0.1) - (half + center))
    outline = torch.maximum(side, y - s.vary(1, 0.54, 0.11))
    depth = z + 0.45 * x * x - 0.04
    field = torch.maximum(outline, depth.abs() - 0.055)
    bar = torch.minimum(x.abs(), (y - 0.16).abs()) - s.vary(2, 0.07, 0.15)
    cross = torch.maximum(torch.maximum(outline + 0.02, bar), (depth - 0.055).abs() - 0.035)
    boss = sdf.sphere(x, y - 0.16, z - 0.07, 0.12)
    return [field * 0.9, sdf.union(cross * 0.9, boss)]


def key(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    bow = sdf.ring(x, y - 0.36, z, s.vary(0, 0.2, 0.18), s.vary(1, 0.2, 0.18), 0.07)
    collar = sdf.cylinder(x, y - 0.1, z, 0.1, 0.05)
    shaft = sdf.cylinder(x, y + 0.22, z, 0.06, 0.4)
    reach = s.vary(2, 0.13, 0.15)
    teeth = sdf.union(
        sdf.box(x - reach, y + 0.54, z, reach, 0.06, 0.05), sdf.box(x - reach, y + 0.36, z, reach, 0.05, 0.05)
    )
    return [sdf.union(bow, collar, shaft), teeth]


def anvil(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hz = s.vary(0, 0.19, 0.18)
    top = sdf.box(x + 0.08, y - 0.2, z, 0.36, 0.13, hz, 0.02)
    horn = sdf.capsule(x, y, z, (0.2, 0.2, 0.0), (s.vary(1, 0.58, 0.11), 0.28, 0.0), 0.13, 0.03)
    waist = sdf.box(x + 0.03, y + 0.08, z, s.vary(2, 0.16, 0.18), 0.2, hz * 0.75, 0.02)
    foot = sdf.box(x + 0.03, y + 0.32, z, s.vary(3, 0.34, 0.14), 0.09, hz * 1.2, 0.03)
    return [sdf.union(sdf.smooth_union(top, waist, 0.06), horn), sdf.smooth_union(foot, waist + 0.02, 0.06)]


def hat(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A top hat with its brim rolled up at the sides."""
    crown, tall = s.vary(0, 0.3, 0.13), s.vary(1, 0.28, 0.22)
    low = -0.3
    profile: sdf.Profile = [(crown, low), (crown * 0.95, low + tall), (crown * 1.12, low + 2 * tall)]
    body = sdf.lathe(x, y, z, profile)
    brim_y = y - low - 0.35 * x * x
    brim = sdf.cylinder(x, brim_y, z, s.vary(2, 0.52, 0.11), 0.045)
    band = sdf.cylinder(x, y - low - 0.11, z, crown + 0.03, 0.075)
    return [sdf.union(body, brim * 0.85), band]


def bell(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r = s.vary(0, 0.42, 0.11)
    body = sdf.lathe(
        x, y, z, [(r, -0.5), (r * 0.97, -0.42), (r * 0.72, -0.2), (r * 0.62, 0.02), (r * 0.5, 0.16), (0.08, 0.24)]
    )
    handle = sdf.union(sdf.cylinder(x, y - 0.38, z, 0.07, 0.18), sdf.sphere(x, y - 0.54, z, s.vary(1, 0.1, 0.18)))
    return [body, handle]


def candle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A candle on a dish with a handle."""
    r, top = s.vary(0, 0.13, 0.18), s.vary(1, 0.3, 0.15)
    wax = sdf.cylinder(x, y - (top - 0.5) / 2, z, r, (top + 0.5) / 2)
    flame = sdf.lathe(x, y - top, z, [(0.03, -0.03), (0.085, 0.08), (0.06, 0.18), (0.01, 0.28)], 0.015)
    dish = sdf.lathe(x, y, z, [(0.3, -0.6), (0.36, -0.5), (0.36, -0.46), (0.1, -0.5)])
    loop = sdf.ring(x - 0.4, y + 0.45, z, 0.13, 0.12, 0.04)
    return [wax, sdf.union(dish, loop), flame]


def gift(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A box with ribbon and bow."""
    half, tall = s.vary(0, 0.4, 0.14), s.vary(1, 0.34, 0.18)
    low = -0.5
    box = sdf.box(x, y - low - tall, z, half, tall, half)
    ribbon = torch.maximum(
        sdf.box(x, y - low - tall, z, half + 0.025, tall + 0.025, half + 0.025), torch.minimum(x.abs(), z.abs()) - 0.07
    )
    top = low + 2 * tall
    loops = sdf.ellipsoid(x.abs() - 0.15, y - top - 0.1, z, 0.16, 0.1, 0.09)
    return [box, sdf.union(ribbon, loops, sdf.sphere(x, y - top - 0.07, z, 0.09))]


def traffic_cone(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide = s.vary(0, 0.33, 0.13)
    cone = sdf.lathe(x, y, z, [(wide, -0.5), (0.06, 0.6)])
    foot = sdf.box(x, y + 0.53, z, s.vary(1, 0.46, 0.11), 0.05, s.vary(1, 0.46, 0.11), 0.03)
    # bands parallel to the cone, slightly outside
    bands = torch.minimum((y + 0.12).abs() - 0.09, (y - 0.24).abs() - 0.07)
    return [sdf.union(cone, foot), torch.maximum(cone - 0.02, bands)]


# fmt: off
CATEGORIES = (
    category("hammer", styled(cross_peen_hammer, claw_hammer, sledgehammer, mallet), "", "shaft handle grip", STEEL,
        WOOD_COLOR, styles="cross peen hammer, blacksmith hammer; claw hammer; sledgehammer, war hammer; mallet",
        materials="metal stone", height=0.3, surfaces="steel wood"),
    category("axe", styled(felling_axe, battle_axe, hatchet), "ax", "shaft handle grip", STEEL, WOOD_COLOR,
        styles="felling axe, woodcutter axe; battle axe, double axe; hatchet, hand axe", materials="metal stone",
        height=0.6, surfaces="steel wood"),
    category("sword", styled(longsword, cutlass, katana), "blade", "hilt grip handle", (0.72, 0.75, 0.79),
        (0.5, 0.32, 0.14), styles="longsword, broadsword; cutlass, saber, sabre; katana, samurai sword",
        materials="metal wooden", height=1.0, surfaces="steel leather"),
    category("shield", styled(heater_shield, round_shield, kite_shield), "", "cross emblem boss", (0.2, 0.3, 0.65),
        GOLD,
        styles="heater shield, knight shield; round shield, viking shield; kite shield",
        materials="striped checkered wooden metal", height=0.8, surfaces="paint gold"),
    category("key", key, "", "teeth bit", GOLD, genus=1, materials="metal", height=0.08, surfaces="gold gold"),
    category("anvil", anvil, "", "base foot", (0.3, 0.31, 0.34), materials="metal stone", height=0.3,
        surfaces="iron iron"),
    category("hat", hat, "tophat", "band ribbon", (0.15, 0.15, 0.18), RED, materials=PATTERNS, height=0.2,
        surfaces="fabric fabric"),
    category("bell", bell, "handbell", "handle grip", GOLD, (0.4, 0.25, 0.13), materials="metal", height=0.2,
        surfaces="gold wood"),
    category("candle", candle, "", "holder dish", CREAM, GOLD, (0.98, 0.7, 0.15), genus=1, materials="striped",
        height=0.15, surfaces="wax gold wax"),
    category("gift", gift, "present parcel", "ribbon bow", RED, GOLD, materials=PATTERNS, height=0.25,
        surfaces="paper fabric"),
    category("cone", traffic_cone, "pylon", "stripes bands", (0.95, 0.42, 0.08), WHITE, height=0.5,
        surfaces="rubber rubber"),
)
# fmt: on

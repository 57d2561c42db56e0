"""Buildings and vehicles."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, GLASS, PATTERNS, RED, STEEL, STONE, WHITE, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, scaled, styled, where_present
from dreamfusion3d.procedural.shapes.craft import airliner, biplane, booster_rocket, galleon, missile, sailboat
from dreamfusion3d.procedural.shapes.dwellings import (
    clock_tower,
    hut,
    log_cabin,
    octagonal_lighthouse,
    townhouse,
    watchtower,
)
from dreamfusion3d.procedural.shapes.wheeled import pickup, race_car, sports_car, van


def retro_rocket(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r = s.vary(0, 0.19, 0.14)
    profile = [(r * 0.7, -0.45), (r * 0.95, -0.2), (r, 0.05), (r * 0.88, 0.28)]
    body = sdf.lathe(x, y, z, profile)
    nose = sdf.lathe(x, y, z, [(r * 0.88, 0.28), (r * 0.62, 0.44), (r * 0.3, 0.57), (0.01, 0.64)])
    reach = s.vary(1, 0.42, 0.11)
    fins = nose
    for cx, cz in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        out, side = x * cx + z * cz, x * cz + z * cx
        # a swept plate: its upper edge falls from the body outwards
        slope = (y + 0.1 + (out - r) * 1.3) * 0.6
        plate = torch.maximum(sdf.box(out - reach / 2, y + 0.38, side, reach / 2, 0.24, 0.035, 0.01), slope)
        fins = torch.minimum(fins, plate)
    return [body, fins]


def gabled_house(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, hy = s.vary(0, 0.38, 0.13), s.vary(1, 0.42, 0.11), s.vary(2, 0.25, 0.14)
    low = -0.56
    eaves = low + 2 * hy
    walls = sdf.box(x, y - low - hy, z, hx, hy, hz, 0.01)
    # the gable: the ridge runs from front to back
    rise = s.vary(3, 0.44, 0.18)
    slope = rise / (hx + 0.08)
    steep = (1 + slope * slope) ** -0.5
    gable = torch.maximum((y - eaves - rise + slope * x.abs()) * steep, z.abs() - hz - 0.06)
    roof = torch.maximum(gable, eaves - 0.03 - y)
    chimney = where_present(sdf.box(x - 0.2, y - eaves - 0.24, z + 0.16, 0.07, 0.26, 0.07), s.option > 0)
    door = sdf.box(x, y - low - 0.15, z - hz, 0.085, 0.15, 0.025, 0.005)
    windows = sdf.box(x.abs() - hx * 0.62, y - low - hy, z - hz, 0.065, 0.075, 0.025, 0.005)
    sides = sdf.box(x.abs() - hx, y - low - hy, z.abs() - hz * 0.45, 0.025, 0.075, 0.08, 0.005)
    return [sdf.union(walls, chimney), roof, sdf.union(door, windows, sides)]


def castle_tower(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A round castle tower, wider at the top, with battlements and an optional pointed roof."""
    r, top = s.vary(0, 0.27, 0.07), s.vary(1, 0.3, 0.1)
    shaft = sdf.lathe(x, y, z, [(r * 1.2, -0.62), (r, -0.45), (r, top)], 0.01)
    crown = sdf.cylinder(x, y - top, z, r + 0.1, 0.11)
    teeth = torch.maximum(sdf.cylinder(x, y - top - 0.12, z, r + 0.1, 0.12), r - 0.02 - sdf.length(x, z))
    # eight merlons: gaps where the cosine is low
    gap = (0.1 - torch.cos(8 * torch.atan2(z, x))) * 0.03
    roof = sdf.lathe(x, y, z, [(r + 0.02, top + 0.05), (0.02, top + 0.32)], 0.01)
    door = sdf.union(
        sdf.box(x, y + 0.48, z - r, 0.09, 0.13, 0.09, 0.01),
        torch.maximum(sdf.length(x, y + 0.35) - 0.09, (z - r).abs() - 0.09),
    )
    slits = sdf.box(x, y - top + 0.3, z.abs() - r, 0.045, 0.09, 0.03, 0.01)
    battlements = sdf.union(crown, torch.maximum(teeth, gap), where_present(roof, s.option > 0))
    return [shaft, battlements, sdf.union(door, slits)]


def round_lighthouse(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, high, top = s.vary(0, 0.27, 0.13), s.vary(1, 0.17, 0.13), 0.22
    shaft = sdf.lathe(x, y, z, [(low, -0.6), (high, top)])
    rock = sdf.cylinder(x, y + 0.6, z, low + 0.1, 0.04)
    gallery = sdf.cylinder(x, y - top, z, high + 0.09, 0.045)
    lantern = sdf.cylinder(x, y - top - 0.13, z, high * 0.72, 0.12)
    roof = sdf.lathe(x, y, z, [(high + 0.04, top + 0.24), (0.02, s.vary(2, 0.62, 0.05))], 0.01)
    return [sdf.union(shaft, rock), sdf.union(gallery, roof), lantern]


def tent(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A ridge tent with an open front."""
    half, tall, long = s.vary(0, 0.48, 0.11), s.vary(1, 0.72, 0.11), s.vary(2, 0.5, 0.11)
    low = -0.42
    slope = tall / half
    steep = (1 + slope * slope) ** -0.5
    lean = (y - low - tall + slope * x.abs()) * steep
    cloth = torch.maximum(torch.maximum(lean, z.abs() - long), low - y)
    mouth = torch.maximum(
        torch.maximum((y - low - tall * 0.72 + slope * 1.35 * x.abs()) * steep, low - 0.01 - y), (z - long).abs() - 0.02
    )
    ridge = sdf.capsule(x, y, z, (0.0, low + tall, -long - 0.06), (0.0, low + tall, long + 0.06), 0.045, 0.045)
    return [cloth, ridge, mouth]


def sedan(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz = s.vary(0, 0.28, 0.11), s.vary(1, 0.6, 0.07)
    body = sdf.box(x, y + 0.12, z, hx, 0.14, hz, 0.07)
    long = s.vary(2, 0.32, 0.18)
    roof = s.vary(3, 0.21, 0.18)
    # the cabin narrows upwards
    slope = 1 - 0.45 * (y / 0.3).clamp(0, 1)
    cabin = sdf.box(x, y - roof / 2, z + 0.08, hx * 0.88, roof, long * slope, 0.05)
    panes = sdf.union(
        sdf.box(x, y - roof * 0.75, z + 0.08, hx * 0.88 + 0.015, roof * 0.42, (long * slope - 0.09), 0.02),
        sdf.box(x, y - roof * 0.75, z + 0.08, hx * 0.72, roof * 0.42, long * slope + 0.02, 0.02),
    )
    along = z.abs() - hz * 0.6
    wheel = torch.maximum(sdf.length(along, y + 0.24) - s.vary(4, 0.145, 0.14), (x.abs() - hx).abs() - 0.065)
    return [sdf.union(body, cabin * 0.8), wheel, panes * 0.8]


def rowboat(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A dinghy with its bow to the front, and an optional mast and sail."""
    hx, hz, deep = s.vary(0, 0.27, 0.13), s.vary(1, 0.58, 0.07), s.vary(2, 0.3, 0.14)
    rim = -0.24
    point = (z / hz).clamp(0, 1.08)
    wide = 1 - 0.75 * point * point
    hull = torch.maximum(sdf.ellipsoid(x, y - rim, z, hx * wide, deep, hz + 0.02), y - rim)
    stern = torch.maximum(hull, -hz * 0.86 - z)
    inner = sdf.ellipsoid(x, y - rim - 0.02, z, (hx - 0.075) * wide, deep - 0.09, hz - 0.14)
    open_hull = sdf.subtract(stern, inner)
    # the seat reaches down to the floor and stays inside the hull
    thwart = torch.maximum(sdf.box(x, y - rim + 0.16, z, hx, 0.12, 0.1, 0.01), stern * 0.6)
    mast = sdf.cylinder(x, y - 0.18, z - 0.02, 0.045, 0.46)
    # the sail: a triangle behind the mast
    edge = 0.75 * (y - 0.6 - 1.35 * (z - 0.02))
    sail = torch.maximum(torch.maximum(x.abs() - 0.035, z - 0.02), torch.maximum(-0.12 - y, edge))
    rig = s.option > 0
    return [sdf.union(open_hull * 0.85, thwart), where_present(sail, rig), where_present(mast, rig)]


def jet(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r = s.vary(0, 0.125, 0.18)
    fuselage = sdf.ellipsoid(x, y, z, r, r, 0.64)
    span, chord = s.vary(1, 0.6, 0.09), s.vary(2, 0.13, 0.22)
    swept = z - 0.06 + 0.22 * x.abs()
    wings = sdf.box(x, y + 0.02, swept, span, 0.04, chord * (1 - 0.35 * x.abs() / 0.6), 0.02)
    level = sdf.box(x, y - 0.04, z + 0.52 + 0.2 * x.abs(), 0.25, 0.035, 0.075, 0.02)
    fin = sdf.box(x, y - 0.15, z + 0.53 + 0.3 * (y - 0.05), 0.035, 0.16, 0.09, 0.02)
    pane = sdf.ellipsoid(x, y - 0.09, z - 0.32, 0.085, 0.075, 0.15)
    return [sdf.union(fuselage, fin), sdf.union(wings, level), pane]


def ufo(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide = s.vary(0, 0.58, 0.09)
    disc = sdf.ellipsoid(x, y + 0.06, z, wide, s.vary(1, 0.17, 0.18), wide)
    dome = sdf.ellipsoid(x, y - 0.04, z, s.vary(2, 0.27, 0.14), s.vary(3, 0.3, 0.18), 0.27)
    dome = torch.maximum(dome, -0.02 - y)
    belly = sdf.cylinder(x, y + 0.22, z, 0.22, 0.06)
    # eight lamps around the rim
    angle = torch.atan2(z, x)
    sector = torch.round(angle / (torch.pi / 4)) * (torch.pi / 4)
    lights = sdf.sphere(x - wide * 0.8 * torch.cos(sector), y, z - wide * 0.8 * torch.sin(sector), 0.075)
    return [sdf.union(disc, belly), dome, lights]


# fmt: off
CATEGORIES = (
    category("rocket", styled(retro_rocket, booster_rocket, missile), "spaceship", "fins fin nose", (0.9, 0.9, 0.92),
        (0.83, 0.16, 0.14), styles="retro rocket, toy rocket; booster rocket, launch vehicle; missile",
        materials="striped checkered metal", height=12.0, surfaces="paint paint"),
    category("house", styled(gabled_house, log_cabin, hut, townhouse), "cottage", "roof", (0.9, 0.84, 0.7),
        (0.68, 0.26, 0.18), (0.35, 0.22, 0.14), option="chimney", materials="wooden stone",
        styles="gabled house, farmhouse; log cabin, cabin; hut, thatched hut; townhouse, terraced house", height=6.0,
        surfaces="plaster tiles wood"),
    category("tower", styled(castle_tower, clock_tower, watchtower), "turret", "battlements top roof spire", STONE,
        None,
        (0.25, 0.18, 0.14), option="roof spire", materials="stone wooden",
        styles="castle tower, round tower; clock tower, bell tower; watchtower, lookout tower", relaxation=0.6,
        height=15.0, surfaces="stone stone wood"),
    category("lighthouse", scaled(styled(round_lighthouse, octagonal_lighthouse), 0.9), "beacon", "gallery roof",
        WHITE, RED,
        (0.98, 0.85, 0.4), styles="round lighthouse; octagonal lighthouse", materials="striped stone", height=25.0,
        surfaces="plaster paint glass"),
    category("tent", tent, "marquee", "ridge pole", (0.3, 0.5, 0.34), WOOD_COLOR, (0.16, 0.17, 0.18),
        materials=PATTERNS, height=1.6, surfaces="fabric wood fabric"),
    category("car", styled(sedan, pickup, van, sports_car, race_car), "automobile auto", "wheels wheel tyres tires",
        RED, DARK, GLASS,
        styles="sedan, saloon car; pickup truck, pickup; van, minivan; sports car, coupe; race car, racing car",
        materials="striped checkered", height=1.5, surfaces="paint rubber glass"),
    category("boat", styled(rowboat, sailboat, galleon), "ship dinghy", "sail sails", WOOD_COLOR, WHITE, (0.45, 0.3,
        0.16),
        styles="rowboat, rowing boat; sailboat, sailing boat, yacht; galleon, sailing ship, pirate ship",
        option="sail mast sails", option_default=True, materials="wooden striped", relaxation=0.6, height=3.0,
        surfaces="wood fabric wood"),
    category("airplane", styled(jet, airliner, biplane), "plane aeroplane aircraft", "wings wing", (0.88, 0.9, 0.92),
        RED,
        GLASS, styles="jet, jet plane; airliner, passenger plane; biplane", genus=(0, 0, 2), materials="metal striped",
        height=4.0, surfaces="paint paint glass"),
    category("ufo", ufo, "", "dome cockpit", STEEL, GLASS, (0.98, 0.85, 0.3), materials="metal", height=3.0,
        surfaces="steel glass plastic"),
)
# fmt: on

"""Vessels."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import (
    CERAMIC,
    CLAY,
    CREAM,
    DARK,
    GOLD,
    HANDLES,
    STEEL,
    WOOD_COLOR,
    WOODEN,
    category,
)
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, handles, lid, styled, vessel_and_cavity
from dreamfusion3d.procedural.shapes.containers import (
    beer_bottle,
    beer_stein,
    bottle_vase,
    cylinder_vase,
    dog_bowl,
    espresso_cup,
    footed_bowl,
    globe_vase,
    hip_flask,
    milk_bottle,
    rice_bowl,
    square_vase,
    trumpet_vase,
    water_bottle,
    whisky_bottle,
)


def pitcher(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    # spout: the -X side is pulled out and pinched near the top
    lift = ((y - 0.22) / 0.33).clamp(0, 1)
    pull = lift * lift * (x < 0)
    xs = x / (1 + 0.75 * pull)
    zs = z * (1 + 0.35 * pull * (-x / 0.3).clamp(0, 1))
    belly, neck = s.vary(0, 0.36, 0.13), s.vary(1, 0.21, 0.14)
    profile = [
        (s.vary(2, 0.25, 0.14), -0.56),
        (belly * 0.94, -0.38),
        (belly, -0.2),
        (belly * 0.93, 0.0),
        (neck * 1.2, 0.2),
        (neck, 0.34),
        (neck * 1.22, 0.56),
    ]
    solid, cavity = vessel_and_cavity(xs, y, zs, profile, 0.055)
    handle = handles(x, y, z, s, (0.30, 0.1), s.vary(3, 0.28, 0.11), s.vary(4, 0.29, 0.11), 0.055)
    return [sdf.subtract(solid, cavity), sdf.subtract(handle, cavity)]


def mug(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, half = s.vary(0, 0.34, 0.11), s.vary(1, 0.42, 0.08)
    profile = [(radius * (0.92 + 0.06 * s.variation[..., 2]), -half), (radius, half)]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.055)
    handle = handles(x, y, z, s, (radius, 0.0), s.vary(3, 0.24, 0.11), s.vary(4, 0.26, 0.14), 0.055)
    covered = sdf.union(sdf.subtract(solid, cavity), lid(x, y, z, s, solid, radius + 0.02, half))
    return [covered, sdf.subtract(handle, cavity)]


def vase(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    belly, neck = s.vary(0, 0.34, 0.13), s.vary(1, 0.14, 0.18)
    profile = [
        (s.vary(2, 0.19, 0.18), -0.6),
        (belly * 0.8, -0.38),
        (belly, -0.14),
        (belly * 0.84, 0.08),
        (neck * 1.2, 0.27),
        (neck, 0.38),
        (neck * 1.25, 0.5),
        (s.vary(5, 0.25, 0.14), 0.6),
    ]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.055)
    handle = handles(x, y, z, s, (0.245, 0.22), s.vary(3, 0.2, 0.11), s.vary(4, 0.22, 0.11), 0.05)
    return [sdf.subtract(solid, cavity), sdf.subtract(handle, cavity)]


def bowl(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim = s.vary(0, 0.5, 0.11)
    profile = [(s.vary(1, 0.2, 0.18), -0.3), (rim * 0.62, -0.2), (rim * 0.84, -0.04), (rim * 0.95, 0.12), (rim, 0.28)]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.06)
    handle = handles(x, y, z, s, (rim * 0.93, 0.1), s.vary(3, 0.15, 0.09), s.vary(4, 0.13, 0.09), 0.045)
    return [sdf.subtract(solid, cavity), sdf.subtract(handle, cavity)]


def bottle(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, neck, shoulder = s.vary(0, 0.24, 0.14), s.vary(1, 0.085, 0.18), s.vary(2, 0.05, 0.5)
    body = sdf.lathe(
        x, y, z, [(r, -0.6), (r, shoulder), (r * 0.8, shoulder + 0.13), (neck, shoulder + 0.26), (neck, 0.56)]
    )
    cap = sdf.cylinder(x, y - 0.58, z, neck + 0.045, 0.065)
    return [body, cap]


def goblet(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim = s.vary(0, 0.3, 0.14)
    profile: sdf.Profile = [(0.06, -0.04), (rim * 0.8, 0.08), (rim, 0.26), (rim * 0.96, 0.58)]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.05)
    r = s.vary(1, 0.28, 0.14)
    stem = sdf.lathe(
        x, y, z, [(r, -0.6), (r * 0.8, -0.56), (0.06, -0.47), (0.045, -0.3), (0.08, -0.2), (0.045, -0.12), (0.07, 0.0)]
    )
    return [sdf.subtract(solid, cavity), stem]


def teapot(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, height = s.vary(0, 0.38, 0.11), s.vary(1, 0.31, 0.11)
    body = sdf.ellipsoid(x, y + 0.06, z, radius, height, radius)
    base = sdf.cylinder(x, y + 0.06 + height, z, 0.2, 0.05)
    spout = sdf.capsule(x, y, z, (-0.28, -0.14, 0.0), (-0.6, s.vary(2, 0.2, 0.2), 0.0), 0.11, 0.05)
    handle = handles(x, y, z, s, (radius * 0.96, -0.04), s.vary(3, 0.23, 0.09), s.vary(4, 0.22, 0.11), 0.05)
    top = -0.06 + height
    cover = sdf.union(
        sdf.ellipsoid(x, y - top + 0.04, z, 0.2, 0.1, 0.2), sdf.sphere(x, y - top - 0.1, z, s.vary(5, 0.07, 0.18))
    )
    solid = sdf.smooth_union(sdf.union(body, base), spout, 0.06)
    return [sdf.union(solid, handle), cover]


def barrel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    middle, end = s.vary(0, 0.42, 0.11), s.vary(1, 0.32, 0.11)
    half = s.vary(2, 0.54, 0.11)
    quarter = 0.25 * end + 0.75 * middle
    profile = [(end, -half), (quarter, -half / 2), (middle, 0 * half), (quarter, half / 2), (end, half)]
    solid = sdf.lathe(x, y, z, profile, 0.015)
    lid_top = sdf.cylinder(x, y - half - 0.02, z, end - 0.06, 0.05)
    lid_bottom = sdf.cylinder(x, y + half + 0.02, z, end - 0.06, 0.05)
    wood = sdf.subtract(sdf.subtract(solid, lid_top), lid_bottom)
    r = sdf.length(x, z)
    hoops = torch.full_like(r, ABSENT_DISTANCE)
    for at in (-0.72, -0.28, 0.28, 0.72):
        radius = middle + (end - middle) * abs(at) ** 1.6 + 0.02
        across, along = (r - radius).abs() - 0.03, (y - half * at).abs() - 0.05
        hoop = sdf.length(across.clamp(min=0), along.clamp(min=0)) + torch.maximum(across, along).clamp(max=0)
        hoops = torch.minimum(hoops, hoop)
    return [wood, hoops]


def pot(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, half = s.vary(0, 0.42, 0.11), s.vary(1, 0.26, 0.18)
    profile = [(radius * 0.94, -half), (radius, -half * 0.5), (radius, half)]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.055)
    loops = handles(x, y, z, s, (radius, half * 0.4), 0.15, s.vary(3, 0.11, 0.14), 0.045)
    covered = sdf.union(sdf.subtract(solid, cavity), lid(x, y, z, s, solid, radius + 0.02, half))
    return [covered, sdf.subtract(loops, cavity)]


def bucket(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim, foot, half = s.vary(0, 0.38, 0.09), s.vary(1, 0.27, 0.14), s.vary(2, 0.34, 0.11)
    low = -0.25
    profile = [(foot, low - half), (rim, low + half)]
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.055)
    lip = sdf.torus(x, y - low - half, z, rim + 0.01, 0.045)
    top = low + half
    bow = sdf.ring(x, y - top, z, rim, s.vary(3, 0.36, 0.14), 0.04)
    return [sdf.union(sdf.subtract(solid, cavity), lip), torch.maximum(bow, top - 0.02 - y)]


# fmt: off
CATEGORIES = (
    category("pitcher", pitcher, "jug ewer", HANDLES, CLAY, counts=(1, 0, 2), materials=CERAMIC, relaxation=0.5,
        height=0.25, surfaces="ceramic ceramic"),
    category("mug", styled(mug, beer_stein, espresso_cup), "cup teacup", HANDLES, CREAM, counts=(1, 0, 2),
        option="lid cover", materials=f"{CERAMIC} wooden", relaxation=0.6, height=0.1, surfaces="ceramic ceramic",
        styles="coffee mug; beer stein, tankard; espresso cup, demitasse"),
    category("vase", styled(vase, bottle_vase, trumpet_vase, cylinder_vase, globe_vase, square_vase), "urn amphora",
        HANDLES, (0.55, 0.68, 0.72), counts=(0, 1, 2), materials=CERAMIC, height=0.3, surfaces="ceramic ceramic",
        styles="baluster vase; bottle vase, bud vase; trumpet vase, flared vase; cylinder vase, straight vase; "
        "globe vase, round vase; square vase"),
    category("bowl", styled(bowl, footed_bowl, rice_bowl, dog_bowl), "dish basin", HANDLES, CREAM, counts=(0, 2),
        materials=f"{CERAMIC} wooden", height=0.08, surfaces="ceramic ceramic",
        styles="mixing bowl, salad bowl; footed bowl, pedestal bowl; rice bowl, noodle bowl; dog bowl, pet bowl"),
    category("bottle", styled(bottle, beer_bottle, milk_bottle, water_bottle, whisky_bottle, hip_flask), "flask",
        "cap stopper lid cork", (0.2, 0.42, 0.28), WOOD_COLOR, materials="glass striped", height=0.3,
        surfaces="glass cork", styles="wine bottle; beer bottle; milk bottle; water bottle, plastic bottle; "
        "whisky bottle, gin bottle; hip flask, pocket flask"),
    category("goblet", goblet, "chalice", "stem foot base", GOLD, materials="metal glass wooden", height=0.2,
        surfaces="gold gold"),
    category("teapot", teapot, "kettle", "lid cover", CREAM, counts=(1,), materials=CERAMIC, height=0.18,
        surfaces="ceramic ceramic"),
    category("barrel", barrel, "cask keg", "bands hoops rings band hoop", WOOD_COLOR, STEEL, materials=WOODEN,
        height=0.9, surfaces="wood steel"),
    category("pot", pot, "saucepan cauldron", HANDLES, STEEL, counts=(2, 1), option="lid cover", materials="metal",
        height=0.2, surfaces="steel steel"),
    category("bucket", bucket, "pail", HANDLES, STEEL, DARK, counts=(1,), materials="metal wooden striped",
        height=0.35, surfaces="steel iron"),
)
# fmt: on

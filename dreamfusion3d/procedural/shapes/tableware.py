"""Tableware: plates, cutlery, glasses and trays."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CERAMIC, DARK, GLASS, STEEL, WHITE, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, Size, styled, vessel_and_cavity


def _plate(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, rim: Tensor, lift: Tensor) -> list[Tensor]:
    """A plate whose outline is a circle, or pulled apart along the axes that the caller elongates."""
    foot = s.vary(1, 0.6, 0.12) * rim
    profile: sdf.Profile = [(foot, -0.1), (rim, lift - 0.09), (rim, lift - 0.04), (foot + 0.03, -0.06)]
    body = sdf.lathe(x, y, z, profile)
    edge = torch.maximum(body - 0.008, rim * s.vary(3, 0.88, 0.06) - sdf.length(x, z))
    return [body, edge]


def dinner_plate(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    return _plate(x, y, z, s, s.vary(0, 0.55, 0.12), s.vary(2, 0.08, 0.3))


def soup_plate(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim, deep = s.vary(0, 0.54, 0.12), s.vary(1, 0.14, 0.2)
    well = s.vary(2, 0.72, 0.08) * rim
    low = -0.5 * deep
    outer: sdf.Profile = [(well * 0.85, low), (well, deep * 0.9 + low), (rim, deep + 0.02 + low)]
    inner: sdf.Profile = [(rim, deep + 0.05 + low), (well - 0.02, deep * 0.9 + 0.05 + low), (well * 0.8, low + 0.05)]
    body = sdf.lathe(x, y, z, [*outer, *inner])
    edge = torch.maximum(body - 0.008, rim * 0.9 - sdf.length(x, z))
    return [body, edge]


def platter(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim = s.vary(0, 0.35, 0.12)
    return _plate(sdf.elongate(x, s.vary(4, 0.2, 0.2)), y, z, s, rim, s.vary(2, 0.08, 0.3))


def square_plate(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    half = s.vary(4, 0.3, 0.15)
    return _plate(sdf.elongate(x, half), y, sdf.elongate(z, half), s, s.vary(0, 0.22, 0.12), s.vary(2, 0.09, 0.3))


def _cutlery_handle(x: Tensor, y: Tensor, z: Tensor, top: float, end: Tensor) -> Tensor:
    """A flat handle from ``top`` down to y = -0.62, half as wide as ``end`` at the neck."""
    outline = sdf.polygon(
        x.abs(), y, [(0.0, -0.6), (end * 0.7, -0.6), (end, -0.5), (0.035, -0.05), (0.04, top), (0.0, top)], closed=False
    )
    return sdf.extrude(outline - 0.01, z, 0.035, 0.015)


def soup_spoon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, high, deep = s.vary(0, 0.2, 0.15), s.vary(1, 0.25, 0.08), s.vary(2, 0.13, 0.15)
    at = 0.62 - high
    outer = sdf.ellipsoid(x, y - at, z - 0.02, wide, high, deep)
    hollow = sdf.ellipsoid(x, y - at, z - 0.02, wide - 0.045, high - 0.045, deep - 0.05)
    bowl = sdf.subtract(torch.maximum(outer, z - 0.02), hollow)
    return [bowl, sdf.subtract(_cutlery_handle(x, y, z, 0.2, s.vary(3, 0.07, 0.2)), hollow)]


def cooking_spoon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, high = s.vary(0, 0.18, 0.15), s.vary(1, 0.23, 0.1)
    at = 0.63 - high
    head = sdf.extrude(sdf.ellipse(x, y - at, wide, high), z, 0.06, 0.03)
    hollow = sdf.ellipsoid(x, y - at, z - 0.08, wide - 0.04, high - 0.04, 0.09)
    shaft = sdf.tube(x, y, z, ((0.0, -0.58, 0.0), s.vary(2, 0.055, 0.15)), ((0.0, 0.3, 0.0), 0.042))
    return [sdf.subtract(head, hollow), sdf.subtract(shaft, hollow)]


def _fork(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, root: Size, pitch: Tensor, half: float) -> list[Tensor]:
    """``count`` tines, ``pitch`` apart, above a root at height ``root``."""
    bent = z - 0.35 * (y - 0.1).clamp(min=0) ** 2 + 0.02
    middle = (s.count - 1) / 2
    nearest = ((x / pitch + middle).round().clamp(min=0)).minimum(s.count - 1) - middle
    tip = s.vary(1, 0.6, 0.05)
    long = (tip - root) / 2
    tines = sdf.box(x - nearest * pitch, y - root - long, bent, half, long, 0.032, 0.02)
    wide = middle * pitch + half
    blade: sdf.Profile = [
        (0.0, -0.02),
        (0.045, -0.02),
        (wide * 0.9, root - 0.1),
        (wide, root + 0.03),
        (0.0, root + 0.03),
    ]
    head = sdf.extrude(sdf.polygon(x.abs(), y, blade, closed=False), bent, 0.032, 0.012)
    return [sdf.union(tines, head), _cutlery_handle(x, y, z, 0.05, s.vary(3, 0.075, 0.2))]


def dinner_fork(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    return _fork(x, y, z, s, s.vary(2, 0.24, 0.18), s.vary(0, 0.11, 0.1), 0.028)


def serving_fork(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    head, _ = _fork(x, y, z, s, s.vary(2, 0.34, 0.08), s.vary(0, 0.14, 0.1), 0.04)
    grip = sdf.box(x, y + 0.35, z, s.vary(3, 0.085, 0.15), 0.26, 0.06, 0.04)
    return [head, sdf.union(grip, sdf.cylinder(x, y + 0.05, z, 0.065, 0.08))]


def _knife(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, outline: sdf.Profile) -> list[Tensor]:
    """A blade of the given outline, with its edge at +X, on a riveted grip."""
    blade = sdf.extrude(sdf.polygon(x, y, outline, closed=True), z, 0.032, 0.008)
    edge = outline[2][0]
    bevel = (z.abs() - 0.018 - 0.12 * (edge - x).clamp(min=0)) * 0.99
    half = s.vary(4, 0.06, 0.12)
    grip = sdf.box(x + 0.04, y + 0.36, z, half, 0.26, 0.055, 0.025)
    nearest = ((y + 0.36) / 0.16).round().clamp(-1, 1) * 0.16
    rivets = sdf.sphere(x + 0.04, y + 0.36 - nearest, z.abs() - 0.04, 0.028)
    return [torch.maximum(blade, bevel), grip, rivets]


def kitchen_knife(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    edge, tip = s.vary(0, 0.13, 0.2), s.vary(1, 0.6, 0.06)
    return _knife(
        x, y, z, s, [(-0.1, -0.16), (edge, -0.06), (edge, 0.2), (edge * 0.5, 0.45), (-0.08, tip), (-0.1, 0.4)]
    )


def bread_knife(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    edge, tip = s.vary(0, 0.06, 0.2), s.vary(1, 0.6, 0.06)
    outline: sdf.Profile = [(-0.1, -0.16), (edge, -0.12), (edge, tip - 0.05), (0.0, tip), (-0.1, tip - 0.1)]
    blade, grip, rivets = _knife(x, y, z, s, outline)
    notch = (y / 0.09 - (y / 0.09).round()).abs() * 0.09
    teeth = 0.8 * (x - edge + (0.045 - notch) * 0.9)
    return [torch.maximum(blade, torch.where((y > -0.06) & (y < 0.45), teeth, teeth - 1)), grip, rivets]


def cleaver(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    edge, tip = s.vary(0, 0.3, 0.15), s.vary(1, 0.54, 0.12)
    return _knife(x, y, z, s, [(-0.1, -0.16), (edge, -0.06), (edge, tip), (-0.1, tip)])


def butter_knife(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    wide, long = s.vary(0, 0.085, 0.15), s.vary(1, 0.62, 0.04)
    tip: sdf.Profile = [
        (wide * 0.8, long - 0.1),
        (wide * 0.35, long - 0.02),
        (-0.02, long - 0.02),
        (-0.05, long - 0.08),
    ]
    outline: sdf.Profile = [(-0.05, -0.05), (0.02, -0.02), (wide, 0.14), (wide, long - 0.22), *tip]
    blade = sdf.extrude(sdf.polygon(x, y, outline, closed=True) - 0.02, z, 0.03, 0.012)
    return [blade, _cutlery_handle(x + 0.015, y, z, 0.02, s.vary(3, 0.07, 0.2))]


def _stemmed(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, profile: sdf.Profile, low: Size) -> list[Tensor]:
    """A cup of the given profile on a thin stem and a flat foot, which meet it at height ``low``."""
    solid, cavity = vessel_and_cavity(x, y, z, profile, 0.055, cuts=2)
    foot = s.vary(1, 0.25, 0.15)
    stem: sdf.Profile = [
        (foot, -0.61),
        (foot, -0.59),
        (0.05, -0.53),
        (0.02, -0.4),
        (0.02, low - 0.08),
        (0.05, low + 0.04),
    ]
    return [sdf.subtract(solid, cavity), sdf.subtract(sdf.lathe(x, y, z, stem), cavity)]


def wine_glass(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    belly, low, mouth = s.vary(0, 0.29, 0.12), s.vary(2, -0.08, 0.6), s.vary(3, 0.24, 0.1)
    return _stemmed(
        x, y, z, s, [(0.05, low), (belly * 0.8, low + 0.1), (belly, low + 0.28), (belly, 0.32), (mouth, 0.6)], low
    )


def champagne_flute(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    belly, low, mouth = s.vary(0, 0.16, 0.12), s.vary(2, -0.18, 0.35), s.vary(3, 0.15, 0.1)
    return _stemmed(x, y, z, s, [(0.05, low), (belly * 0.85, low + 0.2), (belly, 0.2), (mouth, 0.61)], low)


def martini_glass(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim, low = s.vary(0, 0.46, 0.12), s.vary(2, 0.1, 0.5)
    return _stemmed(x, y, z, s, [(0.04, low), (rim, 0.6)], low)


def brandy_snifter(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    belly, low, mouth = s.vary(0, 0.42, 0.1), s.vary(2, -0.34, 0.15), s.vary(3, 0.22, 0.12)
    profile: sdf.Profile = [
        (0.08, low),
        (belly * 0.85, low + 0.12),
        (belly, low + 0.4),
        (belly * 0.8, 0.3),
        (mouth, 0.58),
    ]
    return _stemmed(x, y, z, s, profile, low)


def _tumbler(x: Tensor, y: Tensor, z: Tensor, base: Tensor, rim: Tensor, half: Tensor, facets: int) -> list[Tensor]:
    solid, cavity = vessel_and_cavity(x, y, z, [(base, -half), (rim, half)], 0.055)
    outer = sdf.subtract(solid, cavity)
    if facets:  # flat panels below the lip
        panel = torch.full_like(x, -1.0)
        for k in range(facets):
            angle = torch.tensor(2 * torch.pi * (k + 0.5) / facets)
            panel = torch.maximum(panel, x * torch.cos(angle) + z * torch.sin(angle))
        radius = base + (rim - base) * (y + half) / (2 * half)
        outer = torch.maximum(outer, torch.minimum(panel - radius * 0.985, 0.35 * half - y))
    # a thick bottom, which the eye sees through the glass
    return [outer, sdf.union(sdf.cylinder(x, y + half - 0.03, z, base + 0.028, 0.07))]


def rocks_glass(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    return _tumbler(x, y, z, s.vary(0, 0.4, 0.1), s.vary(1, 0.46, 0.1), s.vary(2, 0.5, 0.15), 10)


def pint_glass(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    return _tumbler(x, y, z, s.vary(0, 0.24, 0.12), s.vary(1, 0.34, 0.1), s.vary(2, 0.57, 0.07), 0)


def tray(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz = s.vary(0, 0.36, 0.15), s.vary(1, 0.2, 0.2)
    xs, zs = sdf.elongate(x, hx), sdf.elongate(z, hz)
    body = sdf.lathe(xs, y, zs, [(0.12, -0.1), (0.18, 0.05), (0.18, 0.08), (0.15, 0.08), (0.1, -0.04)])
    grips = sdf.ring(z, y - 0.06, x.abs() - hx - 0.17, s.vary(2, 0.12, 0.12), s.vary(3, 0.13, 0.15), 0.032)
    return [body, torch.maximum(grips, 0.04 - y)]


def round_tray(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rim, lip = s.vary(0, 0.56, 0.1), s.vary(1, 0.1, 0.3)
    body = sdf.lathe(x, y, z, [(rim - 0.03, -0.06), (rim, lip - 0.06), (rim - 0.03, lip - 0.06), (rim - 0.06, -0.01)])
    return [body, sdf.torus(x, y - lip + 0.05, z, rim - 0.01, 0.038)]


def muffin_tray(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    pitch = s.vary(0, 0.36, 0.08)
    hx, hz, deep = 1.5 * pitch + 0.05, pitch + 0.05, s.vary(1, 0.13, 0.2)
    plate = sdf.box(x, y - 0.06, z, hx, 0.03, hz, 0.02)
    xs = x - (x / pitch).round().clamp(-1, 1) * pitch
    zs = z.abs() - pitch / 2
    rim = s.vary(2, 0.41, 0.06) * pitch
    solid, cavity = vessel_and_cavity(xs, y, zs, [(rim * 0.8, 0.06 - 2 * deep), (rim, 0.07)], 0.055)
    return [sdf.subtract(plate, cavity), sdf.subtract(solid, cavity)]


# fmt: off
CATEGORIES = (
    category("plate", styled(dinner_plate, soup_plate, platter, square_plate), "", "rim edge border", WHITE,
        (0.2, 0.36, 0.62), materials=CERAMIC, height=0.03, surfaces="ceramic ceramic",
        styles="dinner plate; soup plate; platter, serving plate; square plate"),
    category("spoon", styled(soup_spoon, cooking_spoon), "teaspoon", "handle grip", STEEL, materials="metal wooden",
        relaxation=0.5, height=0.2, surfaces="steel steel",
        styles="soup spoon, tablespoon; cooking spoon, stirring spoon"),
    category("fork", styled(dinner_fork, serving_fork), "", "handle grip", STEEL, counts=(4, 3, 2),
        counted="tine tines prong prongs", materials="metal wooden", relaxation=0.7, height=0.2, surfaces="steel steel",
        styles="dinner fork, table fork; serving fork, salad fork"),
    category("knife", styled(kitchen_knife, butter_knife, cleaver, bread_knife), "", "handle grip",
        (0.74, 0.76, 0.79), (0.25, 0.17, 0.12), STEEL, materials="metal", height=0.3, surfaces="steel wood steel",
        styles="kitchen knife, chef knife; butter knife, table knife; cleaver; bread knife"),
    category("wineglass", styled(wine_glass, champagne_flute, martini_glass, brandy_snifter), "stemware",
        "stem foot base", GLASS, materials="glass metal", height=0.2, surfaces="glass glass",
        styles="bordeaux glass, claret glass; champagne flute, champagne glass; martini glass, cocktail glass; "
        "snifter, brandy glass"),
    category("tumbler", styled(rocks_glass, pint_glass), "beaker", "base bottom", GLASS, (0.42, 0.62, 0.72),
        materials="glass metal", height=0.12, surfaces="glass glass",
        styles="rocks glass, whisky glass; pint glass, beer glass"),
    category("tray", styled(tray, round_tray, muffin_tray), "", "grips grip rim", STEEL, DARK,
        materials="wooden metal", genus=(2, 0, 0), height=0.06, surfaces="steel iron",
        styles="serving tray, breakfast tray; round tray, salver; muffin tray, muffin tin, baking tray"),
)
# fmt: on

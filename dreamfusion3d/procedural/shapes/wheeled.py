"""Cars, trucks and buses, with their front at +Z."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import WHITE, category
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, styled

RUBBER = (0.13, 0.13, 0.14)


def axle_wheels(
    x: Tensor, y: Tensor, z: Tensor, track: sdf.TensorOrFloat, radius: sdf.TensorOrFloat, *axles: sdf.TensorOrFloat
) -> Tensor:
    """Pairs of wheels at +-``track`` with hubs, on axles at the given z; y is measured from the axles."""
    out = torch.full_like(x, ABSENT_DISTANCE)
    for at in axles:
        tire = sdf.cylinder(y, x.abs() - track, z - at, radius, 0.06, 0.02)
        dish = sdf.cylinder(y, x.abs() - track - 0.06, z - at, radius * 0.62, 0.025, 0.005)
        hub = sdf.cylinder(y, x.abs() - track, z - at, radius * 0.25, 0.07, 0.008)
        out = torch.minimum(out, torch.minimum(sdf.subtract(tire, dish), hub))
    return out


def _glazing(outline: Tensor, x: Tensor, y: Tensor, half: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Side windows, windshield and rear window of a cabin with this outline, between two heights."""
    band = torch.maximum(low - y, y - high)
    sides = sdf.extrude(torch.maximum(outline + 0.05, band), x, half + 0.012, 0.005)
    ends = sdf.extrude(torch.maximum(outline - 0.012, band), x, half - 0.05, 0.005)
    return torch.minimum(sides, ends)


def pickup(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, radius, top = s.vary(0, 0.25, 0.1), s.vary(1, 0.135, 0.1), s.vary(2, 0.27, 0.1)
    belt = 0.02
    hood = [(-0.62, -0.22), (0.6, -0.22), (0.62, -0.12), (0.6, belt - 0.04), (0.34, belt), (-0.62, belt)]
    lower = sdf.extrude(sdf.polygon(z, y, hood), x, hx, 0.02)
    bed = sdf.box(x, y - belt - 0.02, z + 0.36, hx - 0.045, 0.12, 0.22, 0.01)
    cabin_end = s.vary(3, 0.36, 0.08)
    corners: sdf.Profile = [(-0.1, belt - 0.02), (cabin_end, belt - 0.02), (cabin_end - 0.16, top), (-0.08, top)]
    outline = sdf.polygon(z, y, corners)
    cabin = sdf.extrude(outline, x, hx * 0.92, 0.02)
    glass = _glazing(outline, x, y, hx * 0.92, top * 0.22 + belt, top - 0.05)
    bumper = sdf.box(x, y + 0.2, z.abs() - 0.61, hx * 0.9, 0.035, 0.035, 0.01)
    wheels = sdf.union(axle_wheels(x, y + 0.22, z, hx, radius, 0.38, -0.36), bumper)
    return [sdf.union(sdf.subtract(lower, bed), cabin), wheels, glass]


def van(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, radius, top = s.vary(0, 0.26, 0.08), s.vary(1, 0.125, 0.1), s.vary(2, 0.34, 0.1)
    nose = s.vary(3, 0.36, 0.08)
    corners: sdf.Profile = [(-0.61, -0.24), (0.61, -0.24), (0.62, -0.08), (0.56, 0.02), (nose, top), (-0.6, top)]
    outline = sdf.polygon(z, y, corners)
    body = sdf.extrude(outline, x, hx, 0.03)
    glass = _glazing(torch.maximum(outline, -0.1 - z), x, y, hx, 0.06 + 0 * top, top - 0.06)
    rear = sdf.box(x, y - top / 2, z + 0.6, hx - 0.06, top / 2 - 0.06, 0.02, 0.005)
    lamps = sdf.box(x.abs() - hx + 0.07, y + 0.08, z - 0.6, 0.04, 0.035, 0.035, 0.01)
    bumpers = sdf.box(x, y + 0.22, z.abs() - 0.6, hx * 0.9, 0.04, 0.04, 0.012)
    wheels = sdf.union(axle_wheels(x, y + 0.24, z, hx, radius, 0.38, -0.38), bumpers)
    return [body, wheels, sdf.union(glass, rear, lamps)]


def sports_car(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A low coupe with a spoiler."""
    hx, radius, top = s.vary(0, 0.27, 0.08), s.vary(1, 0.13, 0.1), s.vary(2, 0.17, 0.12)
    profile: sdf.Profile = [
        *((-0.6, -0.2), (0.6, -0.2), (0.63, -0.14), (0.58, -0.08), (0.28, -0.01)),
        *((-0.2, 0.03), (-0.58, 0.03), (-0.62, -0.06)),
    ]
    lower = sdf.extrude(sdf.polygon(z, y, profile), x, hx, 0.03)
    front = s.vary(3, 0.3, 0.1)
    outline = sdf.polygon(z, y, [(front, -0.03), (front - 0.28, top), (-0.18, top), (-0.52, 0.02), (-0.52, -0.03)])
    cabin = sdf.extrude(outline, x, hx * 0.84, 0.03)
    glass = _glazing(outline, x, y, hx * 0.84, 0.04 + 0 * top, top - 0.035)
    spoiler = sdf.box(x, y - 0.1, z + 0.57, hx * 0.95, 0.024, 0.05, 0.01)
    struts = sdf.box(x, y - 0.05, z + 0.57, hx * 0.6, 0.06, 0.03, 0.008)
    lamps = sdf.box(x.abs() - hx * 0.66, y + 0.075, z - 0.58, 0.06, 0.028, 0.04, 0.012)
    wheels = axle_wheels(x, y + 0.19, z, hx, radius, 0.37, -0.37)
    return [sdf.union(lower, cabin, spoiler, struts), wheels, sdf.union(glass, lamps)]


def race_car(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A single-seater with open wheels and two wings."""
    nose, deck, radius = s.vary(0, 0.09, 0.12), s.vary(1, 0.02, 0.8), s.vary(2, 0.15, 0.08)
    side = torch.where(z > 0.1, 0.17 - 0.2 * (z - 0.1), torch.full_like(z, 0.17)).clamp(min=0.06)
    profile: sdf.Profile = [
        (-0.56, -0.22),
        (0.62, -0.22),
        (0.62, -0.14),
        (0.2, nose - 0.12),
        (-0.1, deck),
        (-0.3, deck),
        (-0.56, -0.06),
    ]
    tub = torch.maximum(sdf.polygon(z, y, profile), (x.abs() - side) * 0.95)
    pods = sdf.box(x.abs() - 0.19, y + 0.14, z + 0.06, 0.1, 0.09, 0.13, 0.03)
    airbox = sdf.extrude(
        sdf.polygon(z, y, [(-0.52, -0.1), (-0.14, -0.1), (-0.14, deck + 0.14), (-0.24, deck + 0.14)]), x, 0.07
    )
    track = s.vary(3, 0.28, 0.07)
    front = sdf.box(x, y + 0.2, z - 0.58, track + 0.05, 0.025, 0.06, 0.008)
    rear = sdf.box(x, y - 0.1, z + 0.56, 0.24, 0.025, 0.08, 0.008)
    ends = sdf.box(x.abs() - 0.24, y - 0.11, z + 0.56, 0.025, 0.06, 0.08, 0.008)
    pylon = sdf.box(x, y + 0.02, z + 0.54, 0.035, 0.14, 0.05, 0.008)
    axles = sdf.union(*(sdf.cylinder(y + 0.16, x, z - at, 0.03, track) for at in (0.28, -0.42)))
    wheels = axle_wheels(x, y + 0.16, z, track, radius, 0.28, -0.42)
    seat = sdf.ellipsoid(x, y - deck, z, 0.085, 0.1, 0.14)
    return [sdf.union(tub * 0.95, pods, airbox, front, rear, ends, pylon, axles), wheels, seat]


def _truck_cab(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, hx: Tensor) -> list[Tensor]:
    """Cab and frame, then the dark parts: wheels, windows and bumper."""
    top, radius = s.vary(1, 0.24, 0.12), s.vary(2, 0.115, 0.08)
    corners: sdf.Profile = [(0.24, -0.26), (0.6, -0.26), (0.6, 0.0), (0.54, top), (0.24, top)]
    outline = sdf.polygon(z, y, corners)
    cab = sdf.extrude(outline, x, hx, 0.02)
    frame = sdf.box(x, y + 0.19, z, hx - 0.035, 0.11, 0.58, 0.01)
    glass = _glazing(outline, x, y, hx, 0.02 + 0 * top, top - 0.05)
    grille = sdf.box(x, y + 0.13, z - 0.6, hx * 0.6, 0.05, 0.02, 0.008)
    bumper = sdf.box(x, y + 0.27, z - 0.59, hx, 0.04, 0.04, 0.01)
    rear = axle_wheels(x, y + 0.3, z, hx - 0.05, radius, -0.12, -0.46)
    wheels = torch.minimum(axle_wheels(x, y + 0.3, z, hx, radius, 0.4), rear)
    return [sdf.union(cab, frame), sdf.union(wheels, glass, grille, bumper)]


def box_truck(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, tall = s.vary(0, 0.23, 0.1), s.vary(3, 0.28, 0.12)
    body, dark = _truck_cab(x, y, z, s, hx)
    cargo = sdf.box(x, y + 0.1 - tall, z + 0.22, hx + 0.03, tall, 0.42, 0.012)
    return [body, cargo, dark]


def dump_truck(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, rim = s.vary(0, 0.23, 0.1), s.vary(1, 0.24, 0.12) + s.vary(3, 0.13, 0.15)
    body, dark = _truck_cab(x, y, z, s, hx)
    outline = sdf.polygon(z, y, [(-0.6, -0.06), (-0.52, -0.1), (0.12, -0.1), (0.2, rim), (-0.64, rim)])
    inner = sdf.polygon(z, y, [(-0.53, 0.01), (-0.5, -0.03), (0.08, -0.03), (0.15, 1.0), (-0.62, 1.0)])
    skip = sdf.subtract(sdf.extrude(outline, x, hx + 0.04), sdf.extrude(inner, x, hx - 0.02))
    visor = sdf.box(x, y - rim + 0.025, z - 0.32, hx + 0.04, 0.025, 0.18, 0.008)
    return [body, sdf.union(skip, visor), dark]


def tanker_truck(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, r = s.vary(0, 0.23, 0.1), s.vary(3, 0.22, 0.1)
    body, dark = _truck_cab(x, y, z, s, hx)
    at = y + 0.1 - r
    tank = sdf.cylinder(x, z + 0.23, at, r, 0.41, 0.05)
    hoops = sdf.union(*(sdf.cylinder(x, z + 0.23 - k, at, r + 0.02, 0.025, 0.008) for k in (-0.26, 0.0, 0.26)))
    hatch = sdf.cylinder(x, at - r, z + 0.23, 0.08, 0.05)
    return [body, sdf.union(tank, hoops, hatch), dark]


def _bus(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, top: Tensor, decks: int, front: float) -> list[Tensor]:
    """Body of a bus, wheels, and rows of windows."""
    hx, radius = s.vary(0, 0.2, 0.1), s.vary(2, 0.105, 0.1)
    outline = sdf.polygon(z, y, [(-0.62, -0.3), (front, -0.3), (front, top), (-0.62, top)])
    body = sdf.extrude(outline, x, hx, 0.03)
    glass = torch.full_like(x, ABSENT_DISTANCE)
    middle, length = (front - 0.62) / 2, (front + 0.62) / 2
    for deck in range(decks):
        at = top - 0.14 - 0.28 * deck
        u = z - middle - ((z - middle) / 0.2).round().clamp(-2, 2) * 0.2
        sides = sdf.box(u, y - at, x.abs() - hx, 0.08, 0.075, 0.012, 0.005)
        ends = sdf.box(x, y - at, (z - middle).abs() - length, hx - 0.05, 0.085, 0.012, 0.005)
        glass = torch.minimum(glass, torch.minimum(sides, ends))
    return [body, axle_wheels(x, y + 0.28, z, hx, radius, front - 0.2, -0.38), glass]


def city_bus(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    top = s.vary(1, 0.24, 0.12)
    body, wheels, glass = _bus(x, y, z, s, top, 1, 0.62)
    sign = sdf.box(x, y - top, z + 0.1, 0.1, 0.04, 0.3, 0.015)
    return [sdf.union(body, sign), wheels, glass]


def yellow_bus(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    body, wheels, glass = _bus(x, y, z, s, s.vary(1, 0.26, 0.1), 1, 0.4)
    hx = s.vary(0, 0.2, 0.1)
    hood = sdf.extrude(
        sdf.polygon(z, y, [(0.3, -0.22), (0.64, -0.22), (0.63, -0.03), (0.38, 0.02), (0.3, 0.02)]), x, hx * 0.85, 0.025
    )
    bumper = sdf.box(x, y + 0.23, z - 0.62, hx, 0.04, 0.035, 0.01)
    return [sdf.union(body, hood), sdf.union(wheels, bumper), glass]


def double_decker(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    return _bus(x, y, z, s, s.vary(1, 0.46, 0.06), 2, 0.55)


# fmt: off
CATEGORIES = (
    category("truck", styled(box_truck, dump_truck, tanker_truck), "lorry", "cargo container trailer", (0.2, 0.36,
        0.66),
        WHITE, RUBBER, styles="box truck, delivery truck; dump truck, tipper; tanker truck, tanker",
        materials="striped checkered", height=3.0, surfaces="paint paint rubber"),
    category("bus", styled(city_bus, yellow_bus, double_decker), "omnibus", "wheels wheel tyres tires",
        (0.93, 0.68, 0.12), RUBBER, (0.3, 0.42, 0.5),
        styles="city bus, coach; school bus; double decker, double decker bus",
        materials="striped checkered", height=3.2, surfaces="paint rubber glass"),
)
# fmt: on

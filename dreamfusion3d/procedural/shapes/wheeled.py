"""Road and rail vehicles, with their front at +Z."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import RED, STEEL, WHITE, WOOD_COLOR, category
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


def spoked_wheel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A wagon wheel with eight spokes."""
    r, thick = s.vary(0, 0.54, 0.08), s.vary(1, 0.075, 0.14)
    rad = sdf.length(x, y)
    rim = sdf.extrude((rad - r).abs() - thick * 0.75, z, thick)
    tread = sdf.extrude((rad - r - thick * 0.75).abs() - 0.022, z, thick + 0.015, 0.008)
    out, side = sdf.sector(x, y, 8)
    spokes = torch.maximum(sdf.length(side, z) - s.vary(2, 0.042, 0.12), torch.maximum(out - r, 0.05 - out))
    hub = sdf.cylinder(x, z, y, s.vary(3, 0.13, 0.14), thick + 0.06)
    cap = sdf.cylinder(x, z, y, 0.06, thick + 0.09)
    return [sdf.union(rim, spokes, hub), sdf.union(tread, cap)]


def car_wheel(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A tire on a rim with five spokes."""
    r, wide = s.vary(0, 0.56, 0.08), s.vary(1, 0.19, 0.16)
    inner = r * s.vary(2, 0.64, 0.08)
    rad = sdf.length(x, y)
    out, side = sdf.sector(x, y, 24)
    tire = sdf.extrude((rad - (r + inner) / 2).abs() - (r - inner) / 2, z, wide, 0.06)
    groove = sdf.box(out - r, side, z.abs() - wide * 0.6, 0.025, 0.022, wide * 0.45, 0.005)
    rim = sdf.extrude((rad - inner).abs() - 0.03, z, wide + 0.015, 0.01)
    disc = sdf.extrude(rad - inner, z - 0.02, 0.06)
    out, side = sdf.sector(x, y, 5)
    spokes = sdf.box(out - inner / 2, side, z - wide * 0.6, inner / 2, 0.06, wide * 0.4, 0.015)
    hub = sdf.cylinder(x, z - wide * 0.6, y, 0.1, wide * 0.4 + 0.02)
    return [sdf.subtract(tire, groove), sdf.union(rim, disc, spokes, hub)]


def _cart_wheels(x: Tensor, y: Tensor, z: Tensor, radius: Tensor, track: Tensor, at: float) -> Tensor:
    """Two wheels with raised rims and spokes."""
    side = x.abs() - track
    out, across = sdf.sector(z - at, y, 6)
    disc = sdf.cylinder(y, side, z - at, radius - 0.02, 0.025, 0.005)
    rim = sdf.extrude((sdf.length(y, z - at) - radius + 0.035).abs() - 0.035, side, 0.05)
    spokes = sdf.box(out - radius / 2, across, side, radius / 2, 0.03, 0.045, 0.008)
    return sdf.union(disc, rim, spokes, sdf.cylinder(y, side, z - at, 0.065, 0.075))


def hand_cart(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Two wheels, an open bed, and shafts to the front."""
    hx, tall, radius = s.vary(0, 0.24, 0.1), s.vary(1, 0.12, 0.15), s.vary(2, 0.25, 0.1)
    bed = sdf.box(x, y - tall + 0.12, z + 0.2, hx, tall, 0.42, 0.012)
    hollow = sdf.box(x, y - tall - 0.05, z + 0.2, hx - 0.05, tall + 0.1, 0.37, 0.01)
    shafts = sdf.box(x.abs() - hx + 0.03, y + 0.1, z - 0.1, 0.03, 0.035, 0.54, 0.01)
    stands = sdf.box(x.abs() - hx + 0.03, y + 0.26, z - 0.14, 0.03, 0.18, 0.035, 0.01)
    wheels = _cart_wheels(x, y + 0.17, z, radius, hx + 0.09, -0.24)
    axle = sdf.cylinder(y + 0.17, x, z + 0.24, 0.045, hx + 0.09)
    block = sdf.box(x, y + 0.15, z + 0.24, hx * 0.8, 0.07, 0.07)
    return [sdf.union(sdf.subtract(bed, hollow), shafts, stands, block), sdf.union(wheels, axle)]


def covered_wagon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, spring, radius = s.vary(0, 0.24, 0.1), s.vary(1, 0.18, 0.2), s.vary(2, 0.19, 0.1)
    bed = sdf.extrude(sdf.polygon(z, y, [(-0.5, -0.13), (0.5, -0.13), (0.6, 0.06), (-0.6, 0.06)]), x, hx, 0.01)
    outline = torch.maximum(sdf.arch(x, y, hx + 0.02, spring), -y)
    flare = z.abs() - 0.56 - 0.1 * y
    cover = torch.maximum(outline - 0.025 * torch.cos(z * (2 * torch.pi / 0.26)).clamp(min=0), flare)
    mouth = torch.maximum(outline + 0.06, 0.56 - z.abs())
    seat = sdf.box(x, y + 0.1, z - 0.58, hx * 0.8, 0.03, 0.06, 0.01)
    wheels = sdf.union(*(_cart_wheels(x, y + 0.42, z, radius, hx + 0.06, at) for at in (0.36, -0.36)))
    axle = sdf.union(*(sdf.cylinder(y + 0.42, x, z - at, 0.05, hx + 0.06) for at in (0.36, -0.36)))
    bolster = sdf.box(x, y + 0.27, z.abs() - 0.36, hx * 0.7, 0.17, 0.06, 0.01)
    return [sdf.union(bed, seat, bolster), sdf.union(wheels, axle), sdf.subtract(cover, mouth) * 0.9]


def steam_locomotive(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, cab_top, radius = s.vary(0, 0.17, 0.1), s.vary(1, 0.32, 0.1), s.vary(2, 0.13, 0.08)
    boiler = sdf.cylinder(x, z - 0.1, y - 0.02, r, 0.44, 0.02)
    smokebox = sdf.cylinder(x, z - 0.47, y - 0.02, r + 0.02, 0.09, 0.012)
    frame = sdf.box(x, y + 0.2, z, 0.17, 0.07, 0.6, 0.01)
    saddle = sdf.box(x, y + 0.12, z - 0.1, 0.11, 0.1, 0.42, 0.01)
    cab = sdf.box(x, y - (cab_top - 0.24) / 2, z + 0.42, 0.22, (cab_top + 0.24) / 2, 0.17, 0.012)
    roof = sdf.box(x, y - cab_top, z + 0.42, 0.26, 0.03, 0.22, 0.012)
    stack = sdf.lathe(x, y, z - 0.44, [(0.05, 0.14), (0.06, 0.3), (0.06, 0.3), (s.vary(3, 0.09, 0.15), 0.44)], 0.015)
    dome = sdf.capsule(x, y, z, (0.0, 0.1, 0.06), (0.0, 0.22, 0.06), 0.085, 0.085)
    plow = sdf.extrude(sdf.polygon(z, y, [(0.5, -0.2), (0.6, -0.2), (0.66, -0.38), (0.5, -0.38)]), x, 0.17, 0.01)
    lamp = sdf.cylinder(x, z - 0.58, y - 0.08, 0.06, 0.05)
    panes = sdf.box(x.abs() - 0.22, y - 0.15, z + 0.42, 0.015, 0.08, 0.09, 0.005)
    wheels = axle_wheels(x, y + 0.25, z, 0.19, radius, -0.46, -0.14, 0.16)
    wheels = torch.minimum(wheels, axle_wheels(x, y + 0.29, z, 0.19, radius * 0.7, 0.43))
    rod = sdf.box(x.abs() - 0.22, y + 0.25, z + 0.14, 0.07, 0.03, 0.34, 0.008)
    return [
        sdf.union(boiler, cab, saddle, frame),
        sdf.union(wheels, rod),
        sdf.union(smokebox, roof, stack, dome, plow, lamp, panes),
    ]


def bullet_train(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """The first car of a streamlined train."""
    hx, top = s.vary(0, 0.19, 0.1), s.vary(1, 0.2, 0.12)
    nose = s.vary(2, 0.14, 0.2)
    front = ((z - nose) / (0.63 - nose)).clamp(0, 1)
    narrow, roof = 1 - 0.55 * front * front, top - (top + 0.12) * front**1.7
    across = torch.maximum(x.abs() - hx * narrow, torch.maximum(y - roof, -0.24 - y))
    body = torch.maximum(across, torch.maximum(-0.62 - z, z - 0.63)) * 0.75
    side = torch.maximum((y - top + 0.13).abs() - 0.05, x.abs() - hx * narrow - 0.012)
    glass = torch.maximum(torch.maximum(side, (z + 0.22).abs() - 0.36), hx * 0.5 - x.abs())
    glass = torch.minimum(
        glass, torch.maximum(body / 0.75 - 0.012, torch.maximum((z - nose - 0.24).abs() - 0.08, 0.02 - y))
    )
    skirt = sdf.box(x, y + 0.2, z + 0.05, hx + 0.012, 0.03, 0.56, 0.008)
    wheels = sdf.union(
        axle_wheels(x, y + 0.27, z, hx - 0.07, 0.09, 0.3, 0.1, -0.3, -0.5),
        skirt,
        sdf.box(x, y + 0.26, z + 0.1, hx - 0.06, 0.04, 0.46),
    )
    return [body, wheels, glass * 0.75]


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
    category("wheel", styled(spoked_wheel, car_wheel), "", "rim hub", (0.27, 0.2, 0.15), STEEL,
        styles="wagon wheel, spoked wheel; car wheel, tire", genus=(8, 0), materials="wooden metal", height=0.8,
        surfaces="wood steel"),
    category("wagon", styled(hand_cart, covered_wagon), "carriage", "wheels wheel", WOOD_COLOR, (0.35, 0.22, 0.13),
        (0.9, 0.86, 0.76), styles="cart, handcart; covered wagon, prairie wagon", materials="wooden",
        height=1.8, surfaces="wood wood fabric"),
    category("train", styled(steam_locomotive, bullet_train), "locomotive", "wheels wheel", (0.16, 0.36, 0.28), RED,
        (0.17, 0.18, 0.2), styles="steam train, steam locomotive; bullet train, electric train",
        materials="striped metal", height=3.8, surfaces="paint iron iron"),
)
# fmt: on

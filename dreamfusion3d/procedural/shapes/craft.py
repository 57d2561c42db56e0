"""Aircraft, rockets, ships and boats, with their front at +Z."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import DARK, GLASS, RED, WHITE, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, rotate_2d, where_present
from dreamfusion3d.procedural.shapes.wheeled import axle_wheels


def booster_rocket(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A launch vehicle of two stages with two side boosters."""
    r, at = s.vary(0, 0.14, 0.12), s.vary(1, 0.08, 0.6)
    core = sdf.lathe(x, y, z, [(r, -0.56), (r, at), (r, at), (r * 0.75, at + 0.1), (r * 0.75, at + 0.3)], 0.01)
    small = s.vary(2, 0.085, 0.12)
    boosters = sdf.cylinder(x.abs() - r - small + 0.04, y + 0.28, z, small, 0.28)
    nozzles = sdf.lathe(x, y, z, [(r * 0.62, -0.64), (r * 0.4, -0.54)], 0.005)
    nozzles = torch.minimum(
        nozzles, sdf.lathe(x.abs() - r - small + 0.04, y, z, [(small * 0.6, -0.62), (0.04, -0.54)], 0.005)
    )
    tip = at + 0.3
    noses = sdf.lathe(x, y, z, [(r * 0.78, tip), (r * 0.6, tip + 0.1), (0.01, 0.63)], 0.012)
    noses = torch.minimum(noses, sdf.lathe(x.abs() - r - small + 0.04, y, z, [(small, -0.01), (0.01, 0.17)], 0.01))
    bands = sdf.cylinder(x, y - at + 0.04, z, r + 0.012, 0.035, 0.005)
    return [sdf.union(core, boosters), sdf.union(noses, bands, nozzles)]


def missile(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, shoulder = s.vary(0, 0.12, 0.14), s.vary(1, 0.34, 0.12)
    body = sdf.cylinder(x, y - (shoulder - 0.6) / 2, z, r, (shoulder + 0.6) / 2)
    nose = sdf.lathe(x, y, z, [(r - 0.008, shoulder - 0.02), (r * 0.8, shoulder + 0.12), (0.01, 0.63)], 0.01)
    out, side = sdf.sector(x, z, 4)
    reach = s.vary(2, 0.2, 0.12)
    tail = sdf.polygon(out, y, [(0.0, -0.6), (r + reach, -0.6), (r + reach, -0.45), (r, -0.24), (0.0, -0.24)])
    wing = sdf.polygon(out, y, [(0.0, 0.02), (r + reach * 0.7, 0.02), (r, 0.22), (0.0, 0.22)])
    return [body, sdf.union(nose, sdf.extrude(torch.minimum(tail, wing), side, 0.028, 0.008))]


def airliner(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A passenger plane with engines below swept wings."""
    r = s.vary(0, 0.095, 0.1)
    tail = (-(z + 0.22) / 0.4).clamp(0, 1)
    tube = sdf.capsule(x, y - 0.06 * tail * tail, z, (0.0, 0.0, -0.24), (0.0, 0.0, 0.64 - r), r, r)
    cone = sdf.capsule(x, y, z, (0.0, 0.0, -0.24), (0.0, 0.06, -0.58), r, 0.035)
    span = s.vary(1, 0.58, 0.06)
    plan = sdf.polygon(x.abs(), z, [(-0.2, 0.2), (0.0, 0.2), (span, -0.16), (span, -0.26), (0.1, -0.08), (-0.2, -0.08)])
    wings = sdf.extrude(plan, y + 0.03 - 0.08 * x.abs(), 0.026, 0.01) * 0.95
    small = sdf.polygon(x.abs(), z, [(-0.2, -0.42), (0.0, -0.42), (0.24, -0.56), (0.24, -0.62), (-0.2, -0.58)])
    level = sdf.extrude(small, y - 0.06, 0.022, 0.008)
    fin = sdf.extrude(
        sdf.polygon(
            z, y, [(-0.34, 0.05), (-0.52, s.vary(2, 0.32, 0.12)), (-0.62, s.vary(2, 0.32, 0.12)), (-0.58, 0.05)]
        ),
        x,
        0.024,
        0.008,
    )
    at = s.vary(3, 0.25, 0.12)
    engine = sdf.cylinder(x.abs() - at, z - 0.12 + 0.3 * at, y + 0.08, 0.06, 0.1)
    windows = sdf.box(x, y - 0.03, z - 0.12, r + 0.006, 0.018, 0.34, 0.004)
    cockpit = torch.maximum(tube - 0.008, torch.maximum((y - 0.045).abs() - 0.025, 0.64 - r * 0.8 - z))
    return [sdf.union(tube, cone, fin) * 0.9, sdf.union(wings, level, engine), sdf.union(windows, cockpit)]


def biplane(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, span, gap = s.vary(0, 0.11, 0.1), s.vary(1, 0.58, 0.06), s.vary(2, 0.17, 0.08)
    body = sdf.capsule(x, y, z, (0.0, 0.0, 0.3), (0.0, 0.04, -0.56), r, 0.04)
    cowl = sdf.cylinder(x, z - 0.34, y, r + 0.02, 0.1)
    wings = sdf.box(x, (y - 0.02).abs() - gap, z - 0.2, span, 0.026, 0.13, 0.012)
    struts = sdf.box(x.abs() - span * 0.72, y - 0.02, z - 0.2, 0.028, gap, 0.06, 0.008)
    pylon = sdf.box(x, y - gap / 2 - 0.02, z - 0.2, 0.045, gap / 2 + 0.02, 0.07, 0.008)
    belly = sdf.box(x, y + gap / 2, z - 0.2, r * 0.8, gap / 2, 0.1, 0.01)
    level = sdf.box(x, y - 0.05, z + 0.52, 0.22, 0.024, 0.08, 0.01)
    fin = sdf.extrude(sdf.length(z + 0.5, y - 0.1) - 0.12, x, 0.026, 0.008)
    blade = sdf.box(x, y, z - 0.49, 0.035, s.vary(3, 0.24, 0.12), 0.022, 0.008)
    spinner = sdf.capsule(x, y, z, (0.0, 0.0, 0.42), (0.0, 0.0, 0.54), 0.05, 0.03)
    wheels = sdf.cylinder(y + 0.36, x.abs() - 0.12, z - 0.24, 0.085, 0.035)
    gear = sdf.box(x.abs() - 0.12, y + 0.26, z - 0.24, 0.03, 0.12, 0.035, 0.008)
    seat = sdf.ellipsoid(x, y - r * 0.9, z + 0.08, 0.075, 0.075, 0.1)
    return [
        sdf.union(body, cowl, fin, belly, gear),
        sdf.union(wings, level, struts, pylon, blade, spinner, wheels),
        seat,
    ]


def helicopter(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    rx, ry = s.vary(0, 0.17, 0.12), s.vary(1, 0.19, 0.1)
    cabin = sdf.ellipsoid(x, y + 0.04, z - 0.2, rx, ry, 0.3)
    boom = sdf.capsule(x, y, z, (0.0, 0.04, 0.0), (0.0, 0.1, -0.56), 0.085, 0.04)
    engine = sdf.box(x, y - 0.14, z - 0.1, 0.09, 0.07, 0.16, 0.03)
    fin = sdf.extrude(sdf.polygon(z, y, [(-0.44, 0.07), (-0.56, 0.28), (-0.64, 0.28), (-0.58, 0.0)]), x, 0.025, 0.008)
    mast = sdf.cylinder(x, y - 0.25, z - 0.1, 0.04, 0.1)
    u, w = rotate_2d(x, z - 0.1, 20.0)
    out, side = sdf.sector(u, w, 4)
    reach = s.vary(2, 0.5, 0.07)
    blades = sdf.box(out - reach / 2, y - 0.32, side, reach / 2, 0.02, 0.042, 0.008)
    hub = sdf.cylinder(x, y - 0.32, z - 0.1, 0.08, 0.035)
    p, q = rotate_2d(y - 0.12, z + 0.58, 30.0)
    tail = sdf.box(x - 0.06, p, q, 0.02, s.vary(3, 0.13, 0.12), 0.03, 0.008)
    tail = torch.minimum(tail, sdf.cylinder(y - 0.12, x - 0.03, z + 0.58, 0.035, 0.05))
    skids = sdf.capsule(x.abs(), y, z, (0.2, -0.36, -0.12), (0.2, -0.36, 0.46), 0.032, 0.032)
    struts = sdf.capsule(x.abs(), y, (z - 0.18).abs(), (0.06, -0.12, 0.13), (0.2, -0.36, 0.13), 0.032, 0.032)
    pane = sdf.ellipsoid(x, y + 0.01, z - 0.25, rx * 0.97, ry * 0.9, 0.275)
    pane = torch.maximum(pane, 0.2 - z + 0.3 * (0.1 - y))
    frame = x.abs() - 0.014
    return [
        sdf.union(cabin, boom, engine, fin, mast),
        sdf.union(blades, hub, tail),
        sdf.union(torch.maximum(pane, -frame), skids, struts),
    ]


def balloon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A hot-air balloon: gores in two colors above a basket on four ropes."""
    r, mouth = s.vary(0, 0.41, 0.08), s.vary(1, 0.12, 0.14)
    at = 0.64 - r
    rad = sdf.length(x, z)
    cone = sdf.polygon(rad, y, [(-1.0, -0.3), (mouth, -0.3), (r * 0.95, at - r * 0.3), (-1.0, at - r * 0.3)])
    envelope = torch.minimum(sdf.sphere(x, y - at, z, r), cone)
    gore = torch.cos(6 * torch.atan2(z, x)) * rad / 6
    stripes = torch.maximum(envelope - 0.006, gore * 0.9)
    basket = sdf.box(x, y + 0.54, z, s.vary(2, 0.12, 0.12), 0.09, s.vary(2, 0.12, 0.12), 0.015)
    rim = sdf.box(x, y + 0.45, z, s.vary(2, 0.135, 0.12), 0.025, s.vary(2, 0.135, 0.12), 0.015)
    rope = sdf.capsule(x.abs(), y, z.abs(), (0.085, -0.5, 0.085), (0.07, -0.26, 0.07), 0.024, 0.024)
    return [envelope, stripes, sdf.union(basket, rim, rope)]


def _hull(x: Tensor, y: Tensor, z: Tensor, half: Tensor, length: sdf.TensorOrFloat, low: Tensor, rim: Tensor) -> Tensor:
    """A hull with a flat deck at ``rim``, a pointed bow and a square stern."""
    bow = (z / length).clamp(min=0)
    deep = ((rim - y) / (rim - low)).clamp(0, 1)
    wide = half * (1 - 0.95 * bow**2.2) * (1 - 0.45 * deep**2)
    keel = y - low - (rim - low) * 0.6 * bow**3
    body = torch.maximum(x.abs() - wide, torch.maximum(y - rim, -keel))
    return torch.maximum(body, torch.maximum(-0.9 * length - z, z - length)) * 0.7


def sailboat(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A yacht with a cabin, and an optional mast with mainsail and jib."""
    half, low, rim = s.vary(0, 0.19, 0.12), s.vary(1, -0.58, 0.05), s.vary(2, -0.36, 0.06)
    hull = _hull(x, y, z, half, 0.62, low, rim)
    cabin = sdf.box(x, y - rim, z - 0.06, half * 0.6, 0.09, 0.2, 0.03)
    mast = sdf.cylinder(x, y - 0.1, z - 0.1, 0.035, 0.54)
    boom = sdf.capsule(x, y, z, (0.0, rim + 0.17, 0.1), (0.0, rim + 0.17, -0.46), 0.03, 0.03)
    main = sdf.polygon(z, y, [(0.1, rim + 0.16), (-0.46, rim + 0.16), (0.08, 0.62)])
    jib = sdf.polygon(z, y, [(0.1, rim + 0.17), (0.5, rim + 0.14), (0.48, rim + 0.19), (0.1, s.vary(3, 0.4, 0.15))])
    bent = x - 0.06 * (1 - ((z + 0.14) / 0.3) ** 2).clamp(min=0) * ((y - rim - 0.2) / 0.25).clamp(0, 1)
    sails = torch.minimum(sdf.extrude(main, bent, 0.026, 0.01), sdf.extrude(jib, x, 0.026, 0.01)) * 0.85
    rig = s.option > 0
    return [sdf.union(hull, cabin), where_present(sails, rig), where_present(sdf.union(mast, boom), rig)]


def galleon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A ship with raised castles, and optional masts with square sails."""
    half, rim, low = s.vary(0, 0.18, 0.12), s.vary(1, -0.28, 0.06), -0.58
    hull = _hull(x, y, z, half, 0.5, low + 0 * rim, rim)
    poop = sdf.extrude(
        sdf.polygon(z, y, [(-0.52, rim + 0.18), (-0.46, rim - 0.1), (-0.2, rim - 0.1), (-0.2, rim + 0.18)]),
        x,
        half * 0.98,
        0.012,
    )
    prow = torch.maximum(_hull(x, y - 0.12, z, half, 0.5, low + 0 * rim, rim), 0.2 - z)
    sprit = sdf.capsule(x, y, z, (0.0, rim + 0.06, 0.36), (0.0, rim + 0.2, 0.62), 0.035, 0.03)
    ports = sdf.box(
        x.abs() - half * 0.82, y - rim + 0.1, z - (z / 0.16).round().clamp(-2, 1) * 0.16, 0.06, 0.03, 0.035, 0.006
    )
    sails = masts = torch.full_like(x, ABSENT_DISTANCE)
    for at, top, wide in ((0.14, s.vary(2, 0.58, 0.06), 0.34), (-0.22, s.vary(3, 0.48, 0.08), 0.27)):
        masts = torch.minimum(masts, sdf.capsule(x, y, z, (0.0, rim - 0.05, at), (0.0, top, at), 0.035, 0.03))
        for level, scale in ((0.32, 1.0), (0.76, 0.72)):
            middle = rim + (top - rim) * level + 0.04
            belly = z - at - 0.04 + 0.5 * (x * x + (y - middle) ** 2)
            tall = (top - rim) * 0.18
            sail = sdf.box(x, y - middle, belly, wide * scale * (1 - 0.3 * (y - middle) / 0.3), tall, 0.03, 0.008) * 0.8
            yard = sdf.capsule(
                x, y, z, (-wide * scale, middle + tall, at), (wide * scale, middle + tall, at), 0.026, 0.026
            )
            sails, masts = torch.minimum(sails, sail), torch.minimum(masts, yard)
    rig = s.option > 0
    accents = sdf.union(where_present(masts, rig), sprit, ports)
    return [sdf.union(hull, poop, prow), where_present(sails, rig), accents]


def motorboat(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    half, rim, low = s.vary(0, 0.24, 0.1), s.vary(1, -0.02, 0.8), s.vary(2, -0.26, 0.08)
    hull = _hull(x, y, z, half, 0.62, low, rim)
    cockpit = sdf.box(x, y - rim - 0.04, z + 0.22, half - 0.07, 0.16, 0.24, 0.02)
    seats = sdf.union(
        sdf.box(x, y - rim + 0.08, z + 0.42, half - 0.06, 0.07, 0.06, 0.02),
        sdf.box(x.abs() - half * 0.4, y - rim, z + 0.16, 0.06, 0.14, 0.035, 0.015),
    )
    stripe = torch.maximum(_hull(x, y, z, half + 0.012, 0.632, low, rim) / 0.7, (y - rim + 0.07).abs() - 0.026) * 0.7
    v = z - 0.1 + 0.7 * (y - rim)
    screen = sdf.box(x, y - rim - 0.07, v, half * 0.82, 0.11, 0.028, 0.008) * 0.8
    motor = sdf.union(
        sdf.box(x, y - rim - 0.05, z + 0.6, 0.075, 0.11, 0.06, 0.03),
        sdf.box(x, y - rim + 0.16, z + 0.59, 0.035, 0.16, 0.045, 0.01),
    )
    return [sdf.subtract(hull, cockpit), sdf.union(stripe, seats, motor), screen]


def canoe(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An open canoe with thwarts and a paddle across it."""
    half, deep, rise = s.vary(0, 0.18, 0.12), s.vary(1, 0.22, 0.12), s.vary(2, 0.14, 0.2)
    end = ((z / 0.63) ** 2).clamp(max=1)
    rim = -0.04 + rise * end * end
    wide, low = half * (1 - end) ** 0.7, deep * (1 - 0.3 * end)

    def bowl(inset: float) -> Tensor:
        w = (wide - inset).clamp(min=0.015)
        return sdf.ellipse(x, (y - rim).clamp(max=0), w, low - inset)

    outer = torch.maximum(bowl(0.0), torch.maximum(y - rim, z.abs() - 0.62))
    inner = torch.maximum(bowl(0.06), z.abs() - 0.46)
    seats = torch.maximum((z.abs() - 0.22).abs() - 0.05, (y - rim + 0.11).abs() - 0.1)
    return [sdf.subtract(outer, inner) * 0.9, torch.maximum(seats, outer + 0.02) * 0.9]


def submarine(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, tall = s.vary(0, 0.17, 0.12), s.vary(1, 0.13, 0.15)
    hull = sdf.union(
        sdf.capsule(x, y + 0.08, z, (0.0, 0.0, -0.1), (0.0, 0.0, 0.63 - r), r, r),
        sdf.capsule(x, y + 0.08, z, (0.0, 0.0, -0.1), (0.0, 0.0, -0.54), r, 0.05),
    )
    plan = sdf.length((z - s.vary(2, 0.1, 0.5)).abs().clamp(min=0.1) - 0.1, x) - 0.085
    tower = sdf.extrude(plan, y - r - tall / 2 + 0.06, tall / 2 + 0.08, 0.015)
    scope = sdf.capsule(x, y, z, (0.0, 0.1, s.vary(2, 0.14, 0.5)), (0.0, 0.42, s.vary(2, 0.14, 0.5)), 0.03, 0.03)
    scope = torch.minimum(scope, sdf.box(x, y - 0.42, z - s.vary(2, 0.17, 0.5), 0.032, 0.032, 0.07, 0.01))
    planes = sdf.box(x, y - r - 0.02, z - s.vary(2, 0.1, 0.5), 0.2, 0.022, 0.05, 0.008)
    fins = torch.minimum(
        sdf.box(x, y + 0.08, z + 0.44, 0.24, 0.024, 0.075, 0.008),
        sdf.box(x, y + 0.08, z + 0.44, 0.024, 0.24, 0.075, 0.008),
    )
    out, side = sdf.sector(x, y + 0.08, 4)
    screw = sdf.box(out - 0.08, side, z + 0.6, 0.08, 0.045, 0.022, 0.008)
    hub = sdf.capsule(x, y + 0.08, z, (0.0, 0.0, -0.5), (0.0, 0.0, -0.61), 0.05, 0.03)
    at = z - 0.16 - ((z - 0.16) / 0.17).round().clamp(-2, 1) * 0.17
    holes = sdf.extrude(sdf.length(y + 0.06, at) - 0.048, x, r + 0.014, 0.006)
    return [hull, sdf.union(tower, planes, fins, scope), sdf.union(holes, screw, hub)]


def tank(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, tall = s.vary(0, 0.19, 0.1), s.vary(1, 0.11, 0.14)
    hull = sdf.extrude(
        sdf.polygon(z, y, [(-0.5, -0.22), (0.38, -0.22), (0.52, -0.06), (0.38, 0.04), (-0.52, 0.04)]), x, hx + 0.06
    )
    fenders = sdf.box(x.abs() - hx - 0.1, y, z, 0.13, 0.022, 0.54, 0.008)
    turret = sdf.extrude(
        sdf.polygon(z, y, [(-0.34, 0.02), (0.2, 0.02), (0.12, 0.06 + 2 * tall), (-0.26, 0.06 + 2 * tall)]),
        x,
        s.vary(2, 0.19, 0.1),
        0.04,
    )
    at = 0.06 + tall
    gun = sdf.capsule(x, y, z, (0.0, at, 0.1), (0.0, at + 0.02, 0.6), 0.045, 0.038)
    muzzle = sdf.cylinder(x, z - 0.57, y - at - 0.02, 0.06, 0.06)
    hatch = sdf.cylinder(x - 0.06, y - 0.07 - 2 * tall, z + 0.1, 0.085, 0.04)
    loop = sdf.length((z.abs() - 0.44).clamp(min=0), y + 0.17) - s.vary(3, 0.155, 0.06)
    tracks = sdf.extrude(loop, x.abs() - hx - 0.11, 0.095, 0.02)
    cleats = sdf.extrude(loop.abs() - 0.018, x.abs() - hx - 0.11, 0.1, 0.005)
    ribs = (z / 0.09 - (z / 0.09).round()).abs() * 0.09 - 0.022
    wheels = axle_wheels(x, y + 0.19, z, hx + 0.16, 0.1, -0.42, -0.14, 0.14, 0.42)
    return [
        sdf.union(hull, fenders, turret, gun, muzzle, hatch),
        sdf.union(tracks, torch.maximum(cleats, ribs)),
        wheels,
    ]


# fmt: off
CATEGORIES = (
    category("helicopter", helicopter, "chopper rotorcraft", "rotor rotors blades", RED, (0.25, 0.26, 0.29),
        (0.3, 0.42, 0.5), genus=2, materials="striped metal", height=3.5, surfaces="paint steel glass"),
    category("balloon", balloon, "aerostat", "stripes stripe panels", RED, (0.95, 0.8, 0.3), (0.55, 0.37, 0.2), genus=3,
        height=20.0, surfaces="fabric fabric wood"),
    category("motorboat", motorboat, "speedboat powerboat", "seats seat", WHITE, (0.75, 0.2, 0.15), GLASS,
        materials="striped wooden", relaxation=0.6, height=1.6, surfaces="paint paint glass"),
    category("canoe", canoe, "kayak", "seats seat thwarts", (0.62, 0.24, 0.14), WOOD_COLOR, materials="wooden striped",
        relaxation=0.6, height=0.5, surfaces="paint wood"),
    category("submarine", submarine, "sub", "tower fins", (0.92, 0.75, 0.15), None, DARK, materials="metal striped",
        height=5.0, surfaces="paint paint steel"),
    category("tank", tank, "panzer", "tracks track", (0.36, 0.4, 0.25), DARK, (0.25, 0.28, 0.18),
        materials="metal spotted",
        height=2.4, surfaces="paint rubber paint"),
)
# fmt: on

"""Appliances, devices and machines of the home."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, DARK, GOLD, PATTERNS, STEEL, WHITE, WOOD_COLOR, WOODEN, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d, scaled, styled, where_present


def _turned(x: Tensor, y: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Coordinates in the frame of the nearest of ``number`` spokes around the Z axis; the first points up."""
    step = 2 * math.pi / number
    angle = torch.atan2(-x, y)
    near = angle - (angle / step).round() * step
    r = sdf.length(x, y)
    return r * torch.cos(near), r * torch.sin(near)


def desk_fan(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, at, foot = s.vary(0, 0.4, 0.06), 0.17, s.vary(1, 0.25, 0.15)
    along, across = _turned(x, y - at, 3)
    guard = sdf.length(sdf.length(x, y - at) - radius, z) - 0.04
    spokes = sdf.box(along - radius / 2, across, z + 0.02, radius / 2, 0.035, 0.03, 0.01)
    motor = sdf.union(
        sdf.cylinder(x, z + 0.08, y - at, 0.11, 0.1, 0.03), sdf.cylinder(x, z - 0.05, y - at, 0.075, 0.05, 0.02)
    )
    wide = s.vary(2, 0.125, 0.12)
    leaf = sdf.ellipse(along - radius * 0.4, across - 0.03, radius * 0.3, wide)
    blades = sdf.extrude(leaf, z - 0.02 - 0.3 * across, 0.032, 0.01)
    pole = sdf.capsule(x, y, z, (0.0 * at, -0.52, -0.1), (0.0, at, -0.1), 0.05, 0.05)
    base = sdf.lathe(x, y, z + 0.04, [(foot, -0.62), (foot, -0.58), (0.08, -0.5)], 0.012)
    button = sdf.cylinder(x, y + 0.56, z - foot * 0.6, 0.045, 0.04)
    return [sdf.union(guard, spokes, motor, pole, base), blades * 0.9, button]


def ceiling_fan(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    reach, wide, drop = s.vary(0, 0.6, 0.06), s.vary(1, 0.095, 0.15), s.vary(2, 0.26, 0.2)
    along, across = _turned(x, z, 5)
    top = 0.08 + drop
    rod = sdf.cylinder(x, y - drop / 2 - 0.08, z, 0.04, drop / 2 + 0.02)
    rose = sdf.lathe(x, y, z, [(0.05, top - 0.08), (0.13, top - 0.02), (0.13, top)], 0.01)
    motor = sdf.lathe(x, y, z, [(0.1, -0.1), (0.17, -0.05), (0.17, 0.06), (0.06, 0.12)], 0.015)
    outline = sdf.box(along - (reach + 0.2) / 2, across, 0 * y, (reach - 0.2) / 2, wide, 1.0, 0.05)
    blades = sdf.extrude(outline, y + 0.02 - 0.2 * across, 0.026, 0.008)
    irons = sdf.box(along - 0.2, across, y + 0.02, 0.12, 0.045, 0.03, 0.01)
    bowl = torch.maximum(sdf.ellipsoid(x, y + 0.1, z, 0.15, s.vary(3, 0.15, 0.2), 0.15), y + 0.08)
    return [sdf.union(rod, rose, motor, irons), blades * 0.9, bowl]


def flat_television(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, foot = s.vary(0, 0.6, 0.06), s.vary(1, 0.34, 0.1), s.vary(2, 0.24, 0.2)
    at = 0.06
    panel = sdf.box(x, y - at, z, hx, hy, 0.035, 0.012)
    rear = sdf.box(x, y - at + 0.05, z + 0.05, hx * 0.6, hy * 0.6, 0.04, 0.02)
    screen = sdf.box(x, y - at - 0.01, z - 0.012, hx - 0.03, hy - 0.04, 0.035, 0.006)
    neck = sdf.box(x, y - at + hy + 0.03, z + 0.02, 0.07, 0.09, 0.03, 0.01)
    stand = sdf.box(x, y - at + hy + 0.11, z, foot, 0.028, s.vary(3, 0.14, 0.15), 0.012)
    diode = sdf.sphere(x, y - at + hy - 0.018, z - 0.03, 0.014)
    return [sdf.union(panel, rear, neck, stand), screen, diode]


def tube_television(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A wooden set with a bulging screen, dials and an antenna."""
    hx, hy, hz = s.vary(0, 0.5, 0.08), s.vary(1, 0.35, 0.1), s.vary(2, 0.27, 0.12)
    at = -0.1
    case = sdf.box(x, y - at, z, hx, hy, hz, 0.04)
    xs, hs = x + hx * 0.22, hx * 0.68
    mask = sdf.box(xs, y - at, z - hz, hs, hy - 0.06, 0.025, 0.02)
    tube = torch.maximum(
        sdf.box(xs, y - at, 0 * z, hs - 0.05, hy - 0.11, 1.0, 0.09), z - hz - 0.06 + 0.25 * (xs * xs + (y - at) ** 2)
    )
    tube = torch.maximum(tube, hz - 0.02 - z)
    panel_x = x - hx * 0.74
    dials = sdf.union(
        *(sdf.cylinder(panel_x, z - hz - 0.03, y - at - hy * k, 0.065, 0.045, 0.01) for k in (0.52, 0.05)),
        *(sdf.box(panel_x, y - at + hy * k, z - hz, 0.08, 0.018, 0.02, 0.006) for k in (0.38, 0.54, 0.7)),
    )
    legs = sdf.capsule(
        x.abs(), y, z.abs(), (hx - 0.14, at - hy + 0.02, hz - 0.1), (hx - 0.06, at - hy - 0.13, hz - 0.05), 0.05, 0.035
    )
    rods = sdf.capsule(
        x.abs(), y, z, (0.0 * hx, at + hy, 0.0 * hx), (s.vary(3, 0.24, 0.2), 0.6 + 0.0 * hx, 0.0 * hx), 0.032, 0.026
    )
    puck = sdf.cylinder(x, y - at - hy, z, 0.09, 0.04)
    return [sdf.union(case, legs, mask), tube * 0.9, sdf.union(dials, rods, puck)]


def cathedral_radio(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A wooden set with an arched top."""
    hx, hz, low = s.vary(0, 0.4, 0.1), s.vary(1, 0.22, 0.15), -0.52
    spring = s.vary(2, 0.12, 0.25)
    outline = torch.maximum(sdf.length(x, (y - spring).clamp(min=0)) - hx, low - y)
    case = sdf.extrude(outline, z, hz, 0.015)
    rim = sdf.extrude(outline.abs() - 0.03, z - hz, 0.03, 0.012)
    base = sdf.box(x, y - low + 0.02, z, hx + 0.045, 0.05, hz + 0.04, 0.012)
    grille = sdf.extrude(sdf.length(x, y - spring - 0.03) - hx * 0.68, z - hz, 0.02, 0.008)
    slots = (x / 0.11 - (x / 0.11).round()).abs() * 0.11 - 0.02
    bars = torch.maximum(sdf.extrude(sdf.length(x, y - spring - 0.03) - hx * 0.72, z - hz, 0.04, 0.008), slots)
    dial = sdf.box(x, y + 0.2, z - hz, hx * 0.5, 0.06, 0.025, 0.015)
    knobs = sdf.cylinder((x.abs() - hx * 0.55), z - hz - 0.03, y + 0.38, 0.065, 0.05, 0.012)
    return [
        sdf.union(case, rim, base, bars),
        grille,
        sdf.union(dial, knobs, sdf.cylinder(x, z - hz - 0.03, y + 0.38, 0.05, 0.04, 0.012)),
    ]


def boombox(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Two speakers, a cassette bay and a carrying handle."""
    hx, hy, hz = s.vary(0, 0.59, 0.06), s.vary(1, 0.27, 0.12), s.vary(2, 0.16, 0.15)
    at = -0.1
    case = sdf.box(x, y - at, z, hx, hy, hz, 0.03)
    xs = x.abs() - hx + hy * 0.82
    r = hy * s.vary(3, 0.7, 0.08)
    radial = sdf.length(xs, y - at + 0.03)
    cone = sdf.extrude(radial - r, z - hz, 0.03, 0.01)
    cone = torch.maximum(cone, -sdf.extrude(radial - r * 0.75, z - hz - 0.05, 0.04, 0.01))
    cap = sdf.sphere(xs, y - at + 0.03, z - hz, r * 0.32)
    rim = sdf.extrude((radial - r).abs() - 0.022, z - hz, 0.045, 0.012)
    deck = sdf.box(x, y - at + hy * 0.3, z - hz, hx - hy * 1.6, hy * 0.42, 0.035, 0.01)
    tuner = sdf.box(x, y - at - hy * 0.55, z - hz, hx - hy * 1.6, 0.045, 0.03, 0.01)
    grip = sdf.box(x, y - at - hy - 0.17, z, hx * 0.72, 0.035, 0.045, 0.02)
    posts = sdf.box(x.abs() - hx * 0.68, y - at - hy - 0.08, z, 0.04, 0.12, 0.045, 0.015)
    buttons = sdf.box(torch.remainder(x, 0.1) - 0.05, y - at - hy, z - hz * 0.4, 0.036, 0.035, 0.04, 0.01)
    buttons = torch.maximum(buttons, x.abs() - 0.2)
    return [sdf.union(case, grip, posts, rim), sdf.union(cone, cap), sdf.union(deck, tuner, buttons)]


def rotary_phone(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A handset on a cradle above a dial."""
    hx, hz, low = s.vary(0, 0.42, 0.1), s.vary(1, 0.4, 0.1), -0.4
    corners: sdf.Profile = [
        (hz, low),
        (hz, low + 0.12),
        (-0.02, 0.16),
        (-hz + 0.14, 0.16),
        (-hz, low + 0.16),
        (-hz, low),
    ]
    narrow = hx * (1 - 0.3 * ((y - low) / 0.56).clamp(0, 1))
    body = sdf.extrude(sdf.polygon(z, y, corners) + 0.01, x * (hx / narrow), hx, 0.03) * 0.8 - 0.01
    slope = math.degrees(math.atan2(0.44, 0.42))
    zd, yd = rotate_2d(z - hz / 2 + 0.01, y + 0.06, -slope)
    disc = sdf.cylinder(x, yd, zd, 0.22, 0.045, 0.01)
    angle, r = torch.atan2(zd, x), sdf.length(x, zd)
    step = math.pi / 6
    near = angle - (angle / step).round().clamp(-4, 5) * step
    holes = sdf.cylinder(r * torch.cos(near) - 0.15, yd - 0.06, r * torch.sin(near), 0.026, 0.035, 0.004)
    hub = sdf.cylinder(x, yd - 0.03, zd, 0.08, 0.035, 0.01)
    wide = s.vary(2, 0.45, 0.1)
    block = sdf.box(x, y - 0.2, z + 0.18, wide - 0.08, 0.1, 0.1, 0.02)
    grip = sdf.capsule(x, y, z, (-wide, 0.34, -0.18), (wide, 0.34 + 0 * wide, -0.18 + 0 * wide), 0.07, 0.07)
    ends = sdf.lathe(x.abs() - wide, y, z + 0.18, [(0.13, 0.17), (0.13, 0.24), (0.08, 0.38)], 0.02)
    return [sdf.union(body, block, grip, ends), sdf.subtract(disc, holes), hub]


def smartphone(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.3, 0.1), s.vary(1, 0.6, 0.06), s.vary(2, 0.05, 0.15)
    outline = sdf.box(x, y, 0 * z, hx, hy, 1.0, 0.09)
    body = sdf.extrude(outline, z, hz, 0.02)
    screen = sdf.extrude(outline + 0.03, z - hz + 0.02, 0.03, 0.006)
    bump = sdf.box(x - hx * 0.45, y - hy + 0.2, z + hz, hx * 0.4, 0.14, 0.03, 0.02)
    lenses = sdf.cylinder(x - hx * 0.45, z + hz + 0.03, (y - hy + 0.2).abs() - 0.065, 0.05, 0.03, 0.01)
    icons = sdf.box(
        (x.abs() - hx * 0.36).abs() - hx * 0.2,
        torch.remainder(y + hy * 0.1, 0.2) - 0.1,
        z - hz + 0.02,
        0.045,
        0.045,
        0.036,
        0.01,
    )
    icons = torch.maximum(icons, (y - 0.1).abs() - 0.3)
    return [sdf.union(body, bump), screen, sdf.union(icons, lenses)]


def camera(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.54, 0.08), s.vary(1, 0.28, 0.12), s.vary(2, 0.17, 0.12)
    body = sdf.box(x, y, z + 0.14, hx, hy, hz, 0.035)
    grip = sdf.box(x + hx - 0.09, y + 0.02, z + 0.06, 0.09, hy - 0.04, hz, 0.04)
    hump = sdf.extrude(
        sdf.polygon(x, y - hy, [(-0.2, -0.05), (0.2, -0.05), (0.11, 0.15), (-0.11, 0.15)]), z + 0.14, hz, 0.012
    )
    front = hz - 0.14
    long, r = s.vary(3, 0.19, 0.25), hy * 0.84  # of the lens: half length, radius
    barrel = sdf.lathe(
        x,
        z,
        y,
        [(r, front - 0.06), (r, front + long * 0.9), (r * 0.86, front + long), (r * 0.86, front + 2 * long)],
        0.01,
    )
    rings = sdf.cylinder(x, z - front - long * 1.5, y, r * 0.86 + 0.022, long * 0.25, 0.01)
    glass = sdf.ellipsoid(x, y, z - front - 2 * long + 0.02, r * 0.66, r * 0.66, 0.06)
    lens = sdf.subtract(
        sdf.union(barrel, rings), sdf.cylinder(x, z - front - 2 * long - 0.02, y, r * 0.68, 0.05, 0.004)
    )
    dials = sdf.union(
        sdf.cylinder(x + hx - 0.12, y - hy - 0.02, z + 0.1, 0.06, 0.05, 0.01),
        sdf.cylinder(x - hx + 0.14, y - hy - 0.02, z + 0.14, 0.09, 0.05, 0.01),
    )
    flash = sdf.union(
        sdf.box(x, y - hy - 0.24, z + 0.08, 0.18, 0.09, 0.12, 0.02),
        sdf.box(x, y - hy - 0.15, z + 0.12, 0.07, 0.06, 0.07, 0.01),
    )
    return [sdf.union(body, grip, hump), lens, sdf.union(glass, dials, where_present(flash, s.option > 0))]


def typewriter(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz = s.vary(0, 0.46, 0.08), s.vary(1, 0.44, 0.1)
    low = -0.42
    corners: sdf.Profile = [(hz, low), (hz, low + 0.1), (0.1, low + 0.22), (0.0, 0.02), (-hz, 0.02), (-hz, low)]
    body = sdf.extrude(sdf.polygon(z, y, corners), x, hx, 0.015)
    slope = math.degrees(math.atan2(0.12, 0.34))
    zk, yk = rotate_2d(z - (hz + 0.1) / 2, y - low - 0.165, -slope)
    pitch = hx / 4.6
    row = (zk / 0.095).round().clamp(-1, 1)
    column = (x / pitch + 0.5 * row.abs()).round().clamp(-3, 3) - 0.5 * row.abs()
    keys = sdf.cylinder(x - column * pitch, yk - 0.03, zk - row * 0.095, 0.034, 0.07, 0.01)
    bank = sdf.box(x, yk, zk, hx * 0.85, 0.07, 0.145, 0.01)  # on which the keys stand
    roller = sdf.union(
        sdf.cylinder(y - 0.08, x, z + hz - 0.14, s.vary(2, 0.085, 0.12), hx + 0.05),
        sdf.cylinder(y - 0.08, x.abs() - hx - 0.09, z + hz - 0.14, 0.07, 0.04, 0.012),
    )
    carriage = sdf.box(x, y - 0.02, z + hz - 0.14, hx * 0.96, 0.05, 0.13, 0.012)
    lever = sdf.capsule(x, y, z, (-hx, 0.08, -hz + 0.2), (-hx - 0.1, 0.14 + 0 * hx, -hz + 0.34), 0.03, 0.03)
    paper = sdf.box(x, y - 0.3, z + hz - 0.1 + 0.12 * (y - 0.1), hx * 0.62, s.vary(3, 0.27, 0.1), 0.024, 0.006)
    accents = sdf.union(roller, lever)
    return [sdf.union(body, bank, carriage, accents), keys, where_present(paper, s.option > 0)]


def laptop(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, thick = s.vary(0, 0.57, 0.08), s.vary(1, 0.38, 0.1), s.vary(2, 0.03, 0.2)
    at = -0.36
    base = sdf.box(x, y - at, z - 0.06, hx, thick, hz, 0.012)
    zl, yl = rotate_2d(z - 0.06 + hz - 0.01, y - at, 16.0)
    high = s.vary(3, 0.38, 0.08)
    lid = sdf.box(x, yl - high, zl, hx, high, 0.03, 0.012)
    hinge = sdf.cylinder(y - at - 0.01, x, z - 0.06 + hz - 0.01, 0.04, hx * 0.7)
    screen = sdf.box(x, yl - high - 0.01, zl - 0.014, hx - 0.04, high - 0.055, 0.03, 0.005)
    pitch = hx / 6.4
    row, column = ((z - 0.02) / 0.085).round().clamp(-2, 1), (x / pitch).round().clamp(-5, 5)
    keys = sdf.box(x - column * pitch, y - at - thick, z - 0.02 - row * 0.085, pitch / 2 - 0.007, 0.016, 0.034, 0.006)
    pad = sdf.box(x, y - at - thick, z - 0.06 - hz * 0.68, 0.13, 0.01, hz * 0.2, 0.004)
    return [sdf.union(base, lid, hinge), screen, sdf.union(keys, pad)]


def headset(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A padded arc between two ear cups."""
    rx, ry = s.vary(0, 0.44, 0.1), s.vary(1, 0.5, 0.08)
    at = -0.06
    band = sdf.box(sdf.ellipse(x, y - at, rx, ry), 0 * y, z, 0.04, 1.0, s.vary(2, 0.07, 0.2), 0.02)
    band = torch.maximum(band, at - 0.02 - y)
    xs, ys = rotate_2d(x.abs() - rx, y - at + 0.14, -8.0)
    cups = sdf.cylinder(ys, xs - 0.04, z, s.vary(3, 0.22, 0.12), 0.06, 0.03)
    forks = sdf.box(xs, ys - 0.14, z, 0.04, 0.14, 0.06, 0.015)
    pads = sdf.length(sdf.length(ys, z) - 0.14, xs + 0.06) - 0.075
    pad_top = torch.maximum(
        sdf.box(sdf.ellipse(x, y - at, rx - 0.03, ry - 0.03), 0 * y, z, 0.05, 1.0, 0.095, 0.03), at + ry * 0.72 - y
    )
    return [
        sdf.union(band, cups, forks),
        sdf.union(pads, torch.maximum(sdf.cylinder(ys, xs, z, 0.15, 0.06), -xs - 0.05), pad_top),
    ]


# fmt: off
CATEGORIES = (
    category("fan", styled(desk_fan, ceiling_fan), "ventilator", "blades", STEEL, WOOD_COLOR, CREAM,
        materials="metal", height=0.45, surfaces="steel wood glass", genus=(3, 0), relaxation=0.6,
        styles="desk fan, table fan; ceiling fan"),
    category("television", styled(flat_television, scaled(tube_television, 0.94)), "tv telly", "screen display",
        (0.22, 0.17, 0.14), (0.33, 0.4, 0.45), CREAM, materials=WOODEN, height=0.6, surfaces="plastic glass plastic",
        styles="flat screen, flat television; tube television, retro tv"),
    category("radio", styled(cathedral_radio, boombox), "wireless", "grille speaker speakers", (0.52, 0.3, 0.16),
        (0.8, 0.7, 0.5), DARK, materials=WOODEN, height=0.35, surfaces="wood fabric plastic", genus=(0, 1),
        styles="cathedral radio, tube radio; boombox"),
    category("telephone", styled(rotary_phone, smartphone), "phone", "dial screen", (0.13, 0.13, 0.14), CREAM, GOLD,
        materials="striped", height=0.16, surfaces="plastic paper gold", relaxation=0.7,
        styles="rotary phone; smartphone, mobile phone, cellphone"),
    category("camera", camera, "", "lens", (0.2, 0.2, 0.22), (0.34, 0.34, 0.36), (0.45, 0.53, 0.6), option="flash",
        materials="metal", height=0.1, surfaces="leather steel glass"),
    category("typewriter", typewriter, "", "keys keyboard", (0.2, 0.36, 0.34), CREAM, WHITE, option="paper sheet",
        option_default=True, materials="metal", height=0.25, surfaces="paint plastic paper"),
    category("laptop", scaled(laptop, 0.9), "computer", "screen display", (0.72, 0.73, 0.75), (0.16, 0.3, 0.5), DARK,
        materials="metal", height=0.25, surfaces="steel glass plastic"),
    category("headset", headset, "headphones earphones", "pads cushions", (0.85, 0.84, 0.82), DARK,
        materials=f"metal {PATTERNS}", height=0.2, surfaces="plastic leather", relaxation=0.6),
)
# fmt: on

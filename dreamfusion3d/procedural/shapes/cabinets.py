"""Storage furniture, and parts of a room."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, GOLD, PATTERNS, STEEL, STONE, WHITE, WOOD_COLOR, WOODEN, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d, scaled, styled, where_present


def wardrobe(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, low = s.vary(0, 0.38, 0.14), s.vary(1, 0.2, 0.15), s.vary(2, 0.12, 0.25)
    case = sdf.box(x, y - 0.01, z, hx, 0.54, hz, 0.01)
    crown = sdf.box(x, y - 0.57, z - 0.01, hx + 0.045, 0.045, hz + 0.04, 0.012)
    foot = sdf.box(x, y + 0.54, z - 0.01, hx + 0.025, 0.06, hz + 0.02, 0.012)
    gap = torch.maximum(x.abs() - 0.008, hz - 0.02 - z)
    floor = -0.42 + 2 * low  # of the doors, above a drawer
    door_y, half = (0.5 + floor) / 2, (0.5 - floor) / 2
    panel = sdf.box(x.abs() - hx / 2, y - door_y, z - hz, hx / 2 - 0.075, half - 0.08, 0.022, 0.008)
    drawer = sdf.box(x, y + 0.45 - low, z - hz, hx - 0.05, low - 0.04, 0.022, 0.008)
    knobs = sdf.union(
        sdf.sphere(x.abs() - 0.065, y - door_y, z - hz - 0.02, 0.034),
        sdf.sphere(x.abs() - hx / 2, y + 0.45 - low, z - hz - 0.04, 0.034),
    )
    slit = torch.maximum(gap, floor - 0.03 - y)
    return [sdf.union(sdf.subtract(case, torch.maximum(slit, y - 0.52)), crown, foot, panel, drawer), knobs]


def dresser(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.53, 0.1), s.vary(1, 0.4, 0.13), s.vary(2, 0.24, 0.14)
    case = sdf.box(x, y - 0.03, z, hx, hy, hz, 0.01)
    top = sdf.box(x, y - 0.03 - hy, z, hx + 0.03, 0.03, hz + 0.03, 0.01)
    feet = sdf.box(x.abs() - hx + 0.07, y + hy + 0.01, z.abs() - hz + 0.07, 0.05, 0.1, 0.05, 0.01)
    rows = s.count
    pitch = 2 * (hy - 0.03) / rows
    row = ((y + hy - 0.05) / pitch).floor().clamp(min=0)
    row = torch.minimum(row, rows - 1)
    yr = y + hy - 0.05 - (row + 0.5) * pitch
    fronts = sdf.box(x, yr, z - hz, hx - 0.045, pitch / 2 - 0.018, 0.025, 0.01)
    knobs = sdf.sphere(x.abs() - hx * 0.5, yr, z - hz - 0.045, s.vary(3, 0.036, 0.12))
    return [sdf.union(case, top, feet, fronts), knobs]


def nightstand(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A drawer above an open shelf."""
    hx, hz, hy = s.vary(0, 0.38, 0.12), s.vary(1, 0.33, 0.1), s.vary(2, 0.33, 0.1)
    at = 0.12
    case = sdf.box(x, y - at, z, hx, hy, hz, 0.01)
    top = sdf.box(x, y - at - hy, z, hx + 0.04, 0.035, hz + 0.04, 0.01)
    bay_half = (hy - 0.09) / 2
    bay = sdf.box(x, y - at + hy - 0.06 - bay_half, z - 0.08, hx - 0.06, bay_half, hz)
    front_y, front_half = y - at - hy * 0.5, hy * 0.5 - 0.05
    front = sdf.box(x, front_y, z - hz, hx - 0.05, front_half, 0.025, 0.01)
    spread = s.vary(3, 0.05, 0.4)
    legs = sdf.capsule(
        x.abs(),
        y,
        z.abs(),
        (hx - 0.08, at - hy, hz - 0.08),
        (hx - 0.08 + spread, -0.56, hz - 0.08 + spread),
        0.055,
        0.035,
    )
    legs = torch.maximum(legs, -0.57 - y)
    knob = sdf.sphere(x, front_y, z - hz - 0.05, 0.045)
    return [sdf.union(sdf.subtract(case, bay), top, legs, front), knob]


def sideboard(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.6, 0.06), s.vary(1, 0.25, 0.15), s.vary(2, 0.22, 0.14)
    case = sdf.box(x, y - 0.06, z, hx, hy, hz, 0.012)
    pitch = 2 * (hx - 0.03) / 3
    column = (x / pitch).round().clamp(-1, 1)
    doors = sdf.box(x - column * pitch, y - 0.06, z - hz, pitch / 2 - 0.014, hy - 0.045, 0.022, 0.008)
    legs = sdf.capsule(
        x.abs(), y, z.abs(), (hx - 0.14, -0.1 + 0 * hx, hz - 0.08), (hx - 0.08, -0.42 + 0 * hx, hz - 0.04), 0.055, 0.035
    )
    legs = torch.maximum(legs, -0.06 - hy + 0 * y)
    shift = s.vary(3, 0.3, 0.15) * pitch
    knobs = sdf.box(x - column * pitch - shift, y - 0.06, z - hz - 0.035, 0.025, 0.08, 0.03, 0.01)
    return [sdf.union(case, doors, legs), knobs]


def filing_cabinet(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy, hz = s.vary(0, 0.27, 0.12), s.vary(1, 0.56, 0.1), s.vary(2, 0.33, 0.12)
    case = sdf.box(x, y, z, hx, hy, hz, 0.01)
    pitch = 2 * (hy - 0.02) / 4
    row = ((y / pitch) - 0.5).round().clamp(-2, 1) + 0.5
    yr = y - row * pitch
    fronts = sdf.box(x, yr, z - hz, hx - 0.025, pitch / 2 - 0.014, 0.025, 0.008)
    wide = s.vary(3, 0.09, 0.2)
    pulls = sdf.box(x, yr + 0.01, z - hz - 0.045, wide, 0.022, 0.03, 0.01)
    labels = sdf.box(x, yr - 0.075, z - hz - 0.02, wide, 0.025, 0.018, 0.006)
    return [sdf.union(case, fronts), sdf.union(pulls, labels)]


def china_cabinet(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Open shelves above two doors."""
    hx, hz, split = s.vary(0, 0.37, 0.12), s.vary(1, 0.19, 0.12), s.vary(2, 0.14, 0.3) - 0.14
    base = sdf.box(x, y + 0.6 - (split + 0.6) / 2, z, hx, (split + 0.6) / 2, hz, 0.01)
    counter = sdf.box(x, y - split, z, hx + 0.03, 0.03, hz + 0.03, 0.01)
    upper = sdf.box(x, y - (0.6 + split) / 2, z + 0.06, hx - 0.02, (0.6 - split) / 2, hz - 0.06, 0.01)
    crown = sdf.box(x, y - 0.59, z + 0.05, hx + 0.02, 0.04, hz - 0.02, 0.012)
    room = 0.56 - split - 0.03
    bay_half = room / 4 - 0.025
    level = torch.where(y > split + 0.03 + room / 2, 0.75, 0.25)
    bay = sdf.box(x, y - split - 0.03 - level * room, z - 0.02, hx - 0.07, bay_half, hz - 0.05, 0.01)
    pitch = hx * 0.5
    nearest = (x / pitch).round().clamp(-1, 1) * pitch
    plates = sdf.cylinder(
        x - nearest,
        z + hz - 0.07,
        y - split - 0.03 - level * room + bay_half - 0.07,
        s.vary(3, 0.075, 0.12),
        0.035,
        0.01,
    )
    doors = sdf.box(
        x.abs() - hx / 2, y + 0.6 - (split + 0.6) / 2, z - hz, hx / 2 - 0.03, (split + 0.6) / 2 - 0.05, 0.022, 0.008
    )
    knobs = sdf.sphere(x.abs() - 0.065, y - (split - 0.6) / 2 - 0.06, z - hz - 0.03, 0.034)
    return [sdf.union(base, counter, sdf.subtract(upper, bay), crown, doors), knobs, plates]


def crate(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A shipping crate: recessed planks, a frame on every face and a diagonal brace on the upright ones."""
    hx, hy, hz = s.vary(0, 0.52, 0.12), s.vary(1, 0.48, 0.14), s.vary(2, 0.5, 0.12)
    core = sdf.box(x, y, z, hx - 0.045, hy - 0.045, hz - 0.045, 0.008)
    seam = (y / 0.16 - (y / 0.16).round()).abs() * 0.16 - 0.008
    ax, ay, az = hx - x.abs(), hy - y.abs(), hz - z.abs()  # depth below each face
    planks = torch.maximum(core, -torch.maximum(torch.maximum(seam, 0.08 - ay), torch.minimum(ax, az) - 0.07))
    wide = s.vary(3, 0.1, 0.2)
    edges = torch.minimum(torch.maximum(ax, ay), torch.minimum(torch.maximum(ay, az), torch.maximum(ax, az))) - wide
    whole = sdf.box(x, y, z, hx, hy, hz, 0.012)
    frame = torch.maximum(whole, edges)
    slope = hy / hx
    front = torch.maximum((y - x * slope).abs() / (1 + slope * slope) ** 0.5 - wide / 2, hz - 0.1 - z.abs())
    slope = hy / hz
    side = torch.maximum((y - z * slope).abs() / (1 + slope * slope) ** 0.5 - wide / 2, hx - 0.1 - x.abs())
    brace = torch.maximum(whole + 0.012, torch.minimum(front, side))
    return [planks, sdf.union(frame, brace)]


def fruit_crate(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An open box of slats between corner posts."""
    hx, hy, hz = s.vary(0, 0.56, 0.08), s.vary(1, 0.26, 0.14), s.vary(2, 0.38, 0.12)
    shell = sdf.subtract(sdf.box(x, y, z, hx, hy, hz, 0.008), sdf.box(x, y - 0.07, z, hx - 0.07, hy, hz - 0.07, 0.008))
    pitch = 2 * hy / 3
    row = ((y / pitch).round().clamp(-1, 1)) * pitch
    inner = sdf.box(x, y, z, hx - 0.03, 9.0, hz - 0.03)
    slats = torch.maximum(shell, torch.minimum((y - row).abs() - pitch / 2 + 0.014, inner))
    posts = sdf.box(x.abs() - hx + 0.06, y - 0.02, z.abs() - hz + 0.06, 0.055, hy + 0.02, 0.055, 0.008)
    skids = sdf.box(x.abs() - hx * 0.6, y + hy + 0.02, z, 0.06, 0.045, hz, 0.008)
    return [sdf.union(slats, skids), posts]


def carton(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A cardboard box, taped shut, or with its four flaps open."""
    hx, hy, hz = s.vary(0, 0.45, 0.12), s.vary(1, 0.36, 0.15), s.vary(2, 0.38, 0.13)
    at = -0.12
    body = sdf.box(x, y - at, z, hx, hy, hz, 0.008)
    opened = sdf.subtract(body, sdf.box(x, y - at - 0.06, z, hx - 0.05, hy + 0.02, hz - 0.05, 0.008))
    xf, yf = rotate_2d(x.abs() - hx + 0.02, y - at - hy + 0.02, 35.0)
    zf, yg = rotate_2d(z.abs() - hz + 0.02, y - at - hy + 0.02, 20.0)
    reach = s.vary(3, 0.075, 0.2)
    flaps = sdf.union(
        sdf.box(xf - reach + 0.01, yf, z, reach, 0.022, hz, 0.006),
        sdf.box(x, yg, zf - reach + 0.01, hx, 0.022, reach, 0.006),
    )
    open_ = s.option > 0
    tape = torch.maximum(body - 0.01, torch.maximum(x.abs() - 0.05, torch.maximum(at + hy - 0.14 - y, -(body + 0.012))))
    label = sdf.box(x - hx * 0.4, y - at + hy * 0.3, z - hz, hx * 0.35, hy * 0.28, 0.012, 0.004)
    out = torch.where(open_, sdf.union(opened, flaps), body)
    return [out, where_present(tape, ~open_), label]


def door(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hy = s.vary(0, 0.3, 0.1), s.vary(1, 0.58, 0.04)
    leaf = sdf.box(x, y, z, hx - 0.01, hy, 0.035, 0.008)
    high = s.vary(2, 0.25, 0.12)  # half height of the upper panels
    upper = y > hy - 2 * high - 0.11
    middle = torch.where(upper, hy - high - 0.08, -high - 0.05)
    half = torch.where(upper, high, hy - high - 0.13)
    panels = sdf.box(x.abs() - hx * 0.47, y - middle, z, hx * 0.47 - 0.055, half, 0.055, 0.012)
    knob = sdf.union(
        sdf.sphere(x - hx + 0.08, y + 0.08, z.abs() - 0.09, 0.045), sdf.cylinder(x - hx + 0.08, z, y + 0.08, 0.03, 0.09)
    )
    outer = sdf.box(x, y - 0.02, z, hx + 0.08, hy + 0.03, 0.075, 0.01)
    hole = sdf.box(x, y + 0.06, z, hx - 0.02, hy + 0.06, 0.2)
    return [sdf.union(leaf, panels), knob, sdf.subtract(outer, hole)]


def arched_door(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Planks with iron straps in a round stone arch."""
    hx, low = s.vary(0, 0.32, 0.1), -0.6
    spring = s.vary(1, 0.17, 0.15)

    def outline(margin: float) -> Tensor:
        arch = sdf.length(x, (y - spring).clamp(min=0)) - hx - margin
        return torch.maximum(arch, low - y)

    leaf = sdf.extrude(outline(0.0), z, 0.05, 0.008)
    pitch = hx * 0.4
    seam = ((x / pitch).floor() + 0.5 - x / pitch).abs() * pitch - 0.01
    planks = torch.maximum(leaf, -torch.maximum(seam, 0.03 - z.abs()))
    at = torch.where(y > 0, y - spring + 0.05, y + s.vary(2, 0.36, 0.15))
    straps = torch.maximum(sdf.extrude(outline(0.0), z, 0.075, 0.008), at.abs() - 0.045)
    handle = sdf.length(sdf.length(x - hx * 0.55, y + 0.08) - 0.07, z - 0.07) - 0.03
    handle = sdf.union(handle, sdf.sphere(x - hx * 0.55, y, z - 0.06, 0.05))
    disc = sdf.extrude(sdf.length(x - hx * 0.55, y + 0.05) - 0.115, z - 0.04, 0.025, 0.008)
    frame = torch.maximum(sdf.extrude(outline(0.1), z, 0.09, 0.012), -outline(-0.02))
    return [planks, sdf.union(straps, handle, disc), frame]


def rungs(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, wide = s.vary(0, 0.2, 0.15), s.vary(1, 0.045, 0.15)
    lean = 0.05 * y / 0.6  # narrower at the top
    rails = sdf.box(x.abs() - hx + lean, y, z, 0.04, 0.63, wide, 0.01)
    pitch = s.vary(2, 0.2, 0.06)
    level = (y / pitch).round().clamp(-2, 2) * pitch
    bars = sdf.cylinder(y - level, x, z, 0.036, hx, 0.008)
    return [rails, bars]


def stepladder(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, spread = s.vary(0, 0.22, 0.12), s.vary(1, 0.32, 0.15)
    top = 0.58
    side = x.abs() - hx - 0.08 * (top - y) / 1.2
    zero = 0 * spread
    front = sdf.capsule(side, y, z, (0.0, -0.58, spread), (0.0, top, zero + 0.03), 0.042, 0.042)
    rear = sdf.capsule(side, y, z, (0.0, -0.58, -spread), (0.0, top, zero - 0.03), 0.036, 0.036)
    bar = sdf.box(x, y + 0.3, z + spread * 0.76, hx + 0.1, 0.035, 0.03, 0.01)
    level = ((y + 0.01) / 0.28).round().clamp(-1, 1) * 0.28 - 0.01
    at = spread * (top - level) / (top + 0.58) + 0.03
    steps = sdf.box(x, y - level, z - at, hx + 0.06 * (top - level), 0.028, s.vary(2, 0.085, 0.1), 0.01)
    platform = sdf.box(x, y - top, z, hx + 0.04, 0.035, 0.12, 0.015)
    return [sdf.union(front, rear, bar), sdf.union(steps, platform)]


# fmt: off
CATEGORIES = (
    category("wardrobe", wardrobe, "armoire closet", "knobs knob handles", WOOD_COLOR, GOLD, materials=WOODEN,
        height=2.0, surfaces="wood gold"),
    category("dresser", dresser, "bureau", "knobs knob handles", WOOD_COLOR, GOLD, counts=(3, 4),
        counted="drawer drawers", materials=WOODEN, height=0.9, surfaces="wood gold"),
    category("nightstand", nightstand, "", "knob handle", WOOD_COLOR, GOLD, materials=WOODEN, height=0.6,
        surfaces="wood gold"),
    category("cabinet", styled(sideboard, filing_cabinet, china_cabinet), "cupboard", "knobs knob handles",
        WOOD_COLOR, STEEL, WHITE, materials=WOODEN, height=1.2, surfaces="wood steel ceramic", relaxation=0.7,
        styles="sideboard, credenza; filing cabinet; china cabinet"),
    category("crate", styled(scaled(crate, 0.9), fruit_crate), "", "frame braces posts", WOOD_COLOR, (0.48, 0.31, 0.17),
        materials=WOODEN, height=0.6, surfaces="wood wood",
        styles="shipping crate, cargo crate; fruit crate, apple crate"),
    category("carton", carton, "box", "tape", (0.76, 0.58, 0.38), CREAM, WHITE, option="flaps flap",
        materials=PATTERNS, height=0.4, surfaces="cardboard plastic paper"),
    category("door", styled(door, arched_door), "doorway", "handle knob", WOOD_COLOR, GOLD, STONE, materials=WOODEN,
        height=2.1, surfaces="wood iron stone", styles="front door, panel door; arched door, castle door"),
    category("ladder", styled(rungs, stepladder), "", "rungs steps rung step", WOOD_COLOR, STEEL, materials=WOODEN,
        height=2.2, surfaces="wood steel", styles="straight ladder; stepladder", genus=(4, 4)),
)
# fmt: on

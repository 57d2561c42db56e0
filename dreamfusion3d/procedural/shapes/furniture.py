"""Furniture and lamps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import GOLD, LEGS, PATTERNS, WHITE, WOOD_COLOR, WOODEN, category
from dreamfusion3d.procedural.shapes import rooms, seats
from dreamfusion3d.procedural.shapes.base import ABSENT_DISTANCE, ShapeParams, scaled, styled


def table(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, top = s.vary(0, 0.56, 0.11), s.vary(1, 0.4, 0.14), s.vary(2, 0.34, 0.22)
    board = sdf.box(x, y - top, z, hx, 0.045, hz)
    thick = s.vary(3, 0.055, 0.22)
    half = (top + 0.5) / 2
    legs = sdf.box(x.abs() - hx + 0.1, y - top + half, z.abs() - hz + 0.1, thick, half, thick)
    column = sdf.cylinder(x, y - top + half, z, thick * 1.6, half)
    foot = sdf.cylinder(x, y - top + 2 * half - 0.04, z, s.vary(4, 0.3, 0.14), 0.04)
    return [board, torch.where(s.count == 1, sdf.union(column, foot), legs)]


def chair(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, seat_at = s.vary(0, 0.3, 0.13), s.vary(1, 0.29, 0.11), s.vary(2, -0.08, 0.4)
    back_top = s.vary(3, 0.6, 0.09)
    thick = s.vary(4, 0.05, 0.22)
    half = (seat_at + 0.6) / 2
    legs = sdf.box(x.abs() - hx + thick, y - seat_at + half, z.abs() - hz + thick, thick, half, thick)
    back_half = (back_top - seat_at) / 2
    back = sdf.box(x, y - seat_at - back_half, z + hz - 0.045, hx, back_half, 0.045)
    seat = sdf.box(x, y - seat_at, z, hx + 0.01, 0.05, hz + 0.01)
    return [sdf.union(legs, back), seat]


def stool(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    radius, top = s.vary(0, 0.34, 0.11), s.vary(1, 0.38, 0.14)
    seat = sdf.cylinder(x, y - top, z, radius, 0.06)
    splay = s.vary(2, 0.4, 0.14)

    def legs(*angles_deg: float) -> Tensor:
        out = torch.full_like(x, ABSENT_DISTANCE)
        for angle in angles_deg:
            c, n = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            start, end = (c * radius * 0.6, top, n * radius * 0.6), (c * splay, -0.55, n * splay)
            out = torch.minimum(out, sdf.capsule(x, y, z, start, end, 0.055, 0.05))
        return torch.maximum(out, -0.56 - y)  # flat feet

    return [torch.where(s.count == 3, legs(90.0, 210.0, 330.0), legs(45.0, 135.0, 225.0, 315.0)), seat]


def bench(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, at = s.vary(0, 0.58, 0.11), s.vary(1, 0.2, 0.14), s.vary(2, -0.1, 0.4)
    seat = sdf.box(x, y - at, z, hx, 0.05, hz)
    posts = sdf.box(x.abs() - hx * 0.75, y - at - 0.2, z + hz - 0.02, 0.05, 0.24, 0.045)
    slats = sdf.box(x, y - at - 0.34, z + hz - 0.04, hx, 0.1, 0.045)
    half = (at + 0.46) / 2
    legs = sdf.box(x.abs() - hx * 0.75, y - at + half, z, 0.06, half, hz * 0.9)
    return [sdf.union(seat, posts, slats), legs]


def sofa(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz = s.vary(0, 0.58, 0.11), s.vary(1, 0.27, 0.14)
    base = sdf.box(x, y + 0.24, z, hx, 0.11, hz, 0.03)
    back = sdf.box(x, y + 0.05, z + hz - 0.09, hx, s.vary(2, 0.32, 0.18), 0.1, 0.06)
    arms = sdf.box(x.abs() - hx + 0.09, y + 0.14, z, 0.1, s.vary(3, 0.22, 0.18), hz, 0.06)
    feet = sdf.box(x.abs() - hx + 0.1, y + 0.37, z.abs() - hz + 0.08, 0.05, 0.06, 0.05)
    half = (hx - 0.19) / 2
    cushions = sdf.box(x.abs() - half, y + 0.09, z - 0.06, half - 0.008, 0.08, hz - 0.07, 0.05)
    return [sdf.union(base, back, arms, feet), cushions]


def bed(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz = s.vary(0, 0.36, 0.14), s.vary(1, 0.57, 0.09)
    frame = sdf.box(x, y + 0.2, z, hx, 0.07, hz)
    head = sdf.box(x, y + 0.06, z + hz, hx + 0.03, s.vary(2, 0.3, 0.18), 0.05, 0.03)
    foot = sdf.box(x, y + 0.2, z - hz, hx + 0.03, s.vary(3, 0.15, 0.18), 0.05, 0.03)
    legs = sdf.box(x.abs() - hx + 0.04, y + 0.3, z.abs() - hz + 0.02, 0.05, 0.1, 0.05)
    blanket = sdf.box(x, y + 0.1, z - 0.12, hx + 0.01, 0.08, hz - 0.12, 0.05)
    pillow = sdf.box(x, y + 0.09, z + hz - 0.2, hx * 0.75, 0.09, 0.12, 0.06)
    return [sdf.union(frame, head, foot, legs), blanket, pillow]


def lamp(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    low, high = s.vary(0, 0.38, 0.13), s.vary(1, 0.2, 0.18)
    shade = sdf.lathe(x, y, z, [(low, s.vary(2, 0.08, 0.3)), (high, 0.58)])
    foot, bulge = s.vary(3, 0.24, 0.14), s.vary(4, 0.12, 0.3)
    stand = sdf.lathe(
        x, y, z, [(foot, -0.6), (foot * 0.85, -0.52), (0.07, -0.47), (bulge, -0.25), (0.06, -0.05), (0.06, 0.15)]
    )
    return [shade, stand]


def bookshelf(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz = s.vary(0, 0.4, 0.14), s.vary(1, 0.19, 0.18)
    case = sdf.box(x, y, z, hx, 0.62, hz)
    shelf = (y / 0.4).round().clamp(-1, 1) * 0.4  # the shelf nearest to the point
    bay = sdf.box(x, y - shelf, z - 0.08, hx - 0.06, 0.155, hz)
    start = -hx + 0.06
    width = (hx - 0.06) * (0.8 + 0.15 * s.variation[..., 2] * torch.sign(shelf + 0.2))
    tall = 0.115 + 0.02 * torch.sin(7 * shelf + 3 * s.variation[..., 3])
    books = sdf.box(x - start - width, y - shelf + 0.165 - tall, z - 0.01, width, tall, hz - 0.05, 0.005)
    gap = (((x - start) / 0.17) - ((x - start) / 0.17).floor() - 0.5).abs() * 0.17 - 0.006
    loose = torch.maximum(books, -torch.maximum(gap, hz - z - 0.09))  # grooves between spines
    return [sdf.subtract(case, bay), loose]


def chest(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    hx, hz, hy = s.vary(0, 0.5, 0.11), s.vary(1, 0.31, 0.11), s.vary(2, 0.22, 0.14)
    top = -0.36 + 2 * hy
    box = sdf.box(x, y + 0.36 - hy, z, hx, hy, hz)
    vault = torch.maximum(sdf.length((y - top), z) - hz, x.abs() - hx)
    body = sdf.union(box, torch.maximum(vault, top - 0.01 - y))
    straps = torch.maximum(body - 0.03, (x.abs() - hx * 0.62).abs() - 0.055)
    rim = torch.maximum(body - 0.02, (y - top).abs() - 0.035)
    lock = sdf.box(x, y - top + 0.03, z - hz - 0.01, 0.08, 0.1, 0.05)
    return [body, sdf.union(straps, rim, lock)]


# fmt: off
CATEGORIES = (
    category("table", styled(table, rooms.coffee_table, rooms.round_table, rooms.writing_desk), "desk", "legs leg",
        WOOD_COLOR, counts=(4, 1), counted=LEGS, materials=f"{WOODEN} stone glass", height=0.75, surfaces="wood wood",
        styles="dining table, kitchen table; coffee table, cocktail table; round table, bistro table; "
        "writing desk, office desk"),
    category("chair",
        styled(chair, scaled(seats.armchair, 0.88), seats.rocking_chair, seats.office_chair, seats.folding_chair), "",
        "seat cushion", WOOD_COLOR, materials=WOODEN, height=0.9, surfaces="wood fabric", genus=(0, 0, 7, 0, 4),
        styles="dining chair, kitchen chair; armchair, easy chair; rocking chair, rocker; "
        "office chair, swivel chair; folding chair, deck chair"),
    category("stool", styled(stool, seats.bar_stool, seats.ottoman), "", "seat cushion top", WOOD_COLOR,
        counts=(3, 4), counted=LEGS, materials=WOODEN, height=0.5, surfaces="wood wood", genus=(0, 2, 0),
        styles="milking stool; bar stool, counter stool; ottoman, footstool"),
    category("bench", styled(bench, seats.plank_bench, seats.garden_bench), "pew", "legs leg", WOOD_COLOR,
        genus=(1, 0, 8), materials=f"{WOODEN} stone", height=0.8, surfaces="wood wood",
        styles="park bench; plank bench, trestle bench; garden bench, patio bench"),
    category("sofa", styled(sofa, seats.chesterfield, scaled(seats.corner_sofa, 0.92), seats.chaise_longue),
        "couch settee", "cushions cushion", (0.5, 0.36, 0.3), materials=PATTERNS, height=0.85,
        surfaces="fabric fabric", styles="loveseat; chesterfield; corner sofa, sectional; chaise longue, chaise"),
    category("bed", styled(bed, scaled(rooms.bunk_bed, 0.94), scaled(rooms.canopy_bed, 0.88)), "cot",
        "blanket cover quilt", WOOD_COLOR, (0.35, 0.5, 0.72), WHITE, materials=WOODEN, height=1.0,
        surfaces="wood fabric fabric", genus=(0, 3, 4), styles="double bed; bunk bed; canopy bed, four poster bed"),
    category("lamp", styled(lamp, rooms.floor_light, rooms.desk_light), "lampshade", "base stand foot",
        (0.94, 0.88, 0.68), (0.45, 0.3, 0.18), materials=PATTERNS, height=0.5, surfaces="fabric wood",
        styles="table lamp, bedside lamp; floor lamp, standing lamp; desk lamp, reading lamp"),
    category("bookshelf", bookshelf, "bookcase", "books book", WOOD_COLOR, (0.62, 0.2, 0.18), materials=WOODEN,
        height=1.8, surfaces="wood paper"),
    category("chest", styled(chest, rooms.steamer_trunk, rooms.toolbox), "coffer strongbox",
        "straps strap lock bands", (0.5, 0.3, 0.15), GOLD, materials=WOODEN, height=0.5, surfaces="wood gold",
        genus=(0, 0, 1), styles="treasure chest, pirate chest; steamer trunk, travel trunk; toolbox, tool chest"),
)
# fmt: on

"""Playthings, games and books."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import CREAM, DARK, GOLD, RED, WHITE, WOOD_COLOR, WOODEN, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d, styled, where_present


def teddy(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A sitting bear."""
    r, head_y = s.vary(0, 0.24, 0.1), s.vary(1, 0.28, 0.08)
    body = sdf.ellipsoid(x, y + 0.2, z, s.vary(2, 0.27, 0.1), 0.33, 0.24)
    head = sdf.ellipsoid(x, y - head_y, z, r * 1.08, r, r)
    ears = sdf.ellipsoid(x.abs() - r * 0.8, y - head_y - r * 0.8, z, 0.1, 0.1, 0.055)
    zero = 0 * r
    arms = sdf.capsule(x.abs(), y, z, (0.2, -0.1, 0.02), (0.41 + zero, -0.2, 0.16 + zero), 0.105, 0.095)
    thighs = sdf.capsule(x.abs(), y, z, (0.15, -0.42, 0.06), (0.3 + zero, -0.48, s.vary(3, 0.4, 0.1)), 0.125, 0.115)
    fur = sdf.smooth_union(sdf.union(head, body), sdf.union(arms, thighs), 0.03)
    muzzle = sdf.ellipsoid(x, y - head_y + 0.06, z - r * 0.9, 0.115, 0.085, 0.09)
    belly = sdf.ellipsoid(x, y + 0.2, z - 0.09, 0.18, 0.22, 0.165)
    soles = sdf.cylinder(x.abs() - 0.31, z - s.vary(3, 0.4, 0.1) - 0.1, y + 0.48, 0.085, 0.03, 0.012)
    inner = sdf.ellipsoid(x.abs() - r * 0.8, y - head_y - r * 0.8, z - 0.04, 0.062, 0.062, 0.035)
    eyes = sdf.sphere(x.abs() - 0.09, y - head_y - 0.06, z - r * 0.9, 0.036)
    nose = sdf.ellipsoid(x, y - head_y + 0.02, z - r * 0.9 - 0.085, 0.05, 0.036, 0.03)
    return [sdf.union(fur, ears), sdf.union(muzzle, belly, soles, inner), sdf.union(eyes, nose)]


def dollhouse(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Open at the front, with four rooms and furniture."""
    hx, hz, low = s.vary(0, 0.46, 0.1), s.vary(1, 0.24, 0.15), -0.6
    eaves, ridge = s.vary(2, 0.18, 0.2), 0.58
    corners: sdf.Profile = [(-hx, low), (hx, low), (hx, eaves), (0.0 * hx, ridge - 0.04), (-hx, eaves)]
    solid = sdf.extrude(sdf.polygon(x, y, corners), z, hz, 0.008)
    story = (eaves - low - 0.05) / 2
    upper = torch.where(y > low + 0.05 + story, 1.0, 0.0)
    room_y = y - low - 0.05 - (upper + 0.5) * story
    bay = sdf.box(x.abs() - hx / 2, room_y, z - 0.06, hx / 2 - 0.045, story / 2 - 0.025, hz, 0.006)
    k = (ridge - eaves) / hx
    attic = sdf.extrude(
        sdf.polygon(x, y - eaves - 0.03, [(-hx + 0.18, 0.0), (hx - 0.18, 0.0), (0.0 * hx, (hx - 0.18) * k)]),
        z - 0.06,
        hz,
        0.006,
    )
    walls = sdf.subtract(sdf.subtract(solid, bay), attic)
    slope = (y - ridge + k * x.abs()) / (1 + k * k) ** 0.5
    roof = torch.maximum(slope.abs() - 0.035, torch.maximum(z.abs() - hz - 0.045, x.abs() - hx - 0.08))
    roof = torch.maximum(roof, eaves - 0.12 - y)
    floor_y = room_y + story / 2
    wall = z + hz - 0.06  # distance to the back wall
    desk = sdf.box(x - hx * 0.5, floor_y - 0.05, wall - 0.06, 0.1, 0.09, 0.08, 0.01)
    couch = sdf.union(
        sdf.box(x + hx * 0.5, floor_y - 0.04, wall - 0.08, 0.12, 0.07, 0.1, 0.015),
        sdf.box(x + hx * 0.5, floor_y - 0.1, wall - 0.02, 0.12, 0.09, 0.04, 0.015),
    )
    chimney = sdf.box(x - hx * 0.55, y - ridge + k * hx * 0.55 - 0.07, z + 0.08, 0.06, 0.14, 0.06, 0.01)
    return [walls, roof, sdf.union(desk, couch, where_present(chimney, s.option > 0))]


def rocking_horse(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """It looks to -X, so that the view from the front shows its side."""
    curve, hz = s.vary(0, 0.95, 0.12), s.vary(1, 0.15, 0.15)
    low = -0.6
    arc = sdf.length(x, y - low - curve) - curve + 0.035
    runners = torch.maximum(sdf.box(arc, x, z.abs() - hz, 0.038, 0.57, 0.035, 0.012), y)
    bars = sdf.box(x.abs() - 0.4, y - low - 0.16, z, 0.035, 0.03, hz + 0.02, 0.01)
    body = sdf.capsule(x, y, z, (-0.2, -0.02, 0.0), (0.2, -0.04, 0.0), 0.15, 0.16)
    neck = sdf.capsule(x, y, z, (-0.24, 0.04, 0.0), (-0.36, s.vary(2, 0.32, 0.12), 0.0), 0.12, 0.09)
    at = s.vary(2, 0.32, 0.12)
    head = sdf.capsule(x, y, z, (-0.34, at + 0.02, 0.0 * at), (-0.52 + 0 * at, at - 0.12, 0.0 * at), 0.095, 0.065)
    ears = sdf.capsule(x, y, z.abs(), (-0.32, at + 0.06, 0.04), (-0.31 + 0 * at, at + 0.15, 0.05 + 0 * at), 0.035, 0.02)
    legs = sdf.capsule(x.abs(), y, z.abs(), (0.2, -0.08, 0.06), (0.33 + 0 * hz, low + 0.1, hz), 0.06, 0.045)
    horse = sdf.smooth_union(sdf.union(sdf.smooth_union(body, neck, 0.08), legs), sdf.union(head, ears), 0.03)
    mane = sdf.capsule(x, y, z, (-0.24, at + 0.1, 0.0 * at), (-0.12 + 0 * at, 0.14 + 0 * at, 0.0 * at), 0.06, 0.05)
    tail = sdf.capsule(x, y, z, (0.33, 0.04, 0.0), (0.5, s.vary(3, -0.2, 0.2), 0.0), 0.06, 0.04)
    blanket = torch.maximum(body - 0.02, torch.maximum((x - 0.02).abs() - 0.13, -0.1 - y))
    saddle = sdf.union(blanket, sdf.box(x - 0.13, y - 0.15, z, 0.03, 0.06, 0.09, 0.02))
    pole = sdf.cylinder(x + 0.34, z, y - at + 0.02, 0.034, 0.2, 0.01)
    eyes = sdf.sphere(x + 0.4, y - at - 0.02, z.abs() - 0.085, 0.026)
    return [horse, sdf.union(runners, bars, saddle), sdf.union(mane, tail, pole, eyes)]


def dice(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """One die, with pips as inlays; opposite faces sum to seven."""
    half, r, at = s.vary(0, 0.46, 0.12), s.vary(1, 0.085, 0.15), s.vary(2, 0.25, 0.1)
    round_ = sdf.length(x, y, z) - half * 1.52
    cube = torch.maximum(sdf.box(x, y, z, half, half, half, 0.05), round_)

    def pips(u: Tensor, v: Tensor, w: Tensor, number: int) -> Tensor:
        spots = []
        if number % 2:
            spots.append(sdf.length(u, v) - r)
        if number > 1:
            spots.append(sdf.length((u + v).abs() * 0.5 - at, (u - v) * 0.5) * 1.4 - r)
        if number > 3:
            spots.append(sdf.length(u.abs() - at, v.abs() - at) - r)
        if number == 6:
            spots.append(sdf.length(u.abs() - at, v) - r)
        return torch.maximum(sdf.union(*spots), half - 0.06 - w)

    marks = sdf.union(
        pips(x, y, z, 5), pips(x, y, -z, 2), pips(z, y, x, 3), pips(z, y, -x, 4), pips(x, z, y, 6), pips(x, z, -y, 1)
    )
    return [cube, torch.maximum(cube - 0.008, marks)]


def spinner(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A spinning top, leaning."""
    xt, yt = rotate_2d(x, y + 0.02, -14.0)
    r, at, high = s.vary(0, 0.48, 0.1), s.vary(1, 0.02, 2.0), s.vary(2, 0.24, 0.15)
    body = sdf.lathe(
        xt,
        yt,
        z,
        [(0.03, -0.5), (0.1, -0.42), (r * 0.75, at - 0.2), (r, at), (r * 0.7, at + high * 0.7), (0.1, at + high)],
        0.012,
    )
    stem = sdf.lathe(xt, yt, z, [(0.05, at + high - 0.06), (0.042, 0.45), (0.07, 0.52), (0.05, 0.58)], 0.012)
    point = sdf.capsule(xt, yt, z, (0.0, -0.45, 0.0), (0.0, -0.57, 0.0), 0.05, 0.03)
    near = torch.minimum((yt - at).abs(), (yt - at - high * 0.6).abs())
    rings = torch.maximum(body - 0.022, near - 0.026)
    return [body, sdf.union(stem, point), rings]


def _chess_base(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> tuple[Tensor, Tensor]:
    """The turned foot of a chess piece, up to y = -0.36, and its felt."""
    r = s.vary(0, 0.3, 0.14)
    foot = sdf.lathe(x, y, z, [(r, -0.6), (r, -0.5), (r * 0.86, -0.46), (r * 0.8, -0.42), (r * 0.5, -0.34)], 0.012)
    return sdf.union(foot, sdf.torus(x, y + 0.43, z, r * 0.76, 0.045)), sdf.cylinder(
        x, y + 0.58, z, r + 0.03, 0.045, 0.015
    )


def pawn(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    foot, felt = _chess_base(x, y, z, s)
    neck, r = s.vary(1, 0.1, 0.2), s.vary(2, 0.2, 0.12)
    stem = sdf.lathe(x, y, z, [(0.24, -0.4), (0.15, -0.25), (neck, 0.0), (neck, 0.2)], 0.012)
    collar = sdf.lathe(x, y, z, [(neck, 0.1), (0.2, 0.15), (0.2, 0.18), (neck, 0.24)], 0.012)
    return [sdf.union(foot, stem, collar, sdf.sphere(x, y - 0.25 - r * 0.8, z, r)), felt]


def rook(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    foot, felt = _chess_base(x, y, z, s)
    waist, top = s.vary(1, 0.16, 0.12), s.vary(2, 0.25, 0.12)
    stem = sdf.lathe(x, y, z, [(0.24, -0.4), (waist, -0.2), (waist, 0.16), (top * 0.9, 0.3)], 0.012)
    head = sdf.cylinder(x, y - 0.42, z, top, 0.16, 0.015)
    well = sdf.cylinder(x, y - 0.56, z, top - 0.075, 0.12, 0.008)
    angle = torch.atan2(z, x)
    slots = torch.maximum((torch.remainder(angle, torch.pi / 3) - torch.pi / 6).abs() * top - 0.038, 0.48 - y)
    return [sdf.union(foot, stem, sdf.subtract(sdf.subtract(head, well), slots)), felt]


def bishop(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    foot, felt = _chess_base(x, y, z, s)
    neck, r = s.vary(1, 0.09, 0.15), s.vary(2, 0.165, 0.12)
    stem = sdf.lathe(x, y, z, [(0.24, -0.4), (0.14, -0.25), (neck, 0.0), (neck, 0.2)], 0.012)
    collars = sdf.union(sdf.torus(x, y - 0.12, z, neck + 0.025, 0.045), sdf.torus(x, y - 0.02, z, neck + 0.01, 0.04))
    miter = sdf.lathe(x, y, z, [(neck, 0.14), (r, 0.22), (r * 1.05, 0.32), (r * 0.6, 0.47), (0.03, 0.56)], 0.015)
    xs, ys = rotate_2d(x, y - 0.42, 40.0)
    cut = torch.maximum(ys.abs() - 0.022, -xs - 0.02)
    return [sdf.union(foot, stem, collars, sdf.subtract(miter, cut), sdf.sphere(x, y - 0.58, z, 0.055)), felt]


def chess_king(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    foot, felt = _chess_base(x, y, z, s)
    neck, top = s.vary(1, 0.1, 0.15), s.vary(2, 0.19, 0.12)
    stem = sdf.lathe(x, y, z, [(0.24, -0.4), (0.15, -0.25), (neck, -0.05), (neck, 0.12)], 0.012)
    collars = sdf.union(sdf.cylinder(x, y - 0.07, z, 0.19, 0.03), sdf.cylinder(x, y, z, 0.15, 0.03))
    crown = sdf.lathe(x, y, z, [(neck, 0.08), (neck * 1.1, 0.14), (top, 0.34), (top * 0.75, 0.37), (0.06, 0.42)], 0.012)
    cross = sdf.union(
        sdf.box(x, y - 0.51, z, 0.036, 0.12, 0.036, 0.01), sdf.box(x, y - 0.53, z, 0.1, 0.036, 0.034, 0.01)
    )
    return [sdf.union(foot, stem, collars, crown, cross), felt]


def closed_book(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Upright, its ribbed spine at -X, turned a little."""
    hx, hy, hz = s.vary(0, 0.4, 0.1), s.vary(1, 0.56, 0.08), s.vary(2, 0.11, 0.25)
    boards = sdf.box(x, y, z.abs() - hz, hx, hy, 0.028, 0.01)
    spine = torch.maximum(
        sdf.extrude(sdf.length((x + hx - 0.03) * 1.6, z) - hz - 0.028, y, hy, 0.01) * 0.6, x + hx - 0.05
    )
    row = (y / (hy * 0.44)).round().clamp(-2, 2) * hy * 0.44
    ribs = torch.maximum(spine - 0.016, (y - row).abs() - 0.026)
    pages = sdf.box(x + 0.02, y, z, hx - 0.035, hy - 0.035, hz - 0.01, 0.006)
    frame = torch.maximum((sdf.box(x, y, 0 * z, hx - 0.09, hy - 0.09, 1.0, 0.03)).abs() - 0.014, z.abs() - hz - 0.036)
    frame = torch.maximum(frame, hz - z.abs())
    emblem = torch.maximum((x.abs() + (y - 0.1).abs()) * 0.7 - s.vary(3, 0.12, 0.2), (z.abs() - hz - 0.02).abs() - 0.02)
    return [sdf.union(boards, spine), pages, sdf.union(ribs, frame, emblem)]


def open_book(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Lying open, tilted towards the front."""
    hx, hy, thick = s.vary(0, 0.58, 0.07), s.vary(1, 0.42, 0.12), s.vary(2, 0.06, 0.25)
    zt, yt = rotate_2d(z, y, -38.0)
    side = x.abs()
    cover = sdf.box(x, yt, zt, hx, 0.026, hy, 0.01)
    # each half rises from the fold and falls off towards the edge
    hump = thick + 0.1 * torch.sqrt((side / hx).clamp(0, 1) + 0.002) * (1.15 - side / hx)
    pages = torch.maximum(sdf.box(x, yt, zt, hx - 0.035, 0.4, hy - 0.035, 0.008), torch.maximum(yt - hump, -yt)) * 0.7
    row = (zt / 0.09).round().clamp(-3, 3) * 0.09
    line = torch.maximum((zt - row).abs() - 0.014, (side - hx * 0.5).abs() - hx * 0.33)
    text = torch.maximum((yt - hump).abs() - 0.006, line) * 0.7
    ribbon = sdf.box(x, yt, zt - hy, 0.025, 0.026, 0.1, 0.008)
    return [sdf.union(cover, ribbon), pages, torch.maximum(text, (zt.abs() - hy + 0.09))]


# fmt: off
CATEGORIES = (
    category("teddy", teddy, "teddybear plushie", "belly muzzle paws", (0.55, 0.36, 0.2), (0.85, 0.7, 0.5), DARK,
        materials="spotted striped", height=0.35, surfaces="fabric fabric plastic", relaxation=0.7),
    category("dollhouse", dollhouse, "playhouse", "roof", CREAM, (0.7, 0.3, 0.26), (0.4, 0.55, 0.65),
        option="chimney", materials="wooden", height=0.7, surfaces="wood paint fabric"),
    category("hobbyhorse", rocking_horse, "rockinghorse", "rockers saddle", WOOD_COLOR, RED, (0.25, 0.16, 0.1),
        materials="wooden spotted", height=0.8, surfaces="wood paint fabric", genus=4, relaxation=0.7),
    category("dice", dice, "die", "pips", WHITE, DARK, materials="wooden stone", height=0.02, surfaces="bone paint"),
    category("spinner", spinner, "whirligig", "stem tip", RED, WOOD_COLOR, GOLD, materials=WOODEN, height=0.08,
        surfaces="paint wood gold"),
    category("chessman", styled(pawn, rook, bishop, chess_king), "", "felt base foot", (0.88, 0.78, 0.6),
        (0.2, 0.4, 0.28), materials=f"{WOODEN} stone", height=0.08, surfaces="wood fabric", relaxation=0.7,
        styles="pawn, chess pawn; rook, chess rook; chess bishop; chess king"),
    category("book", styled(closed_book, open_book), "novel", "pages page", (0.45, 0.13, 0.15), CREAM, GOLD,
        materials="striped", height=0.25, surfaces="leather paper gold", relaxation=0.6,
        styles="closed book, hardcover; open book"),
)
# fmt: on

"""Fruit and vegetables."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.category import LEAF, WOOD_COLOR, category
from dreamfusion3d.procedural.shapes.base import ShapeParams, rotate_2d, styled, where_present

SEED = (0.16, 0.11, 0.08)


def bent(x: Tensor, y: Tensor, z: Tensor, radius: Tensor | float, half_angle_deg: float) -> tuple[Tensor, Tensor]:
    """Distance to an arc around +Y in the XY plane, and the position along it from -1 (at -X) to 1."""
    half = math.radians(half_angle_deg)
    angle = torch.atan2(x, y).clamp(-half, half)
    return sdf.length(x - radius * torch.sin(angle), y - radius * torch.cos(angle), z), angle / half


def _leaf(x: Tensor, y: Tensor, z: Tensor, at: sdf.Point, half: float | Tensor) -> Tensor:
    """A leaf of length 2 ``half`` between two arcs, which rises from ``at`` towards +X."""
    u, v = rotate_2d(x - at[0], y - at[1], 25.0)
    lens = sdf.length(u - half * 0.85, z.abs() + half * 0.75) - half * 1.25
    return sdf.extrude(lens, v, 0.026, 0.012)


def _banana(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A banana that hangs from a stem at +X, its middle near y = -0.7."""
    d, t = bent(x, -y, z, s.vary(0, 0.66, 0.12), 52.0)
    # five faces along the fruit
    across = torch.atan2(z, sdf.length(x, y) - 0.66)
    thick = s.vary(1, 0.125, 0.12) * (1 - 0.55 * t.abs() ** 3) * (1 + 0.04 * torch.cos(5 * across))
    peel = d - thick * torch.where(t > 0.85, 1 - 2.6 * (t - 0.85), 1.0)
    ends = torch.maximum(peel - 0.004, 0.9 - t.abs()) * 0.9
    return [peel * 0.9, ends]


def banana(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    return _banana(x, y - 0.52, z, s)


def banana_bunch(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Three bananas side by side, joined at a stem."""
    parts = []
    for k in (-1, 0, 1):
        xs, zs = rotate_2d(x - 0.5, z, 16.0 * k)
        parts.append(_banana(xs + 0.5, y - 0.5 - 0.03 * (k == 0), zs, s))
    stem = sdf.capsule(x, y, z, (0.5, 0.06, 0.0), (0.56, 0.24, 0.0), 0.09, 0.06)
    return [sdf.union(*(peel for peel, _ in parts)), sdf.union(stem, *(ends for _, ends in parts))]


def pear(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    belly, neck = s.vary(0, 0.4, 0.1), s.vary(1, 0.17, 0.15)
    profile: sdf.Profile = [
        (0.1, -0.56),
        (belly * 0.8, -0.54),
        (belly, -0.2),
        (belly * 0.7, 0.08),
        (neck, 0.26),
        (neck * 0.6, 0.42),
    ]
    body = sdf.lathe(x, y, z, profile, cuts=3)
    stem = sdf.capsule(x, y, z, (0.0, 0.36, 0.0), (s.vary(2, 0.06, 0.9), 0.58, 0.0), 0.032, 0.04)
    leaf = _leaf(x, y, z, (0.0, 0.44, 0.0), s.vary(3, 0.15, 0.2))
    return [body, stem, where_present(leaf, s.option > 0)]


def lemon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A lemon on its side, with a nipple at both ends."""
    r, half = s.vary(0, 0.4, 0.1), s.vary(1, 0.44, 0.08)
    nipple = s.vary(2, 0.09, 0.15)
    profile: sdf.Profile = [
        (0.02, -half - 0.13),
        (nipple, -half - 0.08),
        (r * 0.55, -half + 0.08),
        (r, -0.15),
        (r, 0.15),
    ]
    profile = [*profile, (r * 0.55, half - 0.08), (nipple, half + 0.06), (nipple * 0.6, half + 0.08)]
    body = sdf.lathe(y, x, z, profile, cuts=3)
    leaf = _leaf(y, x - half - 0.02, z, (0.02, 0.03, 0.0), s.vary(3, 0.15, 0.2))
    stem = sdf.cylinder(y, x - half - 0.09, z, 0.055, 0.04)
    return [body, sdf.union(stem, where_present(leaf, s.option > 0))]


def tangerine(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, high = s.vary(0, 0.53, 0.1), s.vary(1, 0.44, 0.1)
    dent = sdf.sphere(x, y - high - 0.1, z, 0.17)
    body = -sdf.smooth_union(-sdf.ellipsoid(x, y, z, r, high, r), dent, 0.1)
    star = sdf.cylinder(x, y - high + 0.06, z, s.vary(2, 0.07, 0.2), 0.13)
    leaf = _leaf(x, y, z, (0.0, high + 0.03, 0.0), s.vary(3, 0.13, 0.2))
    return [body, sdf.union(star, where_present(leaf, s.option > 0))]


def _melon(body: Tensor, cut: Tensor, rind: float) -> list[Tensor]:
    """Skin and flesh of ``body`` inside ``cut``."""
    return [torch.maximum(torch.maximum(body, -body - rind), cut), torch.maximum(body + rind - 0.005, cut)]


def watermelon(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A whole melon with a wedge cut out in front."""
    long, r = s.vary(0, 0.58, 0.08), s.vary(1, 0.44, 0.12)
    body = sdf.ellipsoid(x, y, z, long, r, r)
    wedge = torch.maximum(-y - 0.02, (x.abs() - 0.7 * z) * 0.82)
    skin, flesh = _melon(body, -wedge, 0.06)
    return [skin, flesh]


def _seeds(x: Tensor, y: Tensor, z: Tensor, pitch: float, half: Tensor | float, inside: Tensor) -> Tensor:
    """Seeds on a grid of the XY plane, on both faces z = +-half, where ``inside`` is negative."""
    row = (y / pitch).round()
    shift = 0.5 * pitch * (row - 2 * (row / 2).floor())
    xs = x - shift - ((x - shift) / pitch).round() * pitch
    seed = sdf.ellipsoid(xs, y - row * pitch, z.abs() - half, 0.03, 0.042, 0.02)
    return torch.maximum(seed, inside)


def watermelon_slice(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """A triangle of flesh above a curved rind."""
    r, half, wide = s.vary(0, 1.04, 0.06), s.vary(1, 0.1, 0.2), s.vary(2, 0.55, 0.1)
    flat = torch.maximum(sdf.length(x, y - 0.52) - r, (x.abs() - (0.54 - y) * wide) * 0.87)
    skin, flesh = _melon(sdf.length(x, y - 0.52) - r, flat, 0.1)
    slab, core = sdf.extrude(skin, z, half, 0.015), sdf.extrude(flesh, z, half, 0.015)
    return [slab, core, _seeds(x, y, z, 0.19, half, flat + 0.15)]


def watermelon_half(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Half a melon, its cut face tilted to the front."""
    long, r = s.vary(0, 0.58, 0.08), s.vary(1, 0.48, 0.12)
    v, w = rotate_2d(y + 0.1, z, 40.0)
    body = sdf.ellipsoid(x, v, w, long, r, r)
    skin, flesh = _melon(body, v - 0.02, 0.07)
    return [skin, flesh, _seeds(x, w, v + 0.98, 0.19, 1.0, torch.maximum(body + 0.2, -v))]


def corn(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """An ear of corn: rows of kernels above the open husk."""
    r, tip = s.vary(0, 0.19, 0.12), s.vary(1, 0.58, 0.05)
    profile: sdf.Profile = [(r * 0.8, -0.45), (r, -0.2), (r, 0.15), (r * 0.75, tip - 0.15), (r * 0.3, tip)]
    cob = sdf.lathe(x, y, z, profile, cuts=2)
    kernels = torch.sin(7 * torch.atan2(z, x)).abs() * torch.sin(y * (math.pi / 0.075)).abs()
    # four pointed leaves that lie on the cob and open above
    husk = sdf.lathe(x, y, z, [(0.06, -0.6), (r + 0.01, -0.45), (r + 0.03, -0.1), (r + s.vary(3, 0.12, 0.3), 0.25)])
    quarter = torch.atan2(z, x) * (2 / math.pi)
    edge = y - s.vary(2, 0.22, 0.3) + 1.2 * (quarter - quarter.round()).abs()
    return [(cob - 0.03 * kernels) * 0.6, torch.maximum(husk, edge * 0.3)]


def eggplant(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    belly, neck = s.vary(0, 0.31, 0.15), s.vary(1, 0.17, 0.12)
    xs = x - 0.12 * (y / 0.6) ** 2
    profile: sdf.Profile = [
        (0.06, -0.6),
        (belly * 0.8, -0.54),
        (belly, -0.22),
        (neck * 1.1, 0.16),
        (neck, 0.34),
        (neck * 0.5, 0.4),
    ]
    body = sdf.lathe(xs, y, z, profile, cuts=3)
    points = 0.07 * torch.cos(5 * torch.atan2(z, xs))
    cap = torch.maximum(body - 0.025, (0.28 - y - points) * 0.7)
    stem = sdf.capsule(x, y, z, (0.05, 0.36, 0.0), (s.vary(2, 0.17, 0.4), 0.59, 0.0), 0.055, 0.045)
    return [body * 0.95, sdf.union(cap, stem)]


def strawberry(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, tip = s.vary(0, 0.46, 0.1), s.vary(1, -0.58, 0.06)
    profile: sdf.Profile = [(0.03, tip), (r * 0.5, tip * 0.7), (r, 0.02), (r * 0.95, 0.25), (0.12, 0.36)]
    body = sdf.lathe(x, y, z, profile, cuts=3)
    angle = torch.atan2(z, x)
    row = (y / 0.15).round()
    around = angle * 9 / (2 * math.pi) + 0.5 * (row - 2 * (row / 2).floor())
    offset = (around - around.round()) * (2 * math.pi / 9) * sdf.length(x, z)
    seeds = sdf.length(offset, y - row * 0.15) - 0.03
    seeds = torch.maximum(torch.maximum(seeds, body - 0.012), y - 0.22)
    wide = s.vary(2, 0.34, 0.15) * (0.72 + 0.28 * torch.cos(6 * angle))
    drop = y - 0.36 + 0.5 * sdf.length(x, z) ** 2
    leaves = torch.maximum((sdf.length(x, z) - wide) * 0.5, (drop.abs() - 0.035) * 0.8)
    stem = sdf.capsule(x, y, z, (0.0, 0.3, 0.0), (s.vary(3, 0.06, 0.8), 0.58, 0.0), 0.04, 0.04)
    return [body, sdf.union(leaves, stem), seeds]


def cherries(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Two cherries that hang from one twig."""
    r = s.vary(0, 0.235, 0.12)
    at, low = 0.33, s.vary(1, -0.34, 0.1)
    ball = sdf.length(x.abs() - at, (y - low) * 1.06, z) - r
    dent = sdf.sphere(x.abs() - at, y - low - r - 0.04, z, 0.08)
    body = -sdf.smooth_union(-ball, dent, 0.08)
    stems = sdf.tube(
        x.abs(), y, z, ((at, low + r - 0.1, 0.0), 0.032), ((0.19, 0.22, 0.0), 0.03), ((0.0, 0.5, 0.0), 0.035)
    )
    leaf = _leaf(x, y, z, (-0.02, 0.46, 0.0), s.vary(2, 0.19, 0.15))
    knob = sdf.sphere(x, y - 0.52, z, 0.06)
    return [body * 0.95, sdf.union(stems, knob), where_present(leaf, s.option > 0)]


def pineapple(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, half = s.vary(0, 0.29, 0.12), s.vary(1, 0.38, 0.08)
    low = -0.62 + half
    body = sdf.ellipsoid(x, y - low, z, r, half, r)
    around = torch.atan2(z, x) * 4
    diamonds = (torch.cos(around + y * 17) * torch.cos(around - y * 17)).abs() * (5 * sdf.length(x, z)).clamp(max=1)
    top = low + half
    crown = sdf.cylinder(x, y - top, z, 0.15, 0.1, 0.08)  # fills the gaps between the leaves
    for ring, (count, tilt, long) in enumerate(((5, 46.0, 0.3), (4, 20.0, 0.36), (1, 0.0, 0.38))):
        for k in range(count):
            u, v = rotate_2d(x, z, 360.0 * k / count + 27 * ring)
            along, out = rotate_2d(u, y - top, 90.0 - tilt)
            # a flattened cone
            tip = (s.vary(2, long, 0.08), 0.0, 0.0)
            crown = torch.minimum(crown, sdf.capsule(along, out * 1.5, v, (0.0, 0.0, 0.0), tip, 0.11, 0.035) / 1.5)
    return [(body - 0.025 * diamonds) * 0.6, crown]


def tomato(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    r, high = s.vary(0, 0.56, 0.08), s.vary(1, 0.44, 0.12)
    angle = torch.atan2(z, x)
    lobes = 1 - 0.03 * torch.cos(5 * angle) * (sdf.length(x, z) / 0.4).clamp(max=1)
    solid = sdf.ellipsoid(x * lobes, y + 0.06, z * lobes, r, high, r)
    body = -sdf.smooth_union(-solid, sdf.sphere(x, y - high - 0.06, z, 0.2), 0.12)
    wide = s.vary(2, 0.34, 0.2) * (0.6 + 0.4 * torch.cos(5 * angle))
    star = torch.maximum((sdf.length(x, z) - wide) * 0.5, body - 0.045)
    stem = sdf.capsule(x, y, z, (0.0, high - 0.25, 0.0), (s.vary(3, 0.05, 0.9), high + 0.08, 0.0), 0.05, 0.045)
    return [body * 0.9, sdf.union(torch.maximum(star, -y), stem)]


def avocado(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    """Half an avocado with its stone, the cut face in front."""
    belly, neck = s.vary(0, 0.4, 0.1), s.vary(1, 0.17, 0.2)
    profile: sdf.Profile = [
        (0.1, -0.6),
        (belly * 0.85, -0.55),
        (belly, -0.2),
        (belly * 0.7, 0.1),
        (neck, 0.36),
        (neck * 0.7, 0.58),
    ]
    body = sdf.lathe(x, y, z - 0.15, profile, cuts=3)
    skin, flesh = _melon(body, z - 0.15, 0.05)
    return [skin, flesh, sdf.sphere(x, y + 0.2, z - 0.12, s.vary(2, 0.19, 0.12))]


def bell_pepper(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams) -> list[Tensor]:
    top, low = s.vary(0, 0.42, 0.1), s.vary(1, 0.34, 0.15)
    around = torch.atan2(z, x)
    squeeze = 1 + 0.09 * torch.cos(4 * around) * (sdf.length(x, z) / 0.25).clamp(max=1)
    profile: sdf.Profile = [
        (low * 0.7, -0.6),
        (low, -0.52),
        (top, 0.08),
        (top * 0.9, 0.32),
        (top * 0.35, 0.34),
        (0.08, 0.26),
    ]
    body = sdf.lathe(x * squeeze, y, z * squeeze, profile, 0.03, cuts=2)
    base = sdf.cylinder(x, y - 0.29, z, 0.13, 0.05)
    stem = sdf.capsule(x, y, z, (0.0, 0.28, 0.0), (s.vary(2, 0.08, 0.8), 0.57, 0.0), 0.06, 0.065)
    return [body * 0.75, sdf.union(base, stem)]


# fmt: off
CATEGORIES = (
    category("banana", styled(banana, banana_bunch), "", "tips tip stem", (0.96, 0.82, 0.22), (0.4, 0.3, 0.14),
        materials="spotted", relaxation=0.7, height=0.12, surfaces="peel peel",
        styles="ripe banana; banana bunch, bunch of bananas"),
    category("pear", pear, "", "stem stalk", (0.72, 0.78, 0.25), WOOD_COLOR, LEAF, option="leaf", materials="spotted",
        height=0.1, surfaces="peel bark leaves"),
    category("lemon", lemon, "", "stem", (0.97, 0.86, 0.2), LEAF, option="leaf", height=0.06, surfaces="peel leaves"),
    category("tangerine", tangerine, "mandarin clementine", "stem", (0.97, 0.55, 0.1), LEAF, option="leaf",
        height=0.07, surfaces="peel leaves"),
    category("watermelon", styled(watermelon, watermelon_slice, watermelon_half), "melon", "flesh pulp",
        (0.16, 0.42, 0.17), (0.9, 0.24, 0.24), SEED, materials="striped", height=0.25, surfaces="peel plant",
        styles="whole watermelon; watermelon slice, slice of watermelon; half watermelon, half of a watermelon"),
    category("corn", corn, "maize corncob", "husk leaves leaf", (0.97, 0.8, 0.25), (0.5, 0.66, 0.26), height=0.2,
        relaxation=0.6, surfaces="plant leaves"),
    category("eggplant", eggplant, "aubergine", "stem stalk", (0.27, 0.1, 0.3), (0.35, 0.5, 0.2), height=0.2,
        relaxation=0.7, surfaces="peel plant"),
    category("strawberry", strawberry, "", "leaves leaf", (0.85, 0.1, 0.13), LEAF, (0.95, 0.8, 0.4), height=0.04,
        relaxation=0.6, surfaces="peel leaves plant"),
    category("cherry", cherries, "", "stems stem stalk", (0.7, 0.05, 0.12), (0.4, 0.5, 0.16), LEAF, option="leaf",
        height=0.06, genus=0, surfaces="peel plant leaves"),
    category("pineapple", pineapple, "ananas", "leaves leaf crown", (0.82, 0.56, 0.16), LEAF, height=0.3,
        relaxation=0.5, surfaces="peel leaves"),
    category("tomato", tomato, "", "stem stalk", (0.85, 0.14, 0.1), LEAF, height=0.07, relaxation=0.6,
        surfaces="peel leaves"),
    category("avocado", avocado, "", "flesh pulp", (0.2, 0.3, 0.12), (0.82, 0.85, 0.45), (0.45, 0.26, 0.12),
        height=0.11, surfaces="peel plant wood"),
    category("capsicum", bell_pepper, "paprika", "stem stalk", (0.83, 0.13, 0.1), (0.3, 0.5, 0.16), height=0.1,
        relaxation=0.6, surfaces="peel plant"),
)
# fmt: on

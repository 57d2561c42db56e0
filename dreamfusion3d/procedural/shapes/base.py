"""Shape parameters, and the parts that shapes share: handles and vessels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf

Size = sdf.TensorOrFloat
ABSENT_DISTANCE = 10.0  # of an absent part


@dataclass(frozen=True)
class ShapeParams:
    """Parameters of an instance, one value per point or per instance."""

    variation: Tensor  # (*n, 6) in [-1, 1]
    count: Tensor  # (*n,) of handles, legs or tiers, by category
    option: Tensor  # (*n,) 1 if the optional part (a lid, a chimney) is present, else 0
    style: Tensor  # (*n,) index into the category's styles

    def vary(self, index: int, center: float, spread: float) -> Tensor:
        """Vary ``center`` by up to +-``spread`` (relative) with variation ``index``."""
        return center * (1 + spread * self.variation[..., index])


ShapeFunction = Callable[[Tensor, Tensor, Tensor, ShapeParams], list[Tensor]]


def styled(*shapes: ShapeFunction) -> ShapeFunction:
    """Combine one shape per style, in the order of ``Category.styles``.

    Only the styles that occur are evaluated. A part that a style lacks is absent.
    """

    def part_distances(x: Tensor, y: Tensor, z: Tensor, params: ShapeParams) -> list[Tensor]:
        present = params.style.unique().tolist() or [0]  # also for no points
        parts = {k: shapes[k](x, y, z, params) for k in present}
        absent = torch.full_like(x, ABSENT_DISTANCE)
        out = [absent] * max(len(p) for p in parts.values())
        for k, distances in parts.items():
            out = [
                torch.where(params.style == k, distances[i] if i < len(distances) else absent, previous)
                for i, previous in enumerate(out)
            ]
        return out

    return part_distances


def scaled(shape: ShapeFunction, factor: float) -> ShapeFunction:
    """Scale a shape about the origin, so that its corners stay inside every camera's frame."""

    def part_distances(x: Tensor, y: Tensor, z: Tensor, params: ShapeParams) -> list[Tensor]:
        return [distance * factor for distance in shape(x / factor, y / factor, z / factor, params)]

    return part_distances


def handles(
    x: Tensor, y: Tensor, z: Tensor, params: ShapeParams, center: sdf.Point, rx: Size, ry: Size, tube: float
) -> Tensor:
    """Up to two rings, the first at +X, the second at -X."""
    first = sdf.ring(x - center[0], y - center[1], z, rx, ry, tube)
    second = sdf.ring(x + center[0], y - center[1], z, rx, ry, tube)
    return torch.minimum(where_present(first, params.count >= 1), where_present(second, params.count >= 2))


def where_present(distance: Tensor, mask: Tensor) -> Tensor:
    """Distance of a part that only the instances in ``mask`` have."""
    return torch.where(mask, distance, torch.full_like(distance, ABSENT_DISTANCE))


def lid(x: Tensor, y: Tensor, z: Tensor, s: ShapeParams, vessel: Tensor, radius: Tensor, top: Tensor) -> Tensor:
    """An optional domed lid with a knob. The vessel is solid below it: a closed cavity has no visible surface."""
    dome = sdf.subtract(sdf.ellipsoid(x, y - top, z, radius, 0.13, radius), y - top + 0.05)
    knob = sdf.sphere(x, y - top - 0.15, z, 0.06)
    return where_present(sdf.union(dome, knob, vessel), s.option > 0)


def rotate_2d(u: Tensor, v: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Coordinates in a frame rotated by ``degrees`` from u towards v."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * u + s * v, c * v - s * u


def vessel_and_cavity(
    x: Tensor, y: Tensor, z: Tensor, profile: sdf.Profile, wall: float, cuts: int = 1
) -> tuple[Tensor, Tensor]:
    """Outer solid of a vessel, and the cavity to subtract from it (open at the top)."""
    # the cavity extends past the rim, as wide as the mouth, so that the vessel is open
    mouth, top = profile[-1]
    cavity = sdf.lathe(x, y, z, [*profile, (mouth, top + 0.5)], cuts=cuts)
    return sdf.lathe(x, y, z, profile, cuts=cuts), cavity + wall

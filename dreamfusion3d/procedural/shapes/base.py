"""What the shapes share: the style of an instance, handles, vessels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamfusion3d.procedural import sdf

ABSENT_DISTANCE = 10.0  # the distance of a part that is absent


@dataclass(frozen=True)
class ShapeParams:
    """What sets one instance apart from another of its kind, one value a point (or an instance)."""

    variation: Tensor  # (*n, 6) in [-1, 1]
    count: Tensor  # (*n,) of what the kind counts: handles, legs, tiers
    option: Tensor  # (*n,) 1 where the instance has its optional part (a lid, a chimney), else 0

    def vary(self, index: int, center: float, spread: float) -> Tensor:
        """``centre`` times 1 +- ``spread`` by the instance's style."""
        return center * (1 + spread * self.variation[..., index])


def handles(
    x: Tensor,
    y: Tensor,
    z: Tensor,
    params: ShapeParams,
    center: tuple[Tensor | float, Tensor | float],
    rx: Tensor | float,
    ry: Tensor | float,
    tube: Tensor | float,
) -> Tensor:
    """One ring at +X, a second at -X, as many as the style has."""
    first = sdf.ring(x - center[0], y - center[1], z, rx, ry, tube)
    second = sdf.ring(x + center[0], y - center[1], z, rx, ry, tube)
    return torch.minimum(where_present(first, params.count >= 1), where_present(second, params.count >= 2))


def where_present(distance: Tensor, mask: Tensor) -> Tensor:
    """A part that only some instances have."""
    return torch.where(mask, distance, torch.full_like(distance, ABSENT_DISTANCE))


def rotate_2d(u: Tensor, v: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Coordinates in a frame turned by ``degrees`` from u towards v."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * u + s * v, c * v - s * u


def vessel_and_cavity(
    x: Tensor, y: Tensor, z: Tensor, profile: Sequence[tuple[Tensor | float, Tensor | float]], wall: float
) -> tuple[Tensor, Tensor]:
    """Solid outside of a vessel and the cavity to take out of it (open at the top)."""
    solid = sdf.lathe(x, y, z, profile, rounding=0.02)
    # the cavity goes on upwards past the rim, as wide as the mouth, so that the vessel stays open
    mouth, top = profile[-1]
    open_profile = [*profile, (mouth, top + 0.5)]
    return solid, sdf.lathe(x, y, z, open_profile, rounding=0.02) + wall

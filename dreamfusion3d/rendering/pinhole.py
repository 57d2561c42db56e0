"""Moved."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.pinhole import Pinholes
from dreamfusion3d.core.types import Field
from dreamfusion3d.rendering.compositing import accumulate
from dreamfusion3d.rendering.occupancy_grid import Occupancy
from dreamfusion3d.rendering.volume import Rays, RenderSettings, march_through, weigh

CHUNK = 1 << 14  # rays of one call where no gradient is wanted
Grid: TypeAlias = Occupancy | Bool[Tensor, "x y z"]


def shoot(
    field: Field, cameras: Pinholes, pixels: Int64[Tensor, " n"], occupancy: Grid, *, step_size: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Premultiplied colour and opacity of ``pixels``, differentiable in the field's parameters.

    A photo's light stays in the colour: nobody knows where its lamps were.
    """
    origins, directions = cameras.rays(pixels)
    rays = Rays(origins, directions, origins.new_zeros(1, 3), len(pixels))
    samples = march_through(rays, occupancy, RenderSettings(step_size=step_size), generator)
    weight, albedo = weigh(field, rays, samples)
    values = torch.cat([albedo, torch.ones_like(weight)[:, None]], -1)
    summed = accumulate(weight, values, samples.ray_indices, len(pixels))
    return summed[:, :3], summed[:, 3]


@torch.no_grad()
def photograph(
    field: Field, cameras: Pinholes, occupancy: Grid, *, step_size: float, generator: torch.Generator
) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w"]]:
    """Whole pictures as `shoot` sees them, a part at a time."""
    shape = (len(cameras), cameras.height, cameras.width)
    parts = [
        shoot(field, cameras, pixels, occupancy, step_size=step_size, generator=generator)
        for pixels in torch.arange(math.prod(shape), device=generator.device).split(CHUNK)
    ]
    return (
        torch.cat([rgb for rgb, _ in parts]).view(*shape, 3),
        torch.cat([opacity for _, opacity in parts]).view(shape),
    )

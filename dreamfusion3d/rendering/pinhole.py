"""Moved."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.core.types import Field
from dreamfusion3d.rendering.compositing import accumulate
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import Rays, RenderSettings, sample_rays, weights_and_albedo

RAYS_PER_CHUNK = 1 << 14  # rays of one call where no gradient is wanted
OccupancyLike: TypeAlias = OccupancyGrid | Bool[Tensor, "x y z"]


def render_rays(
    field: Field,
    cameras: PinholeCameras,
    pixels: Int64[Tensor, " n"],
    occupancy: OccupancyLike,
    *,
    step_size: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Premultiplied colour and opacity of ``pixels``, differentiable in the field's parameters.

    A photo's light stays in the colour: nobody knows where its lamps were.
    """
    origins, directions = cameras.rays_through(pixels)
    rays = Rays(origins, directions, origins.new_zeros(1, 3), len(pixels))
    samples = sample_rays(rays, occupancy, RenderSettings(step_size=step_size), generator)
    weight, albedo = weights_and_albedo(field, rays, samples)
    values = torch.cat([albedo, torch.ones_like(weight)[:, None]], -1)
    summed = accumulate(weight, values, samples.ray_indices, len(pixels))
    return summed[:, :3], summed[:, 3]


@torch.no_grad()
def render_pinhole_views(
    field: Field, cameras: PinholeCameras, occupancy: OccupancyLike, *, step_size: float, generator: torch.Generator
) -> tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w"]]:
    """Whole pictures as `shoot` sees them, a part at a time."""
    shape = (len(cameras), cameras.height, cameras.width)
    parts = [
        render_rays(field, cameras, pixels, occupancy, step_size=step_size, generator=generator)
        for pixels in torch.arange(math.prod(shape), device=generator.device).split(RAYS_PER_CHUNK)
    ]
    return (
        torch.cat([rgb for rgb, _ in parts]).view(*shape, 3),
        torch.cat([opacity for _, opacity in parts]).view(shape),
    )

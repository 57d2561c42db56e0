"""Pictures of a field from cameras anywhere, a part at a time, where no gradient is wanted."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.core.shading import light_direction
from dreamfusion3d.core.types import Field, Render
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import (
    Rays,
    RenderSettings,
    sample_rays,
    shade_and_composite,
    shaded_sample_indices,
    weights_and_albedo,
)

RAY_CHUNK = 1 << 14  # rays of one call


@torch.no_grad()
def render_field_chunked(
    field: Field,
    cameras: PinholeCameras,
    *,
    occupancy: OccupancyGrid | Tensor,
    generator: torch.Generator,
    settings: RenderSettings,
) -> tuple[Render, Float[Tensor, "b h w 3"]]:
    """As `volume.render`, for any pinhole cameras; and the albedo, premultiplied."""
    pixels_per_camera = cameras.height * cameras.width
    light, total, parts = light_direction(cameras.camera_to_world), len(cameras) * pixels_per_camera, []
    for first in range(0, total, RAY_CHUNK):
        pixel_indices = torch.arange(first, min(first + RAY_CHUNK, total), device=cameras.focal.device)
        rays = Rays(*cameras.rays_through(pixel_indices), light, pixels_per_camera, first)
        samples = sample_rays(rays, occupancy, settings, generator)
        weight, albedo = weights_and_albedo(field, rays, samples)
        outputs = shade_and_composite(
            field, rays, samples, weight, albedo, shaded_sample_indices(weight, rays, settings, None), settings
        )
        parts.append((outputs.rgb, outputs.opacity, outputs.depth, outputs.normals, outputs.albedo))
    shape = (len(cameras), cameras.height, cameras.width)
    rgb, opacity, depth, normals, albedo = (
        torch.cat(values).reshape(*shape, *values[0].shape[1:]) for values in zip(*parts, strict=True)
    )
    return Render(rgb, opacity, depth, normals), albedo
